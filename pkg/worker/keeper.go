package worker

import (
	"context"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"jethook/pkg/endpoint"
	"jethook/pkg/gate"
	"jethook/pkg/hold"
	"jethook/streams"
)

// keeper takes care of the endpoints for which deliveries are held: it feeds
// back what an endpoint can have again, probes those whose gate is open, and
// gives up what waited too long.
type keeper struct {
	w       *Worker
	wake    chan struct{} // of capacity 1: something is to be done now
	listNow chan struct{} // of capacity 1: what is held may be for others than known
	running sync.WaitGroup

	contended atomic.Bool // feeds wait for their turn
	feeds     *feeds

	mu    sync.Mutex
	known map[string]*holding
}

// holding is an endpoint for which deliveries are held, as far as this replica
// knows.
type holding struct {
	name, tenant, id string
	seen             sighting
	serving          chore      // feed or probe
	probing          bool       // that is what serving is busy with
	probed           uint64     // the sequence of what it is probed with now, or 0
	fed              time.Time  // when a feed began last
	joining          bool       // waited for its turn among the replicas to feed
	ticket           ticket     // with which a feed will go on, when it is due
	giving           chore      // up what waited too long
	late             *hold.Late // of the replica that gives up for this endpoint
	quiet            quiet      // what is over since before it is given up
	newest           time.Time  // when the latest round began of what this replica held; zero is unknown
}

// sighting is what the last listing said.
type sighting struct {
	hold.Waiting
	asked bool // a listing began since it was heard of
}

// chore is something that is done for a holding now and then.
type chore struct {
	next time.Time // when to do it
	busy bool      // somebody is at it
	// idle says that there is nothing to do it for, as far as is known, so that
	// hearing of more is a reason to do it now.
	idle bool
	// again says that there was such a reason since somebody began.
	again bool
}

// now lets the chore be done at once, and once more if somebody is at it.
func (c *chore) now() { c.next, c.idle, c.again = time.Time{}, false, true }

const (
	tendEvery = 100 * time.Millisecond
	// listEvery is how often a replica asks for whom deliveries are held, at
	// most: what another replica held before it died is found that way. When the
	// answer costs much, it is asked for less often.
	listEvery = 5 * time.Second
	listShare = 50 // a listing may take a fiftieth of the time
	// listLost bounds the pause after a listing without an answer: one that went
	// with its server looks as if it cost much.
	listLost = 30 * time.Second
	// most bounds how many feeds, and how many probes, there are at a time.
	mostFeeds  = 128
	mostProbes = 256
	mostGiving = 8
	// turn is how long a feed goes on while others wait for their turn.
	turn = 5 * time.Second
	// never is when there is nothing to be done until something changes.
	never = 365 * 24 * time.Hour
)

func newKeeper(w *Worker) *keeper {
	return &keeper{w: w, feeds: newFeeds(w.held, func() int { return w.replicas.Count() }), wake: make(chan struct{}, 1), listNow: make(chan struct{}, 1), known: make(map[string]*holding)}
}

// nudge says that a delivery was held for an endpoint. It is called for each,
// so it does little for those that are known already.
func (k *keeper) nudge(name string, kind streams.Kind) {
	k.mu.Lock()
	defer k.mu.Unlock()
	h := k.known[name]
	if h == nil {
		h = k.holding(name)
		signal(k.wake)
	}
	h.seen.asked = false // a listing that is under way may not know
	if h.serving.idle || h.giving.idle {
		signal(k.wake)
	}
	if h.serving.idle {
		h.serving.now()
	}
	if h.giving.idle || kind == streams.HeldLate { // its time may run out before that of all others
		h.giving.now()
	}
}

// newest returns when the latest round began of what is held for an endpoint, before
// that of one that is to be held now. Where others may have held what this replica
// does not know of, as one that serves another lane, that is now.
func (k *keeper) newest(name string, since, now time.Time) (newest time.Time) {
	k.mu.Lock()
	defer k.mu.Unlock()
	h := k.known[name]
	if h != nil {
		newest, h.newest = h.newest, later(h.newest, since)
	}
	if k.w.laned.Load() || h != nil && newest.IsZero() {
		return now
	}
	return newest
}

// touch says that an endpoint's gate changed. What is held for it may have been
// held by others.
func (k *keeper) touch(name string, closed bool) {
	k.mu.Lock()
	defer k.mu.Unlock()
	if h := k.known[name]; h != nil || closed {
		h = k.holding(name)
		h.serving.now()
		h.giving.now()
		signal(k.wake)
	}
}

// touchAll says that any endpoint may have changed.
func (k *keeper) touchAll() {
	k.mu.Lock()
	defer k.mu.Unlock()
	for _, h := range k.known {
		h.serving.now()
		h.giving.now()
	}
	signal(k.wake)
	signal(k.listNow)
}

func signal(c chan struct{}) {
	select {
	case c <- struct{}{}:
	default:
	}
}

