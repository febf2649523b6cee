package worker

import (
	"testing"
	"time"

	"jethook/pkg/delivery"
	"jethook/pkg/endpoint"
	"jethook/streams"
)

// What a replica looks at before it gives something up says that nobody is at it, and
// NATS may have counted its ack and not removed it yet: that it is given up once it has
// had time to keeps what was delivered from being a dead letter as well.
func TestWhatIsBeingRemovedIsNotGivenUp(t *testing.T) {
	t.Parallel()
	w := newWorld(t, setting{})
	w.endpoint("crm", paused, func(d *endpoint.Document) { d.ExpireAfter = 1 })
	w.heldLong(4, time.Hour) // two as new, two as late
	k := New(w.options()).keeper
	h := k.holding("acme/crm")
	k.giveUp(w.ctx, h)
	if n := w.state(w.names.DeadLetters()).Msgs; n != 0 {
		t.Errorf("%d are given up at the first look", n)
	}
	s, err := w.js.Stream(w.ctx, w.names.Deliveries())
	w.must(err)
	for _, seq := range []uint64{1, 2} {
		w.must(s.DeleteMsg(w.ctx, seq))
	}
	w.until("the others are given up", func() bool {
		k.giveUp(w.ctx, h)
		return w.holds("crm") == 0
	})
	for _, l := range w.dead(2) {
		if l.EventID != "long_c" && l.EventID != "long_d" {
			t.Errorf("%s is dead, although it was delivered", l.EventID)
		}
	}
}

// The moment from which nobody was at anything says nothing of what was in hand then,
// nor of what was over later.
func TestWhatMayHaveBeenAttemptedSinceIsNotGivenUp(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct{ before, after func(w *world, k *keeper) }{
		"in hand": {func(w *world, k *keeper) {
			w.heldLong(4, time.Hour)
			k.w.unlogged.add(3) // behind one of each kind
			k.w.unlogged.add(4)
		}, func(_ *world, k *keeper) {
			k.w.unlogged.remove(3) // delivered, and not removed yet
			k.w.unlogged.remove(4)
		}},
		"over later": {func(w *world, _ *keeper) {
			w.heldLong(2, time.Hour)
		}, func(w *world, _ *keeper) {
			w.lies(streams.HeldNew, given("crm", "c", delivery.State{}))
			w.lies(streams.HeldLate, given("crm", "d", delivery.State{}))
		}},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			w := newWorld(t, setting{})
			w.endpoint("crm", paused, func(d *endpoint.Document) { d.ExpireAfter = 1 })
			k := New(w.options()).keeper
			h := k.holding("acme/crm")
			c.before(w, k)
			k.giveUp(w.ctx, h)
			c.after(w, k)
			// Not before, lest the moment be used up by the second kind alone.
			w.until("it can be given up", func() bool { return time.Since(h.quiet.at) >= removalTime })
			k.giveUp(w.ctx, h)
			for _, l := range w.dead(2) {
				if l.EventID != "long_a" && l.EventID != "long_b" {
					t.Errorf("%s is dead", l.EventID)
				}
			}
		})
	}
}
