package hold

import (
	"context"
	"fmt"
	"strings"
	"time"

	"github.com/nats-io/nats.go/jetstream"

	"jethook/pkg/delivery"
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

// Oldest returns since when what waits for an endpoint does: when the one that was
// first attempted or held before the others was, of those that lie first of their
// kind. b says of what kinds there are any. It returns the zero time when there is
// none any more.
func (s *Store) Oldest(ctx context.Context, tenant, endpoint string, b Backlog) (oldest time.Time, err error) {
	for subject, n := range map[string]uint64{
		s.names.Held(tenant, endpoint, streams.HeldNew):         b.Held.New,
		s.names.Held(tenant, endpoint, streams.HeldLate):        b.Held.Late,
		s.names.Held(tenant, endpoint, streams.HeldProbe):       b.Held.Probe,
		s.names.Scheduled(tenant, endpoint, wildcard, wildcard): b.Scheduled,
		s.names.Delivery(wildcard, tenant, endpoint):            b.ToAttempt,
	} {
		if n == 0 {
			continue
		}
		m, _, ok, err := s.message(ctx, firstUnder(subject))
		if err != nil {
			return time.Time{}, err
		}
		if !ok {
			continue
		}
		since := m.Time
		if d, err := delivery.Decode(tenant, endpoint, m.Header, nil); err == nil && !d.State.First.IsZero() {
			since = d.State.First
		}
		if oldest.IsZero() || since.Before(oldest) {
			oldest = since
		}
	}
	return oldest, nil
}
