package gate

import (
	"context"
	"sync"
	"time"

	"golang.org/x/time/rate"
)

const (
	// idleTime is how long a gate is kept that is not used, and failingTime
	// one whose endpoint failed last.
	idleTime    = time.Minute
	failingTime = 6 * time.Hour
)

// Gate decides whether a delivery to its endpoint may go now. It is safe for
// use by many goroutines; Set.Of makes one.
type Gate struct {
	name   string // of its endpoint
	set    *Set
	tenant *tenant
	hungry bool // is in the slots' list; their mutex guards it

	mu       sync.Mutex
	terms    Terms
	replicas int
	limits   Limits
	inFlight int
	// stale is how many of those in flight began before the gate closed. They
	// do not count against the new limit, and their failures are old news.
	stale int
	open  bool
	why   string

	tokens *rate.Limiter // nil: as many as want to go
	ramp   instant       // since when; 0: not on the ramp
	flow   concurrency
	health health
	tally  Tally // since it was last asked for

	queue []*waiter
	due   instant     // when the first in the queue has its tokens; 0: lacks none
	timer *time.Timer // for that
	kept  instant     // until when the next that may go is kept for Take

	used  bool // since idle looked
	since instant
}

func newGate(s *Set, name string, t *tenant, terms Terms) *Gate {
	g := &Gate{name: name, set: s, tenant: t, terms: terms, used: true}
	g.apply(s.now(), s.replicas())
	g.flow.begin(min(startLimit, g.limits.MaxInFlight))
	return g
}

// Enter asks leave for one delivery. Go must be followed by Done. When others
// are in the way that can be expected to end within 20 ms, it waits for that,
// 100 ms at most; it never waits for the rate or for an endpoint that
// is slow.
func (g *Gate) Enter(ctx context.Context) Leave {
	g.mu.Lock()
	at := g.refresh(g.set.now())
	leave, w := g.enter(at)
	g.mu.Unlock()
	if w == nil {
		return leave
	}
	timer := time.NewTimer(longest)
	defer timer.Stop()
	switch n := g.await(ctx, w, timer.C); {
	case n > 0:
		return Go
	case n == opened:
		return Open
	}
	return NotNow
}

// enter answers at once or returns the place in the queue.
func (g *Gate) enter(at instant) (Leave, *waiter) {
	if g.open {
		return Open, nil
	}
	if len(g.queue) == 0 {
		if at < g.kept && (g.room() < 2 || g.available(at, 2) == 0) {
			return NotNow, nil
		}
		switch n, lack := g.admit(at, 1, false); {
		case n > 0:
			return Go, nil
		case lack == lackTokens:
			return NotNow, nil
		}
	}
	if g.due != 0 || !g.flow.worthwhile(at, len(g.queue)) || g.available(at, 1) == 0 {
		return NotNow, nil
	}
	return NotNow, g.enqueue(1, false)
}

// Done ends an attempt. It reports whether the gate has to open now, which it
// has done itself by then: that is said once for each opening.
func (g *Gate) Done(v Vital) (opens bool) {
	g.mu.Lock()
	at := g.set.now()
	g.used = true
	g.inFlight--
	g.flow.ended(at)
	g.count(v.Ended)
	if g.stale > 0 && v.Failed() {
		g.stale--
		v = Vital{}
	}
	g.stale = min(g.stale, g.inFlight)
	if !g.open {
		if why := g.health.judge(v, at, g.ramp != 0); why != "" {
			g.shut(why)
			opens = true
		}
		g.flow.learn(v.Fault, at, g.limits.MaxInFlight, g.inFlight)
	}
	g.leave(at, 1)
	return opens
}

// leave gives slots back and lets in who waits for them. It unlocks the mutex.
func (g *Gate) leave(at instant, n int) {
	hungry, waiting := g.set.slots.release(g.tenant, n), len(g.queue) > 0
	if !hungry || !waiting {
		g.serve(at)
	}
	g.mu.Unlock()
	if hungry {
		// Those that found no slot were first.
		g.set.slots.feed(n)
		if waiting {
			g.wake()
		}
	}
}

// SetOpen makes the gate what the fleet says it is. Opening stops everything
// at once; closing starts slowly, as if nothing had been known of the endpoint.
func (g *Gate) SetOpen(open bool) {
	g.mu.Lock()
	defer g.mu.Unlock()
	switch {
	case open && !g.open:
		g.shut("")
	case !open && g.open:
		at := g.set.now()
		g.open, g.used = false, true
		g.stale = g.inFlight
		g.health = health{}
		g.flow.begin(1)
		g.ramp = at
		g.tune(at)
		g.set.ramped.add(g)
	}
}

// shut opens the gate: whoever waits is told so.
func (g *Gate) shut(why string) {
	g.open, g.why, g.ramp = true, why, 0
	for _, w := range g.queue {
		w.answer <- opened
	}
	g.queue, g.due = nil, 0
	g.schedule(0)
}

// IsOpen reports whether the gate is open: nothing may go.
func (g *Gate) IsOpen() bool {
	g.mu.Lock()
	defer g.mu.Unlock()
	return g.open
}

// Why says in words why the gate last opened, and nothing if others opened it.
func (g *Gate) Why() string {
	g.mu.Lock()
	defer g.mu.Unlock()
	return g.why
}

// update puts new terms in force.
func (g *Gate) update(terms Terms) {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.used = true
	if replicas := g.set.replicas(); terms != g.terms || replicas != g.replicas {
		g.terms = terms
		at := g.set.now()
		g.apply(at, replicas)
		g.serve(at)
	}
}

// refresh lets the gate follow the clock and the number of replicas.
func (g *Gate) refresh(at instant) instant {
	g.used = true
	if replicas := g.set.replicas(); replicas != g.replicas {
		g.apply(at, replicas)
	} else if g.ramp != 0 {
		g.tune(at)
	}
	return at
}

func (g *Gate) apply(at instant, replicas int) {
	g.replicas = replicas
	g.limits = Share(g.terms.PerSecond, g.terms.Burst, g.terms.MaxInFlight, replicas)
	g.flow.limit = min(g.flow.limit, float64(g.limits.MaxInFlight))
	g.tune(at)
}

// idle reports whether the gate has nothing to remember.
func (g *Gate) idle(now instant) bool {
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.used {
		g.used, g.since = false, now
	}
	kept := idleTime
	if g.health.streak > 0 {
		kept = failingTime
	}
	if g.ramp != 0 {
		g.tune(now)
	}
	return g.inFlight == 0 && len(g.queue) == 0 && !g.open && now-g.since >= kept && g.rested(now)
}
