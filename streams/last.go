package streams

import (
	"context"
	"errors"
	"fmt"

	"github.com/nats-io/nats.go/jetstream"
)

// EventLog tells of the stream of events what lanes and ordered endpoints, which
// begin and end with an event, need to know.
type EventLog struct {
	js    jetstream.JetStream
	names Names
}

// NewEventLog returns what tells of the stream of events.
func NewEventLog(js jetstream.JetStream, n Names) EventLog { return EventLog{js: js, names: n} }

// Last returns the sequence of the last event that was stored, 0 before the
// first.
func (l EventLog) Last(ctx context.Context) (uint64, error) {
	s, err := l.js.Stream(ctx, l.names.Events())
	if err != nil {
		return 0, fmt.Errorf("look up stream %s: %w", l.names.Events(), err)
	}
	return s.CachedInfo().State.LastSeq, nil
}

// HasOrdered reports whether there is a consumer that hands out an ordered
// endpoint's events.
func (l EventLog) HasOrdered(ctx context.Context, tenant, endpoint string) (bool, error) {
	_, err := l.js.Consumer(ctx, l.names.Events(), OrderedOf(tenant, endpoint))
	switch {
	case err == nil:
		return true, nil
	case errors.Is(err, jetstream.ErrConsumerNotFound):
		return false, nil
	}
	return false, fmt.Errorf("look up consumer %s: %w", OrderedOf(tenant, endpoint), err)
}
