package streams

import (
	"context"
	"errors"
	"fmt"
	"time"

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

// Now returns the time by the clock of the server that stores events.
func (l EventLog) Now(ctx context.Context) (time.Time, error) {
	s, err := l.js.Stream(ctx, l.names.Events())
	if err != nil {
		return time.Time{}, fmt.Errorf("look up stream %s: %w", l.names.Events(), err)
	}
	return s.CachedInfo().TimeStamp, nil
}

// HasOrdered reports whether there is the consumer that hands out an ordered
// endpoint's events since a sequence, those that match its patterns.
func (l EventLog) HasOrdered(ctx context.Context, tenant, endpoint string, patterns []string, since uint64) (bool, error) {
	durable := OrderedSince(tenant, endpoint, patterns, since)
	_, err := l.js.Consumer(ctx, l.names.Events(), durable)
	switch {
	case err == nil:
		return true, nil
	case errors.Is(err, jetstream.ErrConsumerNotFound):
		return false, nil
	}
	return false, fmt.Errorf("look up consumer %s: %w", durable, err)
}
