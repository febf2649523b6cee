package deadletter

import (
	"context"
	"iter"

	"jethook/streams"
)

// scan yields the headers of the messages under the filter's subject and within
// its span, up to the last that there is at the start.
func (s *Store) scan(ctx context.Context, f Filter) iter.Seq2[stored, error] {
	first, last := f.span()
	all := streams.Scan{Stream: s.names.DeadLetters(), Filter: f.subject(s.names), First: first, Last: last, Since: f.Since, HeadersOnly: true}
	return func(yield func(stored, error) bool) {
		for m, err := range all.All(ctx, s.js) {
			if !yield(stored{m.Subject, m.Seq, m.Time, m.Header, m.Data}, err) {
				return
			}
		}
	}
}
