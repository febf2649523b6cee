package hold

import (
	"context"
	"errors"
	"fmt"
	"sync/atomic"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"jethook/pkg/delivery"
	"jethook/streams"
)

// Store holds the deliveries of a namespace.
type Store struct {
	js      jetstream.JetStream
	names   streams.Names
	handle  atomic.Pointer[jetstream.Stream]
	ackWait time.Duration // of feeds; only tests change it

	// interrupt is called when a feed was found finished, before it is deleted.
	// Only tests set it.
	interrupt func()
}

// NewStore returns the store of a namespace.
func NewStore(js jetstream.JetStream, names streams.Names) *Store {
	return &Store{js: js, names: names, ackWait: ackWait, interrupt: func() {}}
}

// Message returns the message that holds a delivery, for the caller to publish
// before it acks what the delivery came with. Publishing it twice under one
// msgID, within the stream's window for duplicates, holds it once.
func (s *Store) Message(d *delivery.Delivery, kind streams.Kind, msgID string) (*nats.Msg, error) {
	m, err := d.Encode(s.names.Held(d.Event.Tenant, d.Endpoint, kind), s.js.Conn().MaxPayload())
	if err != nil {
		return nil, fmt.Errorf("hold a delivery: %w", err)
	}
	m.Header.Set(jetstream.MsgIDHeader, msgID)
	return m, nil
}

// fresh is by how much new deliveries may lie out of the order in which their
// time runs out. It leaves room for the first attempt or hold to be stored.
const fresh = 2 * time.Second

// KindOf returns among what a delivery is to lie that is held now: among the new
// ones if its time has only just begun, among the late ones if it was attempted
// or held before, or if its round began before that of others that are held: newest
// is when the latest did, zero if there are none. It never says that a delivery is
// the probe.
func KindOf(d *delivery.Delivery, newest, now time.Time) streams.Kind {
	if first := d.State.First; !first.IsZero() && now.Sub(first) > fresh || newest.Sub(d.State.Since) > fresh {
		return streams.HeldLate
	}
	return streams.HeldNew
}

// stream returns the stream of deliveries. It asks for it once: what is looked
// up does not change when the stream is made anew.
func (s *Store) stream(ctx context.Context) (jetstream.Stream, error) {
	if known := s.handle.Load(); known != nil {
		return *known, nil
	}
	stream, err := s.js.Stream(ctx, s.names.Deliveries())
	switch {
	case errors.Is(err, jetstream.ErrStreamNotFound):
		return nil, fmt.Errorf("there is no stream %s: run `jethook serve` or `jethook streams apply` first", s.names.Deliveries())
	case err != nil:
		return nil, fmt.Errorf("look up stream %s: %w", s.names.Deliveries(), err)
	}
	s.handle.Store(&stream)
	return stream, nil
}
