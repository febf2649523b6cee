package deadletter

import (
	"context"
)

// Purge removes the dead letters that the filter means, of those that there are
// at the start, and returns how many it removed, in an error's case too.
func (s *Store) Purge(ctx context.Context, f Filter) (int, error) {
	if err := f.Validate(); err != nil {
		return 0, err
	}
	if f.whole() {
		stream, err := s.stream(ctx, s.names.DeadLetters())
		if err != nil {
			return 0, err
		}
		return s.purge(ctx, f.subject(s.names), stream.CachedInfo().State.LastSeq+1)
	}
	total := 0
	seqs := make([]uint64, 0, batchSize)
	flush := func() error {
		n, err := s.removeAll(ctx, seqs)
		total, seqs = total+n, seqs[:0]
		return err
	}
	for l, err := range s.All(ctx, f) {
		if err != nil {
			return total, err
		}
		if seqs = append(seqs, l.Seq); len(seqs) == cap(seqs) {
			if err := flush(); err != nil {
				return total, err
			}
		}
	}
	return total, flush()
}
