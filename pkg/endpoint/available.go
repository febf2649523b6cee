package endpoint

import (
	"context"
	"fmt"
	"time"

	"jethook/streams"
)

// available reports whether the document lets attempts be made.
func (d Document) available() bool { return !d.Paused && d.Disabled == nil }

// date writes down when the endpoint was paused and since when it is available
// again, by what was stored before. What the document itself says of that does not
// count: these are facts, and nobody's wish. Nor does the clock of who changes the
// endpoint: an operator's, minutes off, would change what time deliveries have left.
func (s *Store) date(ctx context.Context, before Document, next *Document) error {
	next.PausedAt, next.AvailableSince = before.PausedAt, before.AvailableSince
	if !next.Paused {
		next.PausedAt = time.Time{}
	}
	paused, resumed := next.Paused && !before.Paused, next.available() && !before.available()
	if !paused && !resumed {
		return nil
	}
	info, err := streams.BucketInfo(ctx, s.kv)
	if err != nil {
		return fmt.Errorf("ask NATS for the time: %w", err)
	}
	if paused {
		next.PausedAt = info.TimeStamp
	}
	if resumed {
		next.AvailableSince = info.TimeStamp
	}
	return nil
}
