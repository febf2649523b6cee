package audit

import (
	"context"
	"errors"
	"fmt"
	"iter"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
	"github.com/synadia-io/orbit.go/jetstreamext"

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
}

const (
	pageSize  = 1000
	pageBytes = 4 << 20
)

// places yields the deliveries that lie under a subject, oldest first, of those
// that can be read. Messages are asked for directly: a work queue has one reader.
func (a *Auditor) places(ctx context.Context, subject string) iter.Seq2[place, error] {
	return func(yield func(place, error) bool) {
		for next := uint64(1); ; {
			page, err := a.page(ctx, subject, next)
			if err != nil {
				yield(place{}, err)
				return
			}
			if len(page) == 0 {
				return
			}
			for _, m := range page {
				next = m.Sequence + 1
				if p, ok := a.place(m); ok && !yield(p, nil) {
					return
				}
			}
		}
	}
}

// page returns some of what lies under a subject, from a sequence on.
func (a *Auditor) page(ctx context.Context, subject string, from uint64) (page []*jetstream.RawStreamMsg, err error) {
	ctx, cancel := context.WithTimeout(ctx, 30*time.Second)
	defer cancel()
	stream := a.names.Deliveries()
	messages, err := jetstreamext.GetBatch(ctx, a.js, stream, pageSize,
		jetstreamext.GetBatchSubject(subject), jetstreamext.GetBatchMaxBytes(pageBytes), jetstreamext.GetBatchSeq(from))
	if err != nil {
		return nil, fmt.Errorf("read what waits in stream %s: %w", stream, err)
	}
	for m, err := range messages {
		if errors.Is(err, jetstreamext.ErrNoMessages) {
			return nil, nil // the only way in which the stream says that there is none
		}
		if err != nil {
			return nil, fmt.Errorf("read what waits in stream %s: %w", stream, err)
		}
		page = append(page, m)
	}
	if len(page) == 0 {
		return nil, fmt.Errorf("read what waits in stream %s: its answer was lost on the way", stream)
	}
	return page, nil
}

// place reads where a stored message says that it lies, and whose it is.
func (a *Auditor) place(m *jetstream.RawStreamMsg) (p place, ok bool) {
	p.state = Waiting
	var err error
	if p.tenant, p.endpoint, _, err = a.names.ParseHeld(m.Subject); err == nil {
		p.state = Held
	} else if _, p.tenant, p.endpoint, err = a.names.ParseDelivery(m.Subject); err != nil {
		if p.tenant, p.endpoint, err = a.names.ParseScheduled(m.Subject); err != nil {
			return place{}, false // a replay's mark, what an ordered endpoint remembers, or nothing of ours
		}
	}
	d, err := delivery.Decode(p.tenant, p.endpoint, nats.Header(m.Header), nil)
	if err != nil {
		return place{}, false // set aside by whoever reads it next, and said there
	}
	p.delivery, p.eventSeq, p.eventID = d.State, d.Event.Seq, d.Event.ID
	return p, true
}

// all are the subjects of all that lies in the stream of deliveries.
func (a *Auditor) all() []string {
	n := a.names
	return []string{n.Delivery("*", "*", "*"), n.Scheduled("*", "*", "*", "*"), n.Held("*", "*", "*")}
}

// of are the subjects of what of an event lies there for an endpoint.
func of(n streams.Names, tenant, endpoint, eventID string) []string {
	return []string{n.Scheduled(tenant, endpoint, eventID, "*"), n.Delivery("*", tenant, endpoint), n.Held(tenant, endpoint, "*")}
}
