package worker

import (
	"testing"
	"time"

	"jethook/pkg/endpoint"
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

// What was in hand in the moment from which nobody was at anything is not judged by it.
func TestWhatWasInHandIsNotGivenUp(t *testing.T) {
	t.Parallel()
	w := newWorld(t, setting{})
	w.endpoint("crm", paused, func(d *endpoint.Document) { d.ExpireAfter = 1 })
	w.heldLong(4, time.Hour)
	k := New(w.options()).keeper
	h := k.holding("acme/crm")
	for _, seq := range []uint64{3, 4} { // behind one of each kind
		k.w.unlogged.add(seq)
	}
	k.giveUp(w.ctx, h)
	k.w.unlogged.remove(3) // delivered, and not removed yet
	k.w.unlogged.remove(4)
	w.until("what was over is given up", func() bool {
		k.giveUp(w.ctx, h)
		return w.holds("crm") <= 2
	})
	for _, l := range w.dead(2) {
		if l.EventID != "long_a" && l.EventID != "long_b" {
			t.Errorf("%s is dead, although it was in hand a moment ago", l.EventID)
		}
	}
}
