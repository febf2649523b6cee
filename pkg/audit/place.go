package audit

import (
	"context"
	"iter"

	"jethook/pkg/delivery"
	"jethook/streams"
)

// State says where a delivery stands.
type State string

// The states.
const (
	Delivered   State = "delivered"
	Waiting     State = "waiting"     // for its first attempt or its next
	Held        State = "held"        // because its endpoint cannot have it now
	Dead        State = "dead"        // letter
	Discarded   State = "discarded"   // by an operator, with its endpoint
	Unaccounted State = "unaccounted" // nowhere to be found
)

// place is a delivery that lies in the stream of deliveries.
type place struct {
	tenant, endpoint string
	state            State
	delivery         delivery.State
	eventSeq         uint64
	eventID          string
	bytes            int // of its body
}

// places yields the deliveries that a part of their stream holds, oldest first, of
// those that can be read. Their bodies come along: NATS leaves them out for consumers
// only, and on a work queue there is room for none beside those that work.
func (a *Auditor) places(ctx context.Context, read streams.Read) iter.Seq2[place, error] {
	read.Stream = a.names.Deliveries()
	return func(yield func(place, error) bool) {
		for m, err := range read.All(ctx, a.js) {
			if err != nil {
				yield(place{}, err)
				return
			}
			if p, ok := a.place(m); ok && !yield(p, nil) {
				return
			}
		}
	}
}

// place reads where a stored message says that it lies, and whose it is.
func (a *Auditor) place(m streams.Message) (p place, ok bool) {
	p.state = Waiting
	var err error
	if p.tenant, p.endpoint, _, err = a.names.ParseHeld(m.Subject); err == nil {
		p.state = Held
	} else if _, p.tenant, p.endpoint, err = a.names.ParseDelivery(m.Subject); err != nil {
		if p.tenant, p.endpoint, err = a.names.ParseScheduled(m.Subject); err != nil {
			return place{}, false // a replay's mark, what an ordered endpoint remembers, or nothing of ours
		}
	}
	d, err := delivery.Decode(p.tenant, p.endpoint, m.Header, nil)
	if err != nil {
		return place{}, false // set aside by whoever reads it next, and said there
	}
	p.delivery, p.eventSeq, p.eventID, p.bytes = d.State, d.Event.Seq, d.Event.ID, len(m.Data)
	return p, true
}
