package streams

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/nats-io/nats.go/jetstream"
)

// FirstUnacked returns when the first message was stored that a consumer has not
// acked, the zero time when there is none. A stream that was made anew since the
// consumer was looked at, and counts from 1 again, has none until the next look.
func FirstUnacked(ctx context.Context, stream jetstream.Stream, info *jetstream.ConsumerInfo) (first time.Time, err error) {
	if info.NumPending == 0 && info.NumAckPending == 0 {
		return time.Time{}, nil
	}
	from := max(info.AckFloor.Stream+1, info.Config.OptStartSeq)
	for _, filter := range filters(info.Config) {
		m, err := stream.GetMsg(ctx, from, jetstream.WithGetMsgSubject(filter))
		switch {
		case errors.Is(err, jetstream.ErrMsgNotFound):
			continue
		case err != nil:
			return time.Time{}, fmt.Errorf("read the first message that consumer %s has not acked: %w", info.Name, err)
		}
		if first.IsZero() || m.Time.Before(first) {
			first = m.Time
		}
	}
	return first, nil
}
