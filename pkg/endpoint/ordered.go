package endpoint

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"

	"github.com/nats-io/nats.go/jetstream"
)

// MaxOrdered bounds how many endpoints of a bucket can be ordered: each has a
// consumer of its own on the stream of events, which costs the server whenever
// an event is stored.
const MaxOrdered = 200

// order sets from which event on an endpoint is ordered: behind the last one
// when that is switched on, and as before while it stays on. Two endpoints that
// are switched on at the same time can be one more than MaxOrdered.
func (s *Store) order(ctx context.Context, before Document, next *Document) error {
	next.OrderedFrom = 0
	if !next.Ordered {
		return nil
	}
	if next.OrderedFrom = before.OrderedFrom; next.OrderedFrom > 0 {
		return nil
	}
	if err := s.roomForOrdered(ctx, next.Name()); err != nil {
		return err
	}
	last, err := s.lastSequence(ctx)
	if err != nil {
		return fmt.Errorf("make it ordered: last event: %w", err)
	}
	next.OrderedFrom = last + 1
	return nil
}

// roomForOrdered counts the other endpoints that are ordered.
func (s *Store) roomForOrdered(ctx context.Context, name string) error {
	others := 0
	err := s.each(ctx, func(entry jetstream.KeyValueEntry) {
		var parts struct {
			Tenant  string `json:"tenant"`
			ID      string `json:"id"`
			Ordered bool   `json:"ordered"`
		}
		// The search is for speed: of most documents it is all that is read. What
		// cannot be read is not ordered by anybody.
		if bytes.Contains(entry.Value(), []byte(`"ordered"`)) && json.Unmarshal(entry.Value(), &parts) == nil &&
			parts.Ordered && parts.Tenant+"/"+parts.ID != name {
			others++
		}
	})
	if err != nil {
		return fmt.Errorf("count ordered endpoints: %w", err)
	}
	if others >= MaxOrdered {
		return fmt.Errorf("ordered: %d endpoints are ordered already, the most there can be: apply another one without ordered, or this one", others)
	}
	return nil
}
