package worker

import (
	"context"
	"fmt"
	"testing"
	"time"

	"jethook/pkg/delivery"
	"jethook/pkg/endpoint"
	"jethook/pkg/hold"
)

// madeNow makes a document that of an endpoint that is made now.
func madeNow(d *endpoint.Document) { d.MadeAt = time.Now() }

// anew removes an endpoint and makes another of its name, faster than any replica
// could see that there was none.
func (w *world) anew(change ...func(*endpoint.Document)) {
	w.Helper()
	w.endpoint("crm", append(change, madeNow)...)
}

// What waits for an endpoint that is removed never goes to the one that takes its
// name, however it waits and whatever the other is.
func TestMadeAnewGetsNothingOfTheRemoved(t *testing.T) {
	t.Parallel()
	const n = 300
	orderedFrom := func(seq uint64) func(*endpoint.Document) {
		return func(d *endpoint.Document) { d.Ordered, d.OrderedFrom, d.EventsFrom = true, seq, seq }
	}
	for name, c := range map[string]struct{ before, after []func(*endpoint.Document) }{
		"held, then available":      {[]func(*endpoint.Document){whilePaused}, nil},
		"held, then paused":         {[]func(*endpoint.Document){whilePaused}, []func(*endpoint.Document){whilePaused}},
		"held, then in order":       {[]func(*endpoint.Document){whilePaused}, []func(*endpoint.Document){orderedFrom(n + 1)}},
		"in order, then in order":   {[]func(*endpoint.Document){orderedFrom(1), whilePaused}, []func(*endpoint.Document){orderedFrom(n + 1)}},
		"in order, then not":        {[]func(*endpoint.Document){orderedFrom(1), whilePaused}, nil},
		"in order, then held again": {[]func(*endpoint.Document){orderedFrom(1), whilePaused}, []func(*endpoint.Document){whilePaused}},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			w := newWorld(t, setting{})
			w.endpoint("crm", append(c.before, madeNow)...)
			r := w.run(8, time.Second)
			w.publishMany("order.created", "evt_", n)
			w.until("all wait", func() bool {
				f := w.fanout()
				return f.AckFloor.Stream == n && (len(r.ordered.inHand()) == 1 || w.state(w.names.Deliveries()).Msgs == n)
			})
			w.anew(c.after...)
			for _, l := range w.dead(n) {
				if l.Reason != delivery.EndpointDeleted || l.URL != "" {
					t.Fatalf("%s, for %q, is dead of %s", l.EventID, l.URL, l.Reason)
				}
			}
			w.quiet()
			w.publish("order.created", "evt_new", "body")
			w.endpoint("crm", func(d *endpoint.Document) {
				for _, f := range c.after {
					f(d)
				}
				d.MadeAt, d.Paused = w.endpoints.Get("acme", "crm").MadeAt, false
			})
			w.expect("evt_new", 1)
			w.quiet()
		})
	}
}

// What had been attempted before it was held, for an endpoint that was removed, keeps
// the gate of its successor from no probe.
func TestMadeAnewIsProbedBehindWhatIsLate(t *testing.T) {
	t.Parallel()
	w := newWorld(t, setting{})
	w.endpoint("crm", every(3*time.Second, 500), madeNow)
	removed := w.endpoints.Get("acme", "crm").MadeAt
	w.answer(func(_ context.Context, c call) delivery.Result {
		if c.made.Equal(removed) {
			return delivery.Result{Status: 500} // also to a probe that is under way when it is made anew
		}
		return delivery.Result{Status: 200}
	})
	r := w.run(8, time.Second)
	const n = 20
	w.publishMany("order.created", "evt_", n)
	store := hold.NewStore(w.js, w.names)
	w.until("some are late", func() bool {
		h, err := store.Of(w.ctx, "acme", "crm")
		return err == nil && h.Late > 1
	})
	w.anew(every(3*time.Second, 500))
	w.publish("order.created", "evt_new", "body")
	for _, l := range w.dead(n) {
		if l.Reason != delivery.EndpointDeleted {
			t.Errorf("%s is dead of %s", l.EventID, l.Reason)
		}
	}
	w.settled()
	w.until("the gate is closed", func() bool { _, open := r.fleet.Get("acme/crm"); return !open })
}

