// Package streams promises that the JetStream topology is what the files beside
// it say, and that every subject is built and taken apart in one place.
//
// The files are in the form that `nats stream add --config` and `nats consumer
// add --config` read, for the namespace "webhooks"; Topology rewrites them for
// another. Names builds and parses subjects. Ensure makes what is missing,
// updates what may change safely and reports the rest.
package streams
