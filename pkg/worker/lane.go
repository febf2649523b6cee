package worker

import (
	"context"
	"fmt"
	"slices"
	"sync"
	"time"

	"jethook/pkg/endpoint"
	"jethook/pkg/gate"
	"jethook/streams"
)

// lane is what a lane has of its own in this replica: slots, and the consumers
// that fill them.
type lane struct {
	name      string
	pool      *pool
	gates     *gate.Set // of the endpoints that are at home here
	tenants   *tenants  // whose endpoints those are
	fanout    *consumer // nil in a lane that no event is in by itself
	deliver   *consumer
	consumers []*consumer // both
	stop      context.CancelFunc
	ended     time.Time
}

func (w *Worker) newLane(name string, events bool) *lane {
	sharing := func() int { return w.sharing(name) }
	l := &lane{name: name, pool: newPool(w.maxInFlight), gates: gate.NewSet(w.maxInFlight, sharing), tenants: newTenants(w.tenantRate, sharing)}
	l.deliver = w.consumer(l, w.names.Deliveries(), streams.DeliverOf(name), w.delivery)
	l.consumers = append(l.consumers, l.deliver)
	if events {
		l.fanout = w.consumer(l, w.names.Events(), streams.FanoutOf(name), w.event)
		l.fanout.passes = w.passesOver
		l.consumers = append(l.consumers, l.fanout)
	}
	return l
}

// sharing says how many replicas share the limits of what is at home in a lane of
// this replica: those that serve it, and all where endpoints without a lane of their
// own are at home, since their events come in any lane.
func (w *Worker) sharing(lane string) int {
	if lane == streams.DefaultLane || !w.serves(streams.DefaultLane) {
		return w.replicas.Count()
	}
	return w.replicas.CountOf(lane)
}

func (l *lane) resize(slots int) {
	l.pool.slots.resize(slots)
	l.gates.Resize(slots)
}

// lanes are the lanes that this replica serves now.
type lanes struct {
	mu  sync.RWMutex
	all []*lane
}

func (l *lanes) list() []*lane {
	l.mu.RLock()
	defer l.mu.RUnlock()
	return l.all
}

// lane returns a lane that this replica serves, or nil.
func (w *Worker) lane(name string) *lane {
	for _, l := range w.lanes.list() {
		if l.name == name {
			return l
		}
	}
	return nil
}

// laneFor returns the name of the lane in which the deliveries of an event in
// lane from are attempted: the endpoint's own, or else the event's. A lane that
// is gone, or going, is the default.
func (w *Worker) laneFor(ep *endpoint.Endpoint, from string) string {
	if ep != nil && ep.Lane != streams.DefaultLane && w.endpoints.HasLane(ep.Lane) {
		return ep.Lane
	}
	if from != streams.DefaultLane && !w.endpoints.HasLane(from) {
		return streams.DefaultLane
	}
	return from
}

// serves reports whether this replica is to serve a lane.
func (w *Worker) serves(name string) bool {
	return len(w.serve) == 0 || slices.Contains(w.serve, name)
}

// runLanes runs the consumers of the lanes as the lanes come and go, until ctx
// ends and all have stopped.
func (w *Worker) runLanes(ctx context.Context) {
	var running sync.WaitGroup
	defer running.Wait()
	ticker := time.NewTicker(lookEvery)
	defer ticker.Stop()
	for {
		changed := w.endpoints.Changed()
		w.reconcile(ctx, &running)
		select {
		case <-ctx.Done():
			return
		case <-changed:
		case <-ticker.C: // what failed is tried again, what was drained ends
		}
	}
}

// reconcile starts the lanes that are new and ends those that are gone.
func (w *Worker) reconcile(ctx context.Context, running *sync.WaitGroup) {
	weights := map[string]int{}
	events := map[string]bool{streams.DefaultLane: true}
	if w.serves(streams.DefaultLane) {
		weights[streams.DefaultLane] = 1
	}
	documents := w.endpoints.Lanes()
	w.laned.Store(len(documents) > 0)
	for _, d := range documents {
		if w.serves(d.ID) {
			weights[d.ID], events[d.ID] = d.Weight, len(d.Filters) > 0
		}
		if d.Until != 0 {
			w.drained(ctx, d)
		} else {
			delete(w.ends, d.ID)
		}
	}
	for _, l := range w.lanes.list() {
		if weights[l.name] == 0 {
			w.log.Info().Str("lane", l.name).Msg("lane is gone")
			w.endLane(l)
		}
	}
	for name := range weights {
		if w.lane(name) == nil {
			w.beginLane(ctx, w.newLane(name, events[name]), running)
		}
	}
	w.share(weights)
	w.release()
}

