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

// figuresEvery is how often a replica asks what NATS stores: seven small requests
// and a PING, however much that is.
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
		f.waiting()
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

// waiting tells how much waits, from what is known.
func (f *figures) waiting() {
	n := f.others.Load()
	for _, info := range f.consumers(func(l *lane) *consumer { return l.fanout }) {
		n += info.NumPending + uint64(info.NumAckPending)
	}
	f.w.metrics.Backlog(telemetry.Waiting, n)
	var oldest time.Time
	for _, m := range f.w.ordered.inHand() {
		oldest = older(oldest, m.stored)
	}
	f.w.metrics.Oldest(telemetry.OldestOrdered, oldest, time.Now())
}

// consumers returns what was last seen of one consumer of each lane.
func (f *figures) consumers(of func(*lane) *consumer) (infos []*jetstream.ConsumerInfo) {
	for _, l := range f.w.lanes.list() {
		if c := of(l); c != nil && c.info.Load() != nil {
			infos = append(infos, c.info.Load())
		}
	}
	return infos
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
	err = errors.Join(err,
		f.oldest(ctx, telemetry.OldestEvent, all[f.w.names.Events()], func(l *lane) *consumer { return l.fanout }),
		f.oldest(ctx, telemetry.OldestDelivery, all[f.w.names.Deliveries()], func(l *lane) *consumer { return l.deliver }),
		f.oldestHeld(ctx), f.ordered(ctx))
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

// oldest tells the age of the oldest message that a kind of consumers has not
// acked, if their stream is there.
func (f *figures) oldest(ctx context.Context, kind string, stream jetstream.Stream, of func(*lane) *consumer) error {
	if stream == nil {
		return nil
	}
	var oldest time.Time
	for _, info := range f.consumers(of) {
		at, err := firstUnacked(ctx, stream, info)
		if err != nil {
			return err
		}
		oldest = older(oldest, at)
	}
	f.w.metrics.Oldest(kind, oldest, time.Now())
	return nil
}

// firstUnacked returns when the first message was stored that a consumer has not
// acked, the zero time when there is none. A stream that was made anew since the
// consumer was looked at, and counts from 1 again, has none until the next look.
func firstUnacked(ctx context.Context, stream jetstream.Stream, info *jetstream.ConsumerInfo) (oldest time.Time, err error) {
	if info.NumPending == 0 && info.NumAckPending == 0 {
		return time.Time{}, nil
	}
	from := max(info.AckFloor.Stream+1, info.Config.OptStartSeq)
	filters := info.Config.FilterSubjects
	if len(filters) == 0 {
		filters = []string{info.Config.FilterSubject}
	}
	for _, filter := range filters {
		m, err := stream.GetMsg(ctx, from, jetstream.WithGetMsgSubject(filter))
		switch {
		case errors.Is(err, jetstream.ErrMsgNotFound):
			continue
		case err != nil:
			return time.Time{}, fmt.Errorf("read the first message that consumer %s has not acked: %w", info.Name, err)
		}
		oldest = older(oldest, m.Time)
	}
	return oldest, nil
}

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
