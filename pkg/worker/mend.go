package worker

import (
	"context"
	"errors"
	"fmt"

	"github.com/nats-io/nats.go/jetstream"
)

// mend makes again what somebody deleted. Whoever finds one consumer missing
// mends both: were the fanout consumer made again without its floor, a week's
// events would be delivered again.
func (w *Worker) mend(ctx context.Context) error {
	w.mending.Lock()
	defer w.mending.Unlock()
	floor := w.fanout.floor.Load()
	stream, err := w.js.Stream(ctx, w.names.Events())
	switch {
	case errors.Is(err, jetstream.ErrStreamNotFound):
		floor = 0
	case err != nil:
		return fmt.Errorf("look up stream %s: %w", w.names.Events(), err)
	case stream.CachedInfo().Created.UnixNano() != w.fanout.created.Load():
		floor = 0 // of another stream, whose first events would be passed over
	}
	if err := w.restore(ctx, floor); err != nil {
		return err
	}
	w.log.Warn().Uint64("fanout_floor", floor).Msg("a stream or a consumer was gone; made what was missing")
	return nil
}

// mendStream mends when err says that no stream listens. The consumers cannot
// be relied on for that: they wait for a slot while all slots wait for the
// stream, and nobody reads that of dead letters.
func (w *Worker) mendStream(ctx context.Context, err error) {
	if !errors.Is(err, jetstream.ErrNoStreamResponse) || !w.mending.TryLock() {
		return
	}
	w.mending.Unlock()
	if err := w.mend(ctx); err != nil {
		w.oddities.Warn().Err(err).Msg("could not make a stream again that is gone")
	}
}
