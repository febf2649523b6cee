package streams

import (
	"context"
	"fmt"

	"github.com/nats-io/nats.go/jetstream"
)

// LastEvent returns a function that asks for the sequence of the last event
// that was stored, 0 before the first.
func LastEvent(js jetstream.JetStream, n Names) func(ctx context.Context) (uint64, error) {
	return func(ctx context.Context) (uint64, error) {
		s, err := js.Stream(ctx, n.Events())
		if err != nil {
			return 0, fmt.Errorf("look up stream %s: %w", n.Events(), err)
		}
		return s.CachedInfo().State.LastSeq, nil
	}
}
