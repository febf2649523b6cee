package deadletter

import (
	"context"
	"time"

	"jethook/streams"
)

// pageBytes bounds a page: bodies may be a megabyte each.
const pageBytes = 8 << 20

// page reads up to n messages with their bodies under a subject from a sequence
// on. What it returns has no gaps, which is what lets a batch be removed by one purge.
func (s *Store) page(ctx context.Context, subject string, from uint64, since time.Time, n int) ([]stored, error) {
	read := streams.Read{Stream: s.names.DeadLetters(), Filter: subject, First: from, Most: n, Bytes: pageBytes}
	if from == 1 && !since.IsZero() {
		read.First, read.Since = 0, since
	}
	messages, err := read.Page(ctx, s.js)
	if err != nil {
		return nil, err
	}
	page := make([]stored, 0, len(messages))
	for _, m := range messages {
		page = append(page, stored{m.Subject, m.Seq, m.Time, m.Header, m.Data})
	}
	return page, nil
}
