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
	floors, err := w.floors(ctx)
	if err != nil {
		return err
	}
	if err := w.restore(ctx, floors); err != nil {
		return err
	}
	w.log.Warn().Interface("floors", floors).Msg("a stream or a consumer was gone; made what was missing")
	return nil
}

// floors returns up to where each fanout consumer has acked, if the stream is
// still the one that they read.
func (w *Worker) floors(ctx context.Context) (map[string]uint64, error) {
	floors := map[string]uint64{}
	stream, err := w.js.Stream(ctx, w.names.Events())
	switch {
	case errors.Is(err, jetstream.ErrStreamNotFound):
		return floors, nil
	case err != nil:
		return nil, fmt.Errorf("look up stream %s: %w", w.names.Events(), err)
	}
	for _, l := range w.lanes.list() {
		// Of another stream, its first events would be passed over.
		if l.fanout != nil && stream.CachedInfo().Created.UnixNano() == l.fanout.created.Load() {
			floors[l.fanout.durable] = l.fanout.floor.Load()
		}
	}
	return floors, nil
}

// gone reports whether a consumer, or its stream, does not exist.
func gone(err error) bool {
	return errors.Is(err, jetstream.ErrConsumerNotFound) || errors.Is(err, jetstream.ErrStreamNotFound)
}

// mendStream mends when err says that no stream listens. The consumers cannot
// be relied on for that: they wait for a slot while all slots wait for the
// stream, and nobody reads that of dead letters.
func (w *Worker) mendStream(ctx context.Context, err error) {
	if !errors.Is(err, jetstream.ErrNoStreamResponse) || !w.mending.TryLock() {
		return
	}
	w.mending.Unlock()
	w.tryMend(ctx)
}

// mendGates mends when the bucket of open gates is gone: without it a gate that
// opens lets nothing through any more, because nobody can be told of it, or be the
// one that probes.
func (w *Worker) mendGates(ctx context.Context) {
	if w.fleet.InSync() {
		return
	}
	if _, err := w.js.Stream(ctx, "KV_"+w.names.GatesBucket()); gone(err) {
		w.tryMend(ctx)
	}
}

func (w *Worker) tryMend(ctx context.Context) {
	if err := w.mend(ctx); err != nil {
		w.oddities.Warn().Err(err).Msg("could not make a stream again that is gone")
	}
}
