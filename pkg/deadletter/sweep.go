package deadletter

import "context"

// sweep removes dead letters that were sent, in as few steps as it can: with
// each write on the disk at once, a purge costs as much as the removal of one
// letter.
type sweep struct {
	*Store
	subject string          // what the run reads
	all     bool            // the run began with the first letter
	kept    map[string]bool // subjects of which a letter was left behind
}

// worthPurging is from how many letters on a subject is purged rather than its
// letters removed one by one.
const worthPurging = 16

// keep notes that a letter under the subject stays, so that no purge may reach
// over it.
func (s *sweep) keep(subject string) {
	if s.kept == nil {
		s.kept = map[string]bool{}
	}
	s.kept[subject] = true
}

// batch removes letters that are all that the run has read up to the sequence
// end, or did not keep.
func (s *sweep) batch(ctx context.Context, letters []outgoing, end uint64) error {
	if len(letters) < worthPurging || !s.all {
		return s.each(ctx, letters)
	}
	if len(s.kept) == 0 {
		return s.purgeTo(ctx, s.subject, end)
	}
	counts := map[string]int{}
	for _, l := range letters {
		counts[l.subject]++
	}
	var rest []outgoing
	for _, l := range letters {
		if s.kept[l.subject] || counts[l.subject] < worthPurging {
			rest = append(rest, l)
		}
	}
	for subject, n := range counts {
		if n < worthPurging || s.kept[subject] {
			continue
		}
		if err := s.purgeTo(ctx, subject, end); err != nil {
			return err
		}
	}
	return s.each(ctx, rest)
}

func (s *sweep) purgeTo(ctx context.Context, subject string, end uint64) error {
	if err := s.at("removing"); err != nil {
		return err
	}
	_, err := s.purge(ctx, subject, end+1)
	return err
}

// each removes letters one by one, many at a time.
func (s *sweep) each(ctx context.Context, letters []outgoing) error {
	return parallel(len(letters), func(i int) error {
		if err := s.at("removing"); err != nil {
			return err
		}
		_, err := s.Store.remove(ctx, s.names.DeadLetters(), letters[i].seq)
		return err
	})
}
