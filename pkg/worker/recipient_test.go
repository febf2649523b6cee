package worker

import (
	"context"
	"fmt"
	"testing"
	"time"

	"jethook/pkg/delivery"
	"jethook/pkg/endpoint"
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
			w.answer(func(context.Context, call) delivery.Result {
				<-answered
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
