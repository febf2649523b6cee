package endpoint

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"sync"
	"time"

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

// recount is how long a count of ordered endpoints serves.
const recount = time.Minute

// orderedCount is the ordered endpoints as they were counted last, and those
// that this store made since: a file of many reads the bucket once for all.
type orderedCount struct {
	mu    sync.Mutex
	names map[string]bool
	at    time.Time
}

// roomForOrdered takes a place for an endpoint among the ordered ones. It is
// refused by a fresh count only: others may have given up theirs.
func (s *Store) roomForOrdered(ctx context.Context, name string) error {
	c := &s.ordered
	c.mu.Lock()
	defer c.mu.Unlock()
	if time.Since(c.at) > recount || !c.room(name) {
		names, err := s.orderedNames(ctx)
		if err != nil {
			return fmt.Errorf("count ordered endpoints: %w", err)
		}
		c.names, c.at = names, time.Now()
	}
	if !c.room(name) {
		return fmt.Errorf("ordered: %d endpoints are ordered already, the most there can be: apply another one without ordered, or this one", len(c.names))
	}
	c.names[name] = true
	return nil
}

func (c *orderedCount) room(name string) bool { return c.names[name] || len(c.names) < MaxOrdered }

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
