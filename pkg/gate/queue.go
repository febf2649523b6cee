package gate

import (
	"context"
	"slices"
	"time"
)

// waiter waits in a gate's queue.
type waiter struct {
	want   int
	take   bool     // for the feed: has time, also for the rate
	answer chan int // of capacity 1: how many may go, or opened
}

// opened is the answer to those who wait while the gate opens.
const opened = -1

// lack is what keeps a delivery from going.
type lack int

const (
	lackNothing lack = iota
	lackRoom
	lackTokens
)

// Take is for the feed. It waits until at least one of n deliveries may go and
// returns how many may: each must be followed by Done or given back by Untake,
// even if ctx has ended since. It returns 0 when the gate is or becomes open, or
// ctx ends first. Whoever waits here for the rate goes before fresh deliveries;
// for the rest, all who wait are served in turn.
func (g *Gate) Take(ctx context.Context, n int) int {
	if n < 1 || ctx.Err() != nil {
		return 0
	}
	g.mu.Lock()
	at := g.refresh(g.set.now())
	if g.open {
		g.mu.Unlock()
		return 0
	}
	w := g.enqueue(n, true)
	g.serve(at)
	g.mu.Unlock()
	return max(0, g.await(ctx, w, nil))
}

// Untake gives back leave for n deliveries that did not go, as if it had not
// been taken.
func (g *Gate) Untake(n int) {
	g.mu.Lock()
	at := g.set.now()
	g.used = true
	g.inFlight -= n
	g.stale = min(g.stale, g.inFlight)
	g.refund(at, n)
	g.leave(at, n)
}

// Keep keeps what may go next for a Take that is to come, for some time: fresh
// deliveries go only beside it. It is for a feed that waits elsewhere.
func (g *Gate) Keep(d time.Duration) {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.kept = g.refresh(g.set.now()) + d
}

// Wait returns for how long the rate lets nothing go. Nobody should be waiting in
// Take.
func (g *Gate) Wait() time.Duration {
	g.mu.Lock()
	defer g.mu.Unlock()
	at := g.refresh(g.set.now())
	if g.available(at, 1) > 0 {
		return 0
	}
	return g.when(at, 1) - at
}

// Room reports whether one more attempt may be under way.
func (g *Gate) Room() bool {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.refresh(g.set.now())
	return g.room() > 0
}

func (g *Gate) enqueue(want int, take bool) *waiter {
	w := &waiter{want: want, take: take, answer: make(chan int, 1)}
	g.queue = append(g.queue, w)
	return w
}

// await returns the answer, or 0 when ctx or the patience ends first.
func (g *Gate) await(ctx context.Context, w *waiter, patience <-chan time.Time) int {
	select {
	case n := <-w.answer:
		return n
	case <-ctx.Done():
	case <-patience:
	}
	g.mu.Lock()
	defer g.mu.Unlock()
	i := slices.Index(g.queue, w)
	if i < 0 {
		return <-w.answer // just before
	}
	g.queue = slices.Delete(g.queue, i, i+1)
	if i == 0 {
		g.serve(g.set.now())
	}
	return 0
}

// admit lets up to want deliveries go. The caller holds the mutex.
func (g *Gate) admit(at instant, want int, waits bool) (int, lack) {
	n := min(want, g.room())
	if n < 1 {
		g.flow.refused(at, true)
		return 0, lackRoom
	}
	n = min(n, g.available(at, g.batch(n)))
	if n == 0 {
		return 0, lackTokens
	}
	n = g.set.slots.grab(g, n, waits)
	if n == 0 {
		g.flow.refused(at, false)
		return 0, lackRoom
	}
	g.spend(at, n)
	g.inFlight += n
	if g.room() < 1 {
		g.flow.refused(at, true)
	}
	return n, lackNothing
}

// room returns how many more the limits let go.
func (g *Gate) room() int {
	return min(int(g.flow.limit)-(g.inFlight-g.stale), g.limits.MaxInFlight-g.inFlight)
}

// serve answers those who wait, the first first, as far as there is an answer.
// The caller holds the mutex.
func (g *Gate) serve(at instant) {
	g.due = 0
	for len(g.queue) > 0 {
		w := g.queue[0]
		n, lack := g.admit(at, w.want, true)
		if lack == lackTokens && w.take {
			g.due = g.when(at, g.batch(min(w.want, g.room())))
			break
		}
		if lack == lackRoom {
			break
		}
		g.queue = slices.Delete(g.queue, 0, 1)
		w.answer <- n
	}
	if len(g.queue) == 0 && g.room() > 0 {
		g.flow.full = 0
	}
	g.schedule(at)
}

// schedule has the first in the queue served when its tokens are due.
func (g *Gate) schedule(at instant) {
	switch {
	case g.due == 0 && g.timer == nil:
	case g.due == 0:
		g.timer.Stop()
	default:
		wait := g.due - at
		if g.ramp != 0 {
			wait = min(wait, rampStep)
		}
		if g.timer == nil {
			g.timer = time.AfterFunc(wait, func() { g.wake() })
			return
		}
		g.timer.Reset(wait)
	}
}

// wake serves those who wait and reports whether some went. It acts as of the
// time at which tokens were due, so that a timer that is late loses none.
func (g *Gate) wake() bool {
	g.mu.Lock()
	defer g.mu.Unlock()
	at := g.set.now()
	if g.due != 0 {
		at = min(at, g.due)
	}
	g.refresh(at)
	before := g.inFlight
	g.serve(at)
	return g.inFlight > before
}
