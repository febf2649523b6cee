package hold

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/nats-io/nats.go"

	"jethook/pkg/delivery"
	"jethook/pkg/event"
	"jethook/streams"
)

// ErrUnreadable is returned beside what lies among the held deliveries and is
// none.
var ErrUnreadable = errors.New("not a delivery")

// Stored is a held delivery as it is stored.
type Stored struct {
	Subject  string
	Seq      uint64
	Time     time.Time // when it was held
	Header   nats.Header
	Delivery delivery.Delivery
	// Err says why the delivery is not whole. ErrUnreadable: there is none.
	// event.ErrGone: its body was in the event only, which is gone.
	Err error
}

// Head returns the delivery of a kind that an endpoint has held for longest, and
// ok false when there is none. An error with ok true is the delivery's own
// (Stored.Err), which lies there nevertheless; any other leaves open what lies
// there.
func (s *Store) Head(ctx context.Context, tenant, endpoint string, kind streams.Kind) (_ Stored, ok bool, err error) {
	return s.get(ctx, firstUnder(s.names.Held(tenant, endpoint, kind)))
}

// firstUnder asks for the first message of a subject.
func firstUnder(subject string) any {
	return struct {
		Seq  uint64 `json:"seq"`
		Next string `json:"next_by_subj"`
	}{1, subject}
}

// Get returns the held delivery under a sequence, as Head does. What lies there
// and is not held is not found.
func (s *Store) Get(ctx context.Context, seq uint64) (_ Stored, ok bool, err error) {
	return s.get(ctx, struct {
		Seq uint64 `json:"seq"`
	}{seq})
}

func (s *Store) get(ctx context.Context, ask any) (Stored, bool, error) {
	m, body, ok, err := s.message(ctx, ask)
	if !ok {
		return Stored{}, false, err
	}
	if _, _, _, err := s.names.ParseHeld(m.Subject); err != nil {
		return Stored{}, false, nil //nolint:nilerr // something else lies there
	}
	stored := s.decode(m, body)
	if d := &stored.Delivery; d.BodyInEvent {
		d.Event.Body, err = event.Body(ctx, s.js, s.names.Events(), d.Event.Seq)
		d.BodyInEvent = err != nil
		if err != nil && !errors.Is(err, event.ErrGone) {
			return Stored{}, false, err
		}
		stored.Err = err
	}
	return stored, true, stored.Err
}

// message returns a message of the stream of deliveries, not decoded yet, and its
// body. It asks the leader: a replica that lags could still have what was delivered
// already, and it would be delivered again.
func (s *Store) message(ctx context.Context, ask any) (_ Stored, body []byte, ok bool, err error) {
	var answer struct {
		Message struct {
			Subject string    `json:"subject"`
			Seq     uint64    `json:"seq"`
			Header  []byte    `json:"hdrs"`
			Data    []byte    `json:"data"`
			Time    time.Time `json:"time"`
		} `json:"message"`
	}
	err = streams.Request(ctx, s.js, "STREAM.MSG.GET", s.names.Deliveries(), ask, &answer)
	if streams.Absent(err) {
		return Stored{}, nil, false, nil
	}
	if err != nil {
		return Stored{}, nil, false, fmt.Errorf("read a delivery that waits: %w", err)
	}
	m := answer.Message
	header, err := nats.DecodeHeadersMsg(m.Header)
	if err != nil {
		header = nil // no header, no delivery: decode says so
	}
	return Stored{Subject: m.Subject, Seq: m.Seq, Time: m.Time, Header: header}, m.Data, true, nil
}

func (s *Store) decode(m Stored, body []byte) Stored {
	tenant, endpoint, _, err := s.names.ParseHeld(m.Subject)
	if err == nil {
		m.Delivery, err = delivery.Decode(tenant, endpoint, m.Header, body)
	}
	if err != nil {
		m.Err = fmt.Errorf("message %d of %s: %w: %w", m.Seq, s.names.Deliveries(), ErrUnreadable, err)
	}
	return m
}
