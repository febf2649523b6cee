package hold

import (
	"context"
	"time"
)

// Survey is what the stream of deliveries had at one moment.
type Survey struct {
	Held   map[string]Waiting // by TENANT/ENDPOINT
	Total  uint64             // held deliveries
	Others uint64             // those to be attempted or scheduled
}

// Survey returns All, and how much is beside it, for what All costs.
func (s *Store) Survey(ctx context.Context) (Survey, error) {
	all, others, err := s.list(ctx, s.names.AllHeld())
	if err != nil {
		return Survey{}, err
	}
	v := Survey{Held: all, Others: others}
	for _, w := range all {
		v.Total += w.Total()
	}
	return v, nil
}

// Since returns since when what is held for anybody waits: when the one that lies
// first was first attempted or held. It returns the zero time when none is.
func (s *Store) Since(ctx context.Context) (time.Time, error) {
	head, ok, err := s.Head(ctx, wildcard, wildcard, wildcard)
	switch {
	case !ok:
		return time.Time{}, err
	case head.Delivery.State.First.IsZero(): // or it cannot be read
		return head.Time, nil
	}
	return head.Delivery.State.First, nil
}
