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
		return s.unfed(ctx, next.Name(), before.OrderedFrom)
	}
	if next.OrderedFrom = before.OrderedFrom; next.OrderedFrom > 0 {
		return nil
	}
	if err := s.roomForOrdered(ctx, next.Name()); err != nil {
		return err
	}
	last, err := s.events.Last(ctx)
	if err != nil {
		return fmt.Errorf("make it ordered: last event: %w", err)
	}
	next.OrderedFrom = last + 1
	return nil
}

// unfed refuses to end an ordered endpoint whose consumer no replica has made
// yet: with the document, it would be forgotten that it has had no event since
// OrderedFrom.
func (s *Store) unfed(ctx context.Context, name string, from uint64) error {
	tenant, id, err := ParseName(name)
	if err != nil || from == 0 {
		return err
	}
	has, err := s.events.HasOrdered(ctx, tenant, id)
	if err != nil || has {
		return err
	}
	last, err := s.events.Last(ctx)
	if err != nil || last < from {
		return err
	}
	return fmt.Errorf("it is ordered, and no replica has made its consumer yet, so that what was published for it since event %d waits in the stream alone: "+
		"start a replica that may make it (its log says so if it may not), and try again", from)
}

// roomForOrdered takes a place for an endpoint among the ordered ones.
func (s *Store) roomForOrdered(ctx context.Context, name string) error {
	taken, err := s.ordered.take("", name, MaxOrdered, func() (map[string]bool, error) { return s.orderedNames(ctx) })
	if err != nil {
		return fmt.Errorf("count ordered endpoints: %w", err)
	}
	if !taken {
		return fmt.Errorf("ordered: %d endpoints are ordered already, the most there can be: apply another one without ordered, or this one", MaxOrdered)
	}
	return nil
}

func (s *Store) orderedNames(ctx context.Context) (map[string]bool, error) {
	names := make(map[string]bool)
	err := s.each(ctx, func(entry jetstream.KeyValueEntry) {
		var parts struct {
			Ordered bool `json:"ordered"`
		}
		// The search is for speed: of most documents it is all that is read. What
		// cannot be read is not ordered by anybody.
		if bytes.Contains(entry.Value(), []byte(`"ordered"`)) && json.Unmarshal(entry.Value(), &parts) == nil && parts.Ordered {
			names[nameOf(entry.Key())] = true
		}
	})
	return names, err
}