// holding returns what is known of an endpoint. The caller holds the mutex.
func (k *keeper) holding(name string) *holding {
	h := k.known[name]
	if h == nil {
		tenant, id, _ := strings.Cut(name, "/")
		h = &holding{name: name, tenant: tenant, id: id}
		k.known[name] = h
	}
	return h
}

// run takes care until ctx ends and everything that it began is over.
func (k *keeper) run(ctx context.Context) {
	defer k.running.Wait()
	k.running.Go(func() { k.listen(ctx) })
	k.running.Go(func() { k.follow(ctx) })
	ticker := time.NewTicker(tendEvery)
	defer ticker.Stop()
	sweep := time.NewTicker(time.Minute)
	defer sweep.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-ticker.C:
		case <-k.wake:
		case <-sweep.C:
			for _, l := range k.w.lanes.list() {
				l.gates.Sweep()
				l.tenants.sweep()
			}
		}
		// With very many endpoints held, a look at all of them costs; it may take a
		// tenth of the time.
		began := time.Now()
		k.tend(ctx)
		if took := time.Since(began); took > time.Millisecond {
			pause(ctx, 9*took)
		}
	}
}

// follow looks at everything anew when endpoints or replicas change.
func (k *keeper) follow(ctx context.Context) {
	ticker := time.NewTicker(time.Second)
	defer ticker.Stop()
	changed := k.w.endpoints.Changed()
	for live := k.live(); ; {
		select {
		case <-ctx.Done():
			return
		case <-changed:
			changed = k.w.endpoints.Changed() // before the look, so that no change falls between
			k.touchAll()
		case <-ticker.C:
			if now := k.live(); !slices.Equal(now, live) {
				live = now
				k.touchAll()
			}
		}
	}
}

// live returns which replicas are alive.
func (k *keeper) live() []string {
	var ids []string
	for _, member := range k.w.replicas.Live() {
		ids = append(ids, member.ID)
	}
	return slices.Sorted(slices.Values(ids))
}

// listen lists what is held, now and then.
func (k *keeper) listen(ctx context.Context) {
	for {
		every, soonest := listAgain(k.list(ctx))
		pause, least := time.NewTimer(every), time.NewTimer(soonest)
		select {
		case <-ctx.Done():
		case <-pause.C:
		case <-k.listNow:
			select {
			case <-ctx.Done():
			case <-least.C:
			}
		}
		pause.Stop()
		least.Stop()
		if ctx.Err() != nil {
			return
		}
	}
}

// listAgain returns how long after a listing the next one comes, and how soon at the
// earliest where there is a reason for it.
func listAgain(took time.Duration, err error) (every, soonest time.Duration) {
	cost := listShare * took
	if err != nil {
		cost = min(cost, listLost)
	}
	return max(listEvery, cost), max(tendEvery, cost)
}

// list returns how long NATS took to say what is held.
func (k *keeper) list(ctx context.Context) (took time.Duration, err error) {
	k.w.mendGates(ctx)
	k.mu.Lock()
	for _, h := range k.known {
		h.seen.asked = true
	}
	k.mu.Unlock()
	k.forget(ctx)
	k.feeds.trim(ctx)
	began := time.Now()
	survey, err := k.w.held.Survey(ctx)
	took = time.Since(began)
	if err != nil {
		if ctx.Err() == nil {
			k.w.oddities.Warn().Err(err).Msg("could not list what is held, trying again")
		}
		return took, err
	}
	k.mu.Lock()
	defer k.mu.Unlock()
	k.w.figures.surveyed(survey)
	for name, waiting := range survey.Held {
		k.holding(name).listed(waiting)
	}
	for name, h := range k.known {
		// What was held since the listing began was not there to be listed.
		if _, held := survey.Held[name]; !held && h.seen.asked && !h.serving.busy && !h.giving.busy {
			h.leave()
			delete(k.known, name)
		}
	}
	return took, nil
}

// forget closes the gates of endpoints that are gone. One replica does.
func (k *keeper) forget(ctx context.Context) {
	w := k.w
	if !w.endpoints.InSync() {
		return
	}
	var gone []string
	w.fleet.Each(func(name string, o gate.Opened) {
		tenant, id, _ := strings.Cut(name, "/")
		if !isLeased(o) && w.endpoints.Get(tenant, id) == nil && w.rank(name) == 0 {
			gone = append(gone, name)
		}
	})
	for _, name := range gone {
		exists, err := w.documents.Exists(ctx, name)
		if err == nil && !exists {
			err = w.fleet.Close(ctx, name)
		}
		if err != nil && ctx.Err() == nil {
			w.oddities.Warn().Err(err).Str("endpoint", name).Msg("could not close the gate of an endpoint that is gone, trying again")
		}
	}
}

// listed takes note of what is held for an endpoint.
func (h *holding) listed(waiting hold.Waiting) {
	if waiting.Late != h.seen.Late || waiting.Probe != h.seen.Probe || (waiting.New > 0) != (h.seen.New > 0) {
		h.giving.now()
	}
	if h.serving.idle {
		h.serving.now() // another replica held it, and may not live to feed it back
	}
	h.seen = sighting{Waiting: waiting}
}

