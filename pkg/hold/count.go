package hold

import (
	"context"
	"fmt"
	"strings"
	"time"

	"github.com/nats-io/nats.go/jetstream"

	"jethook/streams"
)

// Backlog is how many deliveries wait for an endpoint, wherever they lie.
type Backlog struct {
	Held      Waiting
	Scheduled uint64 // retries that are not due yet
	ToAttempt uint64 // about to be attempted, or being attempted
}

// Total returns how many deliveries that is.
func (b Backlog) Total() uint64 { return b.Held.Total() + b.Scheduled + b.ToAttempt }

// Backlogs returns what waits for each endpoint of a tenant for which anything
// does, by TENANT/ENDPOINT; an empty tenant means all of them. It asks the
// server three times, however many endpoints there are. A delivery that moves
// from one place to another between two of them may be counted twice or not at
// all.
func (s *Store) Backlogs(ctx context.Context, tenant string) (map[string]Backlog, error) {
	if tenant == "" {
		tenant = wildcard
	}
	return s.backlogs(ctx, tenant, wildcard)
}

// Backlog returns what waits for one endpoint.
func (s *Store) Backlog(ctx context.Context, tenant, endpoint string) (Backlog, error) {
	all, err := s.backlogs(ctx, tenant, endpoint)
	return all[tenant+"/"+endpoint], err
}

func (s *Store) backlogs(ctx context.Context, tenant, endpoint string) (map[string]Backlog, error) {
	held, err := s.count(ctx, tenant, endpoint)
	if err != nil {
		return nil, err
	}
	all := make(map[string]Backlog, len(held))
	for name, w := range held {
		all[name] = Backlog{Held: w}
	}
	err = s.subjects(ctx, s.names.Scheduled(tenant, endpoint, wildcard, wildcard), func(name string, n uint64) {
		b := all[name]
		b.Scheduled += n
		all[name] = b
	})
	if err != nil {
		return nil, err
	}
	err = s.subjects(ctx, s.names.Delivery(wildcard, tenant, endpoint), func(name string, n uint64) {
		b := all[name]
		b.ToAttempt += n
		all[name] = b
	})
	return all, err
}

// subjects calls visit with the endpoint of each subject that matches the
// filter, and how many messages lie under it.
func (s *Store) subjects(ctx context.Context, filter string, visit func(name string, n uint64)) error {
	stream, err := s.stream(ctx)
	if err != nil {
		return err
	}
	info, err := stream.Info(ctx, jetstream.WithSubjectFilter(filter))
	if err != nil {
		return fmt.Errorf("count what waits in stream %s: %w", s.names.Deliveries(), err)
	}
	for subject, n := range info.State.Subjects {
		tokens := strings.Split(subject, ".")
		switch {
		case len(tokens) == 5: // <namespace>.deliveries.<lane>.<tenant>.<endpoint>
			visit(tokens[3]+"/"+tokens[4], n)
		case len(tokens) == 6: // <namespace>.scheduled.<tenant>.<endpoint>.<event>.<origin>
			visit(tokens[2]+"/"+tokens[3], n)
		}
	}
	return nil
}

// Oldest returns since when the held deliveries of an endpoint wait: when the
// one that is at the head of its kind and was first attempted or held before
// the others was. w says of what kinds there are any. It returns the zero time
// when there is none any more.
func (s *Store) Oldest(ctx context.Context, tenant, endpoint string, w Waiting) (oldest time.Time, err error) {
	for kind, n := range map[streams.Kind]uint64{streams.HeldNew: w.New, streams.HeldLate: w.Late, streams.HeldProbe: w.Probe} {
		if n == 0 {
			continue
		}
		head, ok, err := s.Head(ctx, tenant, endpoint, kind)
		switch {
		case err != nil && !ok:
			return time.Time{}, err
		case !ok:
			continue
		}
		since := head.Delivery.State.First
		if since.IsZero() { // or it cannot be read
			since = head.Time
		}
		if oldest.IsZero() || since.Before(oldest) {
			oldest = since
		}
	}
	return oldest, nil
}
