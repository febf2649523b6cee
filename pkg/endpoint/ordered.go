package endpoint

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/nats-io/nats.go/jetstream"
)

// MaxOrdered bounds how many endpoints of a bucket can be ordered: each has a
// consumer of its own on the stream of events, which costs the server whenever
// an event is stored.
const MaxOrdered = 200

// ErrUnserved is what errors.Is finds where an ordered endpoint cannot be changed
// yet.
var ErrUnserved = errors.New("no replica has made its consumer yet")

// order sets from which event on an endpoint is ordered, and from which on its
// patterns are for: behind the last one when that is switched on, or they change,
// and as before while that stays. Two endpoints that are switched on at the same
// time can be one more than MaxOrdered.
func (s *Store) order(ctx context.Context, before Document, next *Document) error {
	if !next.Ordered {
		next.OrderedFrom, next.EventsFrom = 0, 0
		return s.endOrdered(ctx, next.Name(), before)
	}
	next.OrderedFrom, next.EventsFrom = before.OrderedFrom, before.EventsFrom
	if next.OrderedFrom > 0 && slices.Equal(next.Events, before.Events) {
		return nil
	}
	if next.OrderedFrom == 0 {
		if err := s.roomForOrdered(ctx, next.Name()); err != nil {
			return err
		}
	}
	last, err := s.fed(ctx, next.Name(), before)
	if err != nil {
		return err
	}
	next.EventsFrom = last + 1
	if next.OrderedFrom == 0 {
		next.OrderedFrom = last + 1
	}
	return nil
}

// endOrdered returns an error if an endpoint cannot cease to be ordered.
func (s *Store) endOrdered(ctx context.Context, name string, d Document) error {
	if d.OrderedFrom == 0 {
		return nil
	}
	_, err := s.fed(ctx, name, d)
	return err
}

// fed returns the last event. It refuses to end what an ordered endpoint is for
// before a replica made the consumer that hands it out, after having waited for that:
// with the document, it would be forgotten that the endpoint has had no event since.
// Of a document that is broken, which no replica takes, nobody knows what it is for.
func (s *Store) fed(ctx context.Context, name string, d Document) (last uint64, err error) {
	tenant, id, err := ParseName(name)
	if err != nil {
		return 0, err
	}
	from, has := max(d.OrderedFrom, d.EventsFrom), d.OrderedFrom == 0 || len(d.Events) == 0
	for began := time.Now(); ; {
		if !has {
			if has, err = s.events.HasOrdered(ctx, tenant, id, d.Events, d.EventsFrom); err != nil {
				return 0, err
			}
		}
		// Asked last: what comes from now on is the next document's.
		if last, err = s.events.Last(ctx); err != nil {
			return 0, fmt.Errorf("last event: %w", err)
		}
		if has || last < from {
			return last, nil
		}
		if time.Since(began) >= s.madeWithin {
			return 0, fmt.Errorf("it is ordered, and %w, so that what was published for it since event %d waits in the stream alone: "+
				"start a replica that may make it (its log says so if it may not), and try again", ErrUnserved, from)
		}
		select {
		case <-ctx.Done():
			return 0, context.Cause(ctx)
		case <-time.After(madeEvery):
		}
	}
}

const (
	// madeWithin is how long a replica may take to make the consumer of an ordered
	// endpoint: it looks at a changed document when its wait for an event ends.
	madeWithin = 5 * time.Second
	madeEvery  = 50 * time.Millisecond
)

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
