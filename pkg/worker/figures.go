package worker

import (
	"context"
	"errors"
	"fmt"
	"sync/atomic"
	"time"

	"github.com/nats-io/nats.go/jetstream"

	"jethook/pkg/gate"
	"jethook/pkg/hold"
	"jethook/pkg/telemetry"
	"jethook/streams"
)

// figuresEvery is how often a replica asks what NATS stores: eight small requests
// and two for each lane, and a PING, however much that is.
const figuresEvery = 5 * time.Second

// orderedEvery is how often it asks how far behind the ordered endpoints are that
// it serves: there can be two hundred, and each has a consumer of its own.
const orderedEvery = 30 * time.Second

// figures are what a replica tells of what NATS stores for all replicas, and of
// how endpoints fare. They are collected now and then, so that a scrape waits for
// nobody.
type figures struct {
	w       *Worker
	streams []string // that are told of
	every   time.Duration
	light   spotlight
	again   trouble
	// For how many looks in a row no live replica served each lane.
	unserved map[string]int
	// When the consumers of ordered endpoints are to be asked, and how often.
	orderedNext  time.Time
	orderedEvery time.Duration
	// What the keeper's listing said last of the stream of deliveries.
	held, others atomic.Uint64
}

func newFigures(w *Worker, spotlight int) *figures {
	m, nc := w.metrics, w.js.Conn()
	m.InFlight(w.busy, w.maxInFlight)
	m.Replicas(w.replicas.Count)
	m.NATS(nc.IsConnected, func() uint64 { return nc.Stats().Reconnects })
	f := &figures{w: w, every: figuresEvery, orderedEvery: orderedEvery, light: newSpotlight(spotlight)}
	topology, err := streams.NewTopology(streams.Options{Names: w.names})
	if err != nil { // the definitions are in the program, and can be read
		w.log.Error().Err(err).Msg("there are no metrics of streams")
	}
	f.streams = topology.Names()
	for _, name := range f.streams {
		m.Stream(name, 0, 0, 0)
	}
	return f
}

// surveyed takes note of what the stream of deliveries has.
func (f *figures) surveyed(s hold.Survey) {
	f.held.Store(s.Total)
	f.others.Store(s.Others)
	f.w.metrics.Backlog(telemetry.Held, s.Total)
}

// run collects until ctx ends.
func (f *figures) run(ctx context.Context) {
	ticker := time.NewTicker(f.every)
	defer ticker.Stop()
	for {
		f.gates()
		f.endpoints()
		f.inOrder()
		f.served()
		if err := f.ask(ctx); err != nil && ctx.Err() == nil {
			f.again.wait(ctx, f.w.log, err, "cannot collect the metrics of what NATS stores, trying again")
		} else {
			f.again.over(f.w.log, "the metrics of what NATS stores are collected again")
		}
		select {
		case <-ctx.Done():
			return
		case <-ticker.C:
		}
	}
}

// gates tells the states of gates.
func (f *figures) gates() {
	now, open, probing, ramp := time.Now(), 0, 0, 0
	f.w.fleet.Each(func(_ string, o gate.Opened) {
		open++
		if o.Prober != "" && now.Before(o.LeaseEnds) {
			probing++
		}
	})
	for _, l := range f.w.everyLane() {
		ramp += l.gates.Ramping()
	}
	f.w.metrics.Gates(open, probing, ramp)
}

// inOrder tells since when the oldest event waits that is in hand in order.
func (f *figures) inOrder() {
	var oldest time.Time
	for _, m := range f.w.ordered.inHand() {
		oldest = older(oldest, m.stored)
	}
	f.w.metrics.Oldest(telemetry.OldestOrdered, oldest, time.Now())
}

// ask asks NATS for what only NATS knows. What it cannot say of one thing keeps
// nothing else from being told.
func (f *figures) ask(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, publishTimeout)
	defer cancel()
	began := time.Now()
	if err := f.w.js.Conn().FlushWithContext(ctx); err != nil {
		return fmt.Errorf("ask NATS for a sign of life: %w", err)
	}
	f.w.metrics.RoundTrip(time.Since(began))
	all, err := f.sizes(ctx)
	err = errors.Join(err, f.oldestHeld(ctx), f.ordered(ctx), f.waiting(ctx, all), f.storage(ctx))
	if err == nil {
		f.w.metrics.Collected(time.Now())
	}
	return err
}