// beginLane starts a lane's consumers, and makes them where they are new.
func (w *Worker) beginLane(ctx context.Context, l *lane, running *sync.WaitGroup) {
	if l.name != streams.DefaultLane {
		if !w.makeLane(ctx, l.name) {
			return // until the next reconcile
		}
		w.log.Info().Str("lane", l.name).Msg("serving a lane")
	}
	ctx, l.stop = context.WithCancel(ctx)
	w.lanes.mu.Lock()
	w.lanes.all = append(slices.Clone(w.lanes.all), l)
	w.lanes.mu.Unlock()
	for _, c := range l.consumers {
		running.Go(func() { c.run(ctx) })
		running.Go(func() { c.look(ctx) })
	}
	w.keeper.touchAll()
}

// makeLane makes a lane's consumers, where they are missing.
func (w *Worker) makeLane(ctx context.Context, name string) bool {
	floors, err := w.floors(ctx)
	if err == nil {
		err = w.restore(ctx, floors)
	}
	if err != nil {
		w.oddities.Warn().Err(err).Str("lane", name).Msg("could not make a lane's consumers, trying again")
	}
	return err == nil
}

func (w *Worker) endLane(l *lane) {
	l.stop()
	l.ended = time.Now()
	w.lanes.mu.Lock()
	w.lanes.all = slices.DeleteFunc(slices.Clone(w.lanes.all), func(other *lane) bool { return other == l })
	w.ended = append(w.ended, l)
	w.lanes.mu.Unlock()
	w.keeper.touchAll()
}

// release lets go of the lanes that ended, with their goroutines, once nothing is done
// in them any more. Who had just found one may begin something for a few seconds.
func (w *Worker) release() {
	var over []*lane
	w.lanes.mu.Lock()
	w.ended = slices.DeleteFunc(w.ended, func(l *lane) bool {
		idle := time.Since(l.ended) > endingFor && l.pool.slots.busy() == 0 && l.gates.InFlight() == 0
		if idle {
			over = append(over, l)
		}
		return idle
	})
	w.lanes.mu.Unlock()
	for _, l := range over {
		l.pool.close()
	}
}

// share divides the slots among the lanes by their weights.
func (w *Worker) share(weights map[string]int) {
	total := 0
	for _, weight := range weights {
		total += weight
	}
	for _, l := range w.lanes.list() {
		l.resize(max(2, w.maxInFlight*weights[l.name]/max(total, 1)))
	}
}

// laneEnd is what this replica knows of a lane that is being removed.
type laneEnd struct {
	heard time.Time // when it heard of that: its clock and the server's may differ
	last  uint64    // the last event that can be the lane's, once that is known
}

// drained deletes a lane that is being removed once nothing of it is left.
func (w *Worker) drained(ctx context.Context, d endpoint.Lane) {
	e := w.ends[d.ID]
	if e == nil {
		e = &laneEnd{heard: time.Now()}
		w.ends[d.ID] = e
	}
	if w.replicas.RankOf(d.ID, "lane "+d.ID) != 0 || time.Since(e.heard) < endingFor {
		return
	}
	left, err := w.leftIn(ctx, d, e)
	if err == nil && !left {
		if err = w.deleteConsumers(ctx, d.ID); err == nil {
			err = w.documents.DeleteLane(ctx, d.ID)
		}
	}
	if err != nil && ctx.Err() == nil {
		w.oddities.Warn().Err(err).Str("lane", d.ID).Msg("could not finish removing a lane, trying again")
	}
}

// leftIn reports whether a lane that is being removed has events or deliveries
// still. What its schedules bring later is a stray, which is taken care of.
func (w *Worker) leftIn(ctx context.Context, d endpoint.Lane, e *laneEnd) (bool, error) {
	if e.last == 0 {
		// By now all replicas know that what comes is not the lane's.
		last, err := streams.NewEventLog(w.js, w.names).Last(ctx)
		if err != nil {
			return false, err
		}
		e.last = max(last, 1)
	}
	for _, c := range []struct{ stream, durable string }{
		{w.names.Events(), streams.FanoutOf(d.ID)}, {w.names.Deliveries(), streams.DeliverOf(d.ID)},
	} {
		js, err := w.js.Consumer(ctx, c.stream, c.durable)
		if gone(err) {
			continue
		}
		if err != nil {
			return false, fmt.Errorf("look up consumer %s: %w", c.durable, err)
		}
		info := js.CachedInfo()
		passed := c.stream == w.names.Events() && info.AckFloor.Stream >= e.last
		if !passed && (info.NumPending > 0 || info.NumAckPending > 0) {
			return true, nil
		}
	}
	return false, nil
}

func (w *Worker) deleteConsumers(ctx context.Context, lane string) error {
	if err := w.js.DeleteConsumer(ctx, w.names.Events(), streams.FanoutOf(lane)); err != nil && !gone(err) {
		return err
	}
	if err := w.js.DeleteConsumer(ctx, w.names.Deliveries(), streams.DeliverOf(lane)); err != nil && !gone(err) {
		return err
	}
	return nil
}
