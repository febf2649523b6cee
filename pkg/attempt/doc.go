// Package attempt promises a log of what was attempted that can be relied on:
// what it was told before a message was acked is stored before that ack, so that
// it accounts for every delivery, whoever is killed. Acks that do not wait for it are
// those of what was delivered in order, which the ack itself accounts for, and all
// while NATS takes longer than four seconds to store it.
//
// It keeps two things in one stream, in batches of one JSON document a line. The
// records say all about each attempt, under a subject for each endpoint. The
// ledger says in few words for whom each event was and what became of each
// delivery, under a subject that the event's id decides, so that an event is found
// by its id without reading all others.
package attempt
