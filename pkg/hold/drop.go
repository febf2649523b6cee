package hold

import (
	"context"
	"fmt"

	"jethook/streams"
)

// Drop removes the held deliveries of a kind up to a sequence, inclusive. Those
// of them that a feed has handed out are removed too, and their acks do no harm.
func (s *Store) Drop(ctx context.Context, tenant, endpoint string, kind streams.Kind, upTo uint64) error {
	if upTo == 0 {
		return nil // the first sequence is 1
	}
	_, err := s.purge(ctx, s.names.Held(tenant, endpoint, kind), upTo+1)
	return err
}

// DropOne removes the held delivery under a sequence. One that is gone already
// is fine.
func (s *Store) DropOne(ctx context.Context, seq uint64) error {
	// Without no_erase the server overwrites the message first, which costs a
	// second write to the disk.
	err := streams.Request(ctx, s.js, "STREAM.MSG.DELETE", s.names.Deliveries(), struct {
		Seq     uint64 `json:"seq"`
		NoErase bool   `json:"no_erase"`
	}{seq, true}, &struct{}{})
	if err == nil {
		return nil
	}
	// For a message that is gone the server has several errors, some of which
	// mean other things too. So look whether it is.
	if _, ok, gone := s.Get(ctx, seq); streams.Absent(err) || gone == nil && !ok {
		return nil
	}
	return fmt.Errorf("remove held delivery %d: %w", seq, err)
}

// Discard removes everything that waits for an endpoint, held, scheduled or
// about to be attempted, and returns how many deliveries that were, in an
// error's case too. What is being attempted meanwhile may come again: discard
// when the endpoint is gone, or paused.
func (s *Store) Discard(ctx context.Context, tenant, endpoint string) (uint64, error) {
	var total uint64
	for _, subject := range []string{
		s.names.Delivery(wildcard, tenant, endpoint),
		s.names.Scheduled(tenant, endpoint, wildcard, wildcard),
		s.names.Held(tenant, endpoint, wildcard),
	} {
		n, err := s.purge(ctx, subject, 0)
		total += n
		if err != nil {
			return total, err
		}
	}
	return total, nil
}

// purge removes what lies under a subject with sequences below a bound, 0 for
// none, and returns how many there were.
func (s *Store) purge(ctx context.Context, subject string, below uint64) (uint64, error) {
	ask := struct {
		Filter string `json:"filter"`
		Seq    uint64 `json:"seq,omitempty"`
	}{subject, below}
	var answer struct {
		Purged uint64 `json:"purged"`
	}
	if err := streams.Request(ctx, s.js, "STREAM.PURGE", s.names.Deliveries(), ask, &answer); err != nil {
		return 0, fmt.Errorf("remove %s: %w", subject, err)
	}
	return answer.Purged, nil
}
