package hold

import (
	"context"
	"fmt"

	"github.com/nats-io/nats.go/jetstream"

	"jethook/streams"
)

// wildcard stands for every token of a subject in a filter.
const wildcard = "*"

// Waiting is how many deliveries an endpoint has held, by kind.
type Waiting struct{ New, Late, Probe uint64 }

// Total returns how many deliveries that is.
func (w Waiting) Total() uint64 { return w.New + w.Late + w.Probe }

func (w *Waiting) add(kind streams.Kind, n uint64) {
	switch kind {
	case streams.HeldNew:
		w.New += n
	case streams.HeldLate:
		w.Late += n
	case streams.HeldProbe:
		w.Probe += n
	}
}

// All returns what is held for every endpoint that has any, by TENANT/ENDPOINT.
// It costs the server one look at the subjects that there are, however many
// deliveries lie there. Past a hundred thousand subjects it takes several, and
// an endpoint may be left out whose subject moved between two of them.
func (s *Store) All(ctx context.Context) (map[string]Waiting, error) {
	return s.count(ctx, wildcard, wildcard)
}

// Of returns what is held for one endpoint.
func (s *Store) Of(ctx context.Context, tenant, endpoint string) (Waiting, error) {
	all, err := s.count(ctx, tenant, endpoint)
	return all[tenant+"/"+endpoint], err
}

func (s *Store) count(ctx context.Context, tenant, endpoint string) (map[string]Waiting, error) {
	all, _, err := s.list(ctx, s.names.Held(tenant, endpoint, wildcard))
	return all, err
}

// list returns what is held under the subjects of a filter, and how many messages of
// the stream lie under none of them.
func (s *Store) list(ctx context.Context, filter string) (_ map[string]Waiting, others uint64, err error) {
	stream, err := s.stream(ctx)
	if err != nil {
		return nil, 0, err
	}
	info, err := stream.Info(ctx, jetstream.WithSubjectFilter(filter))
	if err != nil {
		return nil, 0, fmt.Errorf("count what is held in stream %s: %w", s.names.Deliveries(), err)
	}
	all := make(map[string]Waiting, len(info.State.Subjects))
	others = info.State.Msgs
	for subject, n := range info.State.Subjects {
		others -= min(n, others) // the server looks twice, and some may have come between
		tenant, endpoint, kind, err := s.names.ParseHeld(subject)
		if err != nil {
			continue // no delivery: we hold under no such subject
		}
		w := all[tenant+"/"+endpoint]
		w.add(kind, n)
		all[tenant+"/"+endpoint] = w
	}
	return all, others, nil
}