// tend begins what is to be done now, unless the endpoints may be out of date.
func (k *keeper) tend(ctx context.Context) {
	if !k.w.endpoints.InSync() {
		return
	}
	now := time.Now()
	k.mu.Lock()
	defer k.mu.Unlock()
	var feeds, probes, giving int
	feedsOf := map[string]int{} // each tenant
	for _, h := range k.known {
		switch {
		case h.serving.busy && h.probing:
			probes++
		case h.serving.busy:
			feeds++
			feedsOf[h.tenant]++
		}
		if h.giving.busy {
			giving++
		}
	}
	var hungry []*holding
	for _, h := range k.known {
		if giving < mostGiving && h.giving.due(now) {
			giving++
			k.begin(ctx, h, &h.giving, k.giveUp)
		}
		if !h.serving.due(now) {
			continue
		}
		switch k.service(h, now) {
		case toProbe:
			if probes < mostProbes {
				probes++
				h.probing = true
				k.begin(ctx, h, &h.serving, k.probe)
			}
		case toFeed:
			hungry = append(hungry, h)
		}
	}
	k.feedThem(ctx, hungry, feeds, feedsOf, now)
}

// feedThem begins to feed those that were not fed for longest, as far as there
// are places. feeds are under way, so many of each tenant. The caller holds the
// mutex.
func (k *keeper) feedThem(ctx context.Context, hungry []*holding, feeds int, feedsOf map[string]int, now time.Time) {
	most, contended := min(mostFeeds, k.feeds.most()), k.feeds.scarce(now)
	slices.SortFunc(hungry, func(a, b *holding) int { return a.fed.Compare(b.fed) })
	for _, h := range hungry {
		of := feedsOf[h.tenant]
		switch {
		case k.feeds.rests(h.tenant, h.id, now), k.w.tenantRate > 0 && of >= tenantFeeds:
			h.serving.next = now.Add(inPlace)
		case feeds >= most || of >= largest(most):
			contended = true
		default:
			feeds++
			feedsOf[h.tenant]++
			h.probing, h.fed = false, now
			k.begin(ctx, h, &h.serving, k.feed)
		}
	}
	k.contended.Store(contended)
}

func (c *chore) due(now time.Time) bool { return !c.busy && !now.Before(c.next) }

// begin does a chore, which returns when it is to be done next. The caller
// holds the mutex.
func (k *keeper) begin(ctx context.Context, h *holding, c *chore, do func(context.Context, *holding) time.Time) {
	c.busy, c.idle, c.again = true, false, false
	k.running.Go(func() {
		next := do(ctx, h)
		k.mu.Lock()
		defer k.mu.Unlock()
		c.busy = false
		if !c.again {
			c.next = next
		}
		signal(k.wake)
	})
}

// look says that a chore looks now whether there is anything to do. What is held
// from here on is a reason to do it again, unless it finds something.
func (k *keeper) look(c *chore, found bool) {
	k.mu.Lock()
	defer k.mu.Unlock()
	c.idle = !found
}

// whenever is when to do next what waits for a reason.
func whenever() time.Time { return time.Now().Add(never) }

// service is what can be done for an endpoint.
type service int

const (
	toWait service = iota
	toProbe
	toFeed
)

// service returns what can be done for an endpoint now. The caller holds the
// mutex.
func (k *keeper) service(h *holding, now time.Time) service {
	ep := k.w.endpoints.Get(h.tenant, h.id)
	h.serving.next = whenever()
	if ep == nil {
		return toWait
	}
	if _, unavailable := ep.Unavailable(); unavailable {
		return toWait
	}
	if k.w.lane(k.w.laneFor(ep, streams.DefaultLane)) == nil {
		h.serving.next = now.Add(time.Second)
		return toWait // not served by this replica, or not yet
	}
	if o, open := k.w.fleet.Get(h.name); open {
		// The one that ranks first goes first, so that the others need not ask.
		due := o.Due(ep.Revision).Add(time.Duration(k.w.rank(h.name)) * tendEvery)
		h.serving.next = due
		if now.Before(due) {
			return toWait
		}
		return toProbe
	}
	h.serving.next = now
	if k.w.gateOf(ep).IsOpen() { // the others are being told
		h.serving.next = now.Add(tendEvery)
		return toWait
	}
	if now.Before(h.ticket.due) {
		h.serving.next = h.ticket.due
		return toWait
	}
	if k.w.isAnothers(ep) {
		h.serving.next = now.Add(time.Second)
		return toWait
	}
	if rank := k.w.rank(h.name); rank > 0 && !h.joining {
		h.joining = true
		h.serving.next = now.Add(time.Duration(rank) * rankDelay)
		return toWait
	}
	h.joining = false
	return toFeed
}

// endpointOf returns the endpoint that a holding is for, nil when it is gone.
func (k *keeper) endpointOf(h *holding) *endpoint.Endpoint {
	return k.w.endpoints.Get(h.tenant, h.id)
}
