// Package hold promises that deliveries which may not go now lie in order where
// no worker reads them, at no cost but disk, and that feeding them back,
// interrupted at any moment, repeats some of them at worst and loses none.
//
// A Store makes the messages that hold deliveries, counts, reads and removes
// them, and hurries what is scheduled. A Feed hands them out again, for all replicas
// together. Late finds those among them whose time runs out first.
package hold
