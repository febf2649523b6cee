// Package worker promises that every event and delivery handed to it ends in an
// outcome, that an outcome which must be remembered is stored before the
// message is acked, and that a replica which dies holding messages delays them
// and loses nothing.
//
// The way of a message, a file each:
//
//	consumer   fetches no more messages than there are free slots
//	pool       runs each in a slot of its own
//	event      reads an event as the deliveries of all endpoints that match
//	delivery   reads a delivery that was stored
//	insync     waits until the endpoints are known as they are now
//	attempt    makes one attempt and settles what came of it
//	checked    makes none with an event that cannot be sent
//	outbox     stores deliveries and dead letters until NATS has them
//	message    acks or hands back: the one place where that is decided
//	naks       sends delayed naks in bursts
//	record     tells of what was attempted
//	gates      asks the endpoint's gate, and tells the fleet when one opens
//	tenant     asks the tenant's rate
//	held       stores what may not go now where it waits for its endpoint
//	keeper     takes care of endpoints for which deliveries are held:
//	feed       attempts them again when the endpoint can have them
//	probe      tries an endpoint whose gate is open
//	expire     gives up what waited too long
//	lane       gives some events consumers and slots of their own
//	strays     finds deliveries in lanes that are gone
//	ordered    delivers in publish order to the endpoints that ask for it
//	words     keeps jethook's own events from the endpoint that they are about
//	mend       makes streams and consumers again that somebody deleted
//	figures    tells what NATS stores, and how endpoints fare
//	spotlight  chooses the endpoints that have figures of their own
//	timed      tells how long first attempts took to begin
//	keepalive  tells NATS what is still being worked on
package worker
