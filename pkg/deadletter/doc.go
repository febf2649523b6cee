// Package deadletter promises that what could not be delivered stays where it
// can be read, with the reason and its history, until an operator removes it or
// sends it again; and that sending it again, interrupted at any moment, loses
// nothing and sends nothing twice.
//
// A Writer makes the message of a dead letter. A Store reads, counts, removes
// and replays dead letters; a Filter says which.
package deadletter
