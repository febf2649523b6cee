package hold

import (
	"context"
	"fmt"

	"jethook/streams"
)

// batchBytes bounds a batch: bodies may be a megabyte each.
const batchBytes = 8 << 20

// Batch returns up to n held deliveries of a kind, oldest first, from a sequence
// on, and none when there are none. There may be fewer than n although more
// follow. It has no gaps, so that what it returned can be removed by one Drop.
// Bodies that lie in events are left there.
func (s *Store) Batch(ctx context.Context, tenant, endpoint string, kind streams.Kind, from uint64, n int) ([]Stored, error) {
	read := streams.Read{Stream: s.names.Deliveries(), Filter: s.names.Held(tenant, endpoint, kind), First: from, Most: n, Bytes: batchBytes}
	messages, err := read.Page(ctx, s.js)
	if err != nil {
		return nil, fmt.Errorf("read what is held: %w", err)
	}
	batch := make([]Stored, 0, len(messages))
	for _, m := range messages {
		batch = append(batch, s.decode(Stored{Subject: m.Subject, Seq: m.Seq, Time: m.Time, Header: m.Header}, m.Data))
	}
	return batch, nil
}