// sizes tells how large the streams are, and returns them by name.
func (f *figures) sizes(ctx context.Context) (all map[string]jetstream.Stream, err error) {
	all = make(map[string]jetstream.Stream, len(f.streams))
	for _, name := range f.streams {
		stream, failed := f.w.js.Stream(ctx, name)
		if failed != nil {
			err = errors.Join(err, fmt.Errorf("look up stream %s: %w", name, failed))
			continue
		}
		info := stream.CachedInfo()
		f.w.metrics.Stream(name, info.State.Msgs, info.State.Bytes, info.Config.MaxBytes)
		if name == f.w.names.DeadLetters() {
			f.w.metrics.Backlog(telemetry.Dead, info.State.Msgs)
		}
		all[name] = stream
	}
	return all, err
}

// waiting tells how much waits in all lanes, and since when, if the streams are
// there.
func (f *figures) waiting(ctx context.Context, all map[string]jetstream.Stream) error {
	consumers, err := f.consumers(ctx)
	if err != nil {
		return err
	}
	n := f.others.Load()
	for _, info := range consumers[f.w.names.Events()] {
		n += info.NumPending + uint64(info.NumAckPending)
	}
	f.w.metrics.Backlog(telemetry.Waiting, n)
	for kind, name := range map[string]string{telemetry.OldestEvent: f.w.names.Events(), telemetry.OldestDelivery: f.w.names.Deliveries()} {
		if all[name] != nil {
			err = errors.Join(err, f.oldest(ctx, kind, all[name], consumers[name]))
		}
	}
	return err
}

// oldest tells the age of the oldest message that the consumers of a stream have
// not acked.
func (f *figures) oldest(ctx context.Context, kind string, stream jetstream.Stream, consumers []*jetstream.ConsumerInfo) error {
	var oldest time.Time
	for _, info := range consumers {
		at, err := streams.FirstUnacked(ctx, stream, info)
		if err != nil {
			return err
		}
		oldest = older(oldest, at)
	}
	f.w.metrics.Oldest(kind, oldest, time.Now())
	return nil
}

// storage tells how full the account is; of one with tiers, its fullest tier. A
// stream without a limit of its own is full when that is.
func (f *figures) storage(ctx context.Context) error {
	info, err := f.w.js.AccountInfo(ctx)
	if err != nil {
		return fmt.Errorf("look at the account's storage: %w", err)
	}
	fullest := info.Tier
	for _, tier := range info.Tiers {
		if share(tier) > share(fullest) {
			fullest = tier
		}
	}
	limit := fullest.Limits.MaxStore
	if limit <= 0 {
		limit = f.w.storage
	}
	f.w.metrics.Storage(fullest.Store, limit)
	return nil
}

func share(t jetstream.Tier) float64 { return float64(t.Store) / float64(max(t.Limits.MaxStore, 1)) }

// oldestHeld tells since when what is held waits.
func (f *figures) oldestHeld(ctx context.Context) error {
	var since time.Time
	if f.held.Load() > 0 {
		var err error
		if since, err = f.w.held.Since(ctx); err != nil {
			return err
		}
	}
	f.w.metrics.Oldest(telemetry.OldestHeld, since, time.Now())
	return nil
}

// ordered tells how many events wait for the ordered endpoints that this replica
// serves.
func (f *figures) ordered(ctx context.Context) error {
	if time.Now().Before(f.orderedNext) {
		return nil
	}
	var pending uint64
	for _, durable := range f.w.ordered.durables() {
		c, err := f.w.js.Consumer(ctx, f.w.names.Events(), durable)
		if gone(err) {
			continue // it is being made, or ended
		}
		if err != nil {
			return fmt.Errorf("look up consumer %s: %w", durable, err)
		}
		pending += c.CachedInfo().NumPending + uint64(c.CachedInfo().NumAckPending)
	}
	f.w.metrics.Ordered(pending)
	f.orderedNext = time.Now().Add(f.orderedEvery)
	return nil
}

// durables returns the consumers of the endpoints that are served.
func (o *ordered) durables() (all []string) {
	o.mu.Lock()
	defer o.mu.Unlock()
	for _, s := range o.served {
		all = append(all, s.durables...)
	}
	return all
}

// older returns the earlier of two times, of which the zero one is none.
func older(a, b time.Time) time.Time {
	if a.IsZero() || !b.IsZero() && b.Before(a) {
		return b
	}
	return a
}