// A bucket of endpoints that was deleted and filled anew knows of no removals before:
// what waits is for the endpoints that are in it now.
func TestABucketMadeAnewRemovesNothing(t *testing.T) {
	t.Parallel()
	const n = 20
	for name, ordered := range map[string]bool{"held": false, "in order": true} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			w := newWorld(t, setting{})
			inOrder := func(d *endpoint.Document) {
				if d.Ordered = ordered; ordered {
					d.OrderedFrom, d.EventsFrom = 1, 1
				}
			}
			w.endpoint("crm", inOrder, whilePaused, madeNow)
			r := w.run(8, time.Second)
			w.publishMany("order.created", "evt_", n)
			w.until("all wait", func() bool {
				return w.fanout().AckFloor.Stream == n && (len(r.ordered.inHand()) == 1 || w.state(w.names.Deliveries()).Msgs == n)
			})
			w.endpoints.bucketMade.Store(new(time.Now()))
			w.anew()
			got := make(map[string]bool)
			for range n {
				got[w.next().event] = true
			}
			if len(got) != n {
				t.Errorf("%d of %d events were delivered", len(got), n)
			}
			w.settled()
		})
	}
}

// What was made for an endpoint of which only an older copy of the bucket does not
// know goes to the one in that copy, when none can be on its way any more.
func TestStoredDeliveryOfAnEndpointThatAnOlderCopyHas(t *testing.T) {
	t.Parallel()
	w := newWorld(t, setting{})
	w.endpoint("crm", func(d *endpoint.Document) { d.MadeAt = time.Now().Add(-time.Hour) })
	w.put(given("crm", "evt_1", delivery.State{EndpointMade: time.Now().Add(-2 * heardOf)}))
	w.run(1, time.Second)
	w.expect("evt_1", 1)
	w.settled()
}

// A replay of what died with an endpoint goes to the one that was made since, and so
// does an event that is read after that was made.
func TestMadeAnewGetsWhatIsMeantForIt(t *testing.T) {
	t.Parallel()
	w := newWorld(t, setting{})
	w.publish("order.created", "evt_read_late", "body")
	w.endpoint("crm", madeNow)
	w.put(given("crm", "evt_replay", delivery.State{Replay: true}))
	w.run(1, time.Second)
	got := map[string]bool{w.next().event: true, w.next().event: true}
	if !got["evt_read_late"] || !got["evt_replay"] {
		t.Errorf("got %v", got)
	}
	w.settled()
}

// What comes back from a wait finds out that its endpoint is another now, and what is
// for one that this replica has not heard of waits for that.
func TestStoredDeliveryOfAnotherEndpoint(t *testing.T) {
	t.Parallel()
	w := newWorld(t, setting{})
	now := time.Now()
	w.endpoint("crm", func(d *endpoint.Document) { d.MadeAt = now })
	for i, madeAt := range []time.Time{now.Add(-time.Hour), now, now.Add(time.Hour), {}} {
		w.put(given("crm", fmt.Sprint("evt_", i), delivery.State{EndpointMade: madeAt}))
	}
	w.run(1, time.Second)
	got := map[string]bool{w.next().event: true, w.next().event: true}
	if !got["evt_1"] || !got["evt_3"] {
		t.Errorf("got %v", got)
	}
	if l := w.dead(1)[0]; l.EventID != "evt_0" || l.Reason != delivery.EndpointDeleted {
		t.Errorf("%s is dead of %s", l.EventID, l.Reason)
	}
	w.until("the one that is not heard of waits", func() bool { return w.state(w.names.Deliveries()).Msgs == 1 })
	w.quiet()
	w.endpoint("crm", func(d *endpoint.Document) { d.MadeAt = now.Add(time.Hour) })
	w.expect("evt_2", 1)
	w.settled()
}

// An attempt that is under way when its endpoint is removed leaves no retry behind.
func TestRemovedDuringAnAttempt(t *testing.T) {
	t.Parallel()
	for name, change := range map[string]func(*world){
		"removed":         func(w *world) { w.remove("crm") },
		"removed, anew":   func(w *world) { w.anew() },
		"anew and paused": func(w *world) { w.anew(whilePaused) },
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			w := newWorld(t, setting{})
			w.endpoint("crm", every(time.Hour, 5), madeNow)
			answered := make(chan struct{})
			w.answer(func(ctx context.Context, _ call) delivery.Result {
				over(ctx, answered)
				return delivery.Result{Status: 408}
			})
			w.run(4, time.Second)
			w.publish("order.created", "evt_1", "body")
			w.next()
			change(w)
			close(answered)
			if l := w.dead(1)[0]; l.Reason != delivery.EndpointDeleted || l.URL != "https://example.com/crm" || len(l.History) != 1 {
				t.Errorf("for %q, dead of %s, with a history of %d", l.URL, l.Reason, len(l.History))
			}
			w.settled()
			w.quiet()
		})
	}
}
