package worker

import (
	"context"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"jethook/pkg/delivery"
	"jethook/pkg/endpoint"
	"jethook/pkg/gate"
	"jethook/pkg/retry"
	"jethook/streams"
)

// While an endpoint is paused its next event stays in hand, for longer than
// AckWait; what waits too long becomes a dead letter, event by event.
func TestOrderedWaitsWhilePaused(t *testing.T) {
	t.Parallel()
	w := newWorld(t, setting{})
	w.endpoint("crm", inOrderOf, whilePaused)
	const ackWait = 4 * time.Second
	r := w.run(4, time.Second, orderedAckWait(ackWait))
	w.publishMany("order.created", "evt_", 3)
	w.inHand(r)
	another, err := w.js.Consumer(w.ctx, w.names.Events(), streams.OrderedOf("acme", "crm"))
	w.must(err)
	w.until("one event stays in hand for longer than AckWait", func() bool {
		before := r.ordered.inHand()
		m, err := another.Next(jetstream.FetchMaxWait(ackWait + ackWait/4))
		if err == nil { // rightly so once, where this replica was stalled for that long
			w.must(m.Nak())
			return false
		}
		return len(before) == 1 && slices.Equal(before, r.ordered.inHand())
	})
	w.quiet()
	w.endpoint("crm", inOrderOf)
	for i := range 3 {
		w.expect(fmt.Sprintf("evt_%d", i), 1)
	}
	w.drained()
	w.quiet()
}

// What may be another replica's is not taken for this one's again, though it is in hand
// still: after a stall that is longer than AckWait, this comes before it is given up.
func TestOrderedKeepsNothingThatIsAnothers(t *testing.T) {
	t.Parallel()
	w := newWorld(t, setting{})
	w.endpoint("crm", inOrderOf, whilePaused)
	const ackWait = time.Hour
	r := w.run(4, time.Second, orderedAckWait(ackWait))
	w.publish("order.created", "evt_0", "{}")
	w.inHand(r)
	m := r.ordered.inHand()[0]
	since := time.Now().Add(-ackWait / 2)
	m.progress.Store(since.UnixNano())
	if r.ordered.keep(); m.progress.Load() == since.UnixNano() {
		t.Error("what is its own is not kept")
	}
	m.progress.Store(time.Now().Add(-ackWait).UnixNano())
	if r.ordered.keep(); r.ordered.certain(m) {
		t.Error("what may be another's is kept")
	}
}

// A replica that NATS does not hear of gives up what it has in hand before
// another gets it: it would attempt it behind those that follow.
func TestOrderedGivesUpWhatIsAnothers(t *testing.T) {
	t.Parallel()
	w := newWorld(t, setting{})
	w.endpoint("crm", inOrderOf, whilePaused)
	nc, js := w.connect(w.server.ClientURL())
	deaf := w.runOn(js, 4, time.Millisecond, orderedAckWait(time.Second))
	w.publishMany("order.created", "evt_", 3)
	w.inHand(deaf)
	nc.Close()
	other := w.run(4, time.Second, orderedAckWait(time.Second)) // they know nothing of each other
	w.inHand(other)
	w.endpoint("crm", inOrderOf)
	for i := range 3 {
		w.expect(fmt.Sprintf("evt_%d", i), 1)
	}
	w.drained()
	deaf.stop()
	w.quiet()
}

func TestOrderedExpires(t *testing.T) {
	t.Parallel()
	for name, unavailable := range map[string]func(*endpoint.Document){"paused": whilePaused, "disabled": whileDisabled} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			w := newWorld(t, setting{})
			after := func(d *endpoint.Document) { d.ExpireAfter = endpoint.Duration(500 * time.Millisecond) }
			w.endpoint("crm", inOrderOf, unavailable, after)
			w.run(4, time.Second)
			w.publish("order.created", "evt_1", "{}")
			last := w.publish("order.created", "evt_2", "{}")
			for i, l := range w.dead(2) {
				if l.Reason != delivery.Expired || l.EventID != fmt.Sprintf("evt_%d", i+1) {
					t.Errorf("dead letter of %s, %s", l.EventID, l.Reason)
				}
			}
			if since := time.Since(w.storedAt(last)); since < 500*time.Millisecond {
				t.Errorf("expired after %s", since)
			}
			w.drained()
			w.endpoint("crm", inOrderOf)
			w.publish("order.created", "evt_3", "{}")
			w.expect("evt_3", 1)
			w.quiet()
		})
	}
}

// The rate limit holds, and while an event waits for it nothing else goes.
func TestOrderedKeepsTheRate(t *testing.T) {
	t.Parallel()
	w := newWorld(t, setting{})
	w.endpoint("crm", inOrderOf, func(d *endpoint.Document) { d.RateLimit = &endpoint.RateLimit{PerSecond: 40, Burst: 1} })
	w.run(4, time.Second)
	w.publishMany("order.created", "evt_", 10)
	first := w.expect("evt_0", 1).at
	var last time.Time
	for i := range 9 {
		last = w.expect(fmt.Sprintf("evt_%d", i+1), 1).at
	}
	if took := last.Sub(first); took < 9*22*time.Millisecond || took > 5*time.Second {
		t.Errorf("10 events at 40/s took %s", took)
	}
	w.drained()
}

// The rate limit is that of all replicas together for what an ordered endpoint gets
// out of order, too.
func TestOrderedSharesTheRateWithReplays(t *testing.T) {
	t.Parallel()
	w := newWorld(t, setting{})
	w.endpoint("crm", inOrderOf, func(d *endpoint.Document) { d.RateLimit = &endpoint.RateLimit{PerSecond: 10, Burst: 1} })
	c := &crew{}
	c.set("a", "b", "c")
	for _, id := range c.alive {
		w.replicas = mate{c, id}
		w.run(8, time.Second)
	}
	const replays, events = 25, 5
	for i := range replays {
		id := fmt.Sprintf("replay_%d", i)
		w.put(given("crm", id, delivery.State{Replay: true, Origin: id}))
	}
	w.publishMany("order.created", "evt_", events)
	var at []time.Time
	for range replays + events {
		at = append(at, w.next().at)
	}
	if took := at[len(at)-1].Sub(at[0]); took < 2*time.Second {
		t.Errorf("%d attempts at 10/s took %s", len(at), took)
	}
	w.settled()
}

// An open gate is probed with the first event, once at a time, and when a probe
// succeeds all go on in order. Failed probes do not count as attempts.
func TestOrderedProbesAnOpenGate(t *testing.T) {
	t.Parallel()
	w := newWorld(t, setting{})
	const ms = time.Millisecond
	w.endpoint("crm", inOrderOf, func(d *endpoint.Document) {
		d.Retry = retry.Policy{Schedule: []time.Duration{ms, ms, ms, ms, ms, time.Minute}}
	})
	var down atomic.Bool
	var at, most atomic.Int32
	down.Store(true)
	w.answer(func(ctx context.Context, _ call) delivery.Result {
		most.Store(max(most.Load(), at.Add(1)))
		defer at.Add(-1)
		pause(ctx, 10*time.Millisecond)
		if down.Load() {
			return delivery.Result{Fault: delivery.FaultConnect}
		}
		return delivery.Result{Status: 200}
	})
	c := &crew{}
	c.set("a", "b")
	w.replicas = mate{c, "a"}
	r := w.run(4, time.Second)
	w.replicas = mate{c, "b"}
	other := w.run(4, time.Second)
	w.publishMany("order.created", "evt_", 5)
	var opened time.Time
	for n := 1; !r.gateIsOpen() && n < 7; n++ {
		opened = w.expect("evt_0", n).at
		w.until("the attempt is settled", func() bool { return len(w.sender.calls) > 0 || r.gateIsOpen() })
	}
	probe := w.next()
	if probe.event != "evt_0" || probe.at.Sub(opened) < 800*time.Millisecond {
		t.Errorf("a probe with %s after %s", probe.event, probe.at.Sub(opened))
	}
	w.until("the probe is stored", func() bool { o, _ := r.fleet.Get("acme/crm"); return o.Probes == 1 })
	c.set("b", "a") // the other one probes with it next
	down.Store(false)
	second := w.next()
	if second.event != "evt_0" || second.number != probe.number || second.at.Sub(probe.at) < 800*time.Millisecond {
		t.Errorf("a probe with %s, attempt %d and before it %d, after %s", second.event, second.number, probe.number, second.at.Sub(probe.at))
	}
	if h := second.state.History; !h[len(h)-1].Probe {
		t.Errorf("the history does not know of the probe: %+v", h)
	}
	for i := range 4 {
		w.expect(fmt.Sprintf("evt_%d", i+1), 1)
	}
	w.until("the gate is closed", func() bool { return r.fleet.Len() == 0 && other.fleet.Len() == 0 })
	w.drained()
	if n := most.Load(); n != 1 {
		t.Errorf("%d attempts at a time", n)
	}
	w.quiet()
}

func (r *running) gateIsOpen() bool { return r.fleet.Len() == 1 }

// An event whose window ends while the gate is open is given up; those behind it
// have waited as long as the gate was open.
func TestOrderedGivesUpBehindAGate(t *testing.T) {
	t.Parallel()
	w := newWorld(t, setting{})
	w.endpoint("crm", inOrderOf, skips, func(d *endpoint.Document) {
		d.Retry = retry.Policy{Schedule: []time.Duration{0, 500 * time.Millisecond}}
	})
	opened := gate.Opened{Why: "test", Since: time.Now(), FailingSince: time.Now(), NextProbe: time.Now().Add(time.Hour)}
	const n = 20
	w.publishMany("order.created", "evt_", n)
	r := w.run(4, time.Second, func(worker *Worker) { w.must(worker.fleet.Open(w.ctx, "acme/crm", opened)) })
	letters := w.dead(n)
	for _, l := range letters {
		if l.Reason != delivery.EndpointDown || l.DeadAt.Sub(opened.Since) < 500*time.Millisecond {
			t.Errorf("dead letter of %s, %s, after %s", l.EventID, l.Reason, l.DeadAt.Sub(opened.Since))
		}
	}
	if took := letters[n-1].DeadAt.Sub(letters[0].DeadAt); took > n/2*500*time.Millisecond {
		t.Errorf("they waited one after the other: %s", took)
	}
	w.drained()
	w.quiet()
	r.stop()
}

// Enabled again behind a gate that has been open for longer than the window, an event
// is attempted, when the gate is to be probed, and has the whole window once more.
func TestOrderedEnabledBehindAGate(t *testing.T) {
	t.Parallel()
	w := newWorld(t, setting{})
	shortWindow := func(d *endpoint.Document) {
		d.Retry = retry.Policy{Schedule: []time.Duration{0, 100 * time.Millisecond}}
	}
	w.endpoint("crm", inOrderOf, shortWindow)
	now := time.Now()
	opened := gate.Opened{Why: "test", Since: now.Add(-time.Hour), FailingSince: now.Add(-time.Hour), NextProbe: now.Add(10 * time.Second)} // after it was disabled
	r := w.run(4, time.Second, func(worker *Worker) { w.must(worker.fleet.Open(w.ctx, "acme/crm", opened)) })
	w.publishMany("order.created", "evt_", 2)
	for i := range 2 {
		w.until("it is disabled", func() bool { return len(w.endpoints.reasons()) == i+1 })
		if why := w.endpoints.reasons()[i]; !strings.Contains(why, "evt_0 could not be delivered (endpoint_down") {
			t.Errorf("it is disabled because of %s", why)
		}
		w.endpoint("crm", inOrderOf, shortWindow, whileDisabled)
		w.inHand(r)
		enabled := time.Now()
		w.answer(status([]int{503, 200}[i]))
		w.endpoint("crm", inOrderOf, shortWindow, availableSince(enabled))
		if c := w.expect("evt_0", 1); c.state.First.Before(enabled) {
			t.Errorf("its round began at %s, and the endpoint was enabled at %s", c.state.First, enabled)
		}
	}
	w.expect("evt_1", 1)
	w.until("the gate is closed", func() bool { return r.fleet.Len() == 0 })
	w.drained()
	w.quiet()
}

// What cannot be sent at all says nothing of the endpoint: the gate is probed with
// the next one at once, or stays as it is where the event holds those behind it.
func TestOrderedProbesWithWhatCanBeSent(t *testing.T) {
	t.Parallel()
	for name, onFailure := range map[string]func(*endpoint.Document){"skip": skips, "hold": func(*endpoint.Document) {}} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			w := newWorld(t, setting{})
			w.endpoint("crm", inOrderOf, onFailure, every(time.Hour, 5))
			var probes atomic.Int32
			w.answer(func(ctx context.Context, c call) delivery.Result {
				switch {
				case c.event != "evt_2":
					return delivery.Result{Fault: delivery.FaultInvalidRequest}
				case probes.Add(1) > 1: // which fails too late to be counted
					return hang(nil)(ctx, c)
				}
				return delivery.Result{Fault: delivery.FaultConnect}
			})
			opened := gate.Opened{Why: "test", Since: time.Now(), FailingSince: time.Now(), NextProbe: time.Now()}
			r := w.run(4, time.Second, func(worker *Worker) { w.must(worker.fleet.Open(w.ctx, "acme/crm", opened)) })
			w.publishMany("order.created", "evt_", 3)
			w.expect("evt_0", 1)
			if name == "hold" {
				w.until("it is disabled", func() bool { return len(w.endpoints.reasons()) == 1 })
				w.until("the lease is given back", func() bool { o, _ := r.fleet.Get("acme/crm"); return o.Prober == "" })
				if o, open := r.fleet.Get("acme/crm"); !open || o.Probes != 0 || o.NextProbe.After(time.Now()) {
					t.Errorf("the gate is open: %v, after %d probes, the next one %s", open, o.Probes, o.NextProbe)
				}
				w.quiet()
				return
			}
			w.expect("evt_1", 1)
			w.expect("evt_2", 1)
			w.until("a probe failed", func() bool { o, _ := r.fleet.Get("acme/crm"); return o.Probes > 0 })
			if o, _ := r.fleet.Get("acme/crm"); o.Probes != 1 {
				t.Errorf("%d probes failed, want that of evt_2 alone", o.Probes)
			}
			for _, l := range w.dead(2) {
				if l.Reason != delivery.InvalidRequest {
					t.Errorf("dead letter of %s, %s", l.EventID, l.Reason)
				}
			}
		})
	}
}

// A stop lets the attempt that runs finish, hands back at once what waits, and
// begins nothing.
func TestOrderedStops(t *testing.T) {
	t.Parallel()
	w := newWorld(t, setting{})
	w.endpoint("crm", inOrderOf)
	release := make(chan struct{})
	w.answer(hang(release))
	r := w.run(4, time.Minute)
	w.publishMany("order.created", "evt_", 3)
	w.expect("evt_0", 1)
	r.cancel()
	time.AfterFunc(300*time.Millisecond, func() { close(release) })
	if cut := r.stop(); cut != 0 {
		t.Errorf("%d attempts were cut off", cut)
	}
	w.quiet()
	w.endpoint("crm", inOrderOf, whilePaused)
	r = w.run(4, time.Minute) // what only waits does not wait for the grace period
	w.inHand(r)
	r.stop()
	js, err := w.js.Consumer(w.ctx, w.names.Events(), streams.OrderedOf("acme", "crm"))
	w.must(err)
	m, err := js.Next(jetstream.FetchMaxWait(5 * time.Second)) // AckWait is ten
	w.must(err)
	if meta, err := m.Metadata(); err != nil || meta.Sequence.Stream != 2 {
		t.Errorf("got %+v, %v, want the second event", meta, err)
	}
	w.must(m.Nak())
	// What the grace period does not wait for comes again, and does not count.
	w.endpoint("crm", inOrderOf)
	w.answer(hang(nil))
	r = w.run(4, 100*time.Millisecond)
	w.expect("evt_1", 1)
	if cut := r.stop(); cut != 1 {
		t.Errorf("%d attempts were cut off, want 1", cut)
	}
	w.answer(status(200))
	w.run(4, time.Second)
	w.expect("evt_1", 1)
	w.expect("evt_2", 1)
	w.drained()
	w.quiet()
}

// An event that kills its workers becomes a dead letter. One that only waited
// while they came and went does not.
func TestOrderedPoison(t *testing.T) {
	t.Parallel()
	w := newWorld(t, setting{})
	w.endpoint("crm", inOrderOf, whilePaused)
	w.publishMany("order.created", "evt_", 2)
	r := w.run(4, time.Second)
	w.inHand(r)
	r.stop()
	w.kill(12)
	r = w.run(4, time.Second)
	w.noted(r)
	r.stop()
	w.kill(12)
	w.endpoint("crm", inOrderOf)
	w.answer(hang(nil))
	r = w.run(4, time.Millisecond)
	w.expect("evt_0", 1)
	r.stop()
	w.kill(20)
	w.answer(status(200))
	w.run(4, time.Second)
	w.expect("evt_1", 1)
	if l := w.dead(1)[0]; l.Reason != delivery.Poison || l.EventID != "evt_0" {
		t.Errorf("dead letter of %s, %s", l.EventID, l.Reason)
	}
	w.drained()
}

// noted waits until it is stored that the ordered endpoint's event waits, however often
// it was handed out.
func (w *world) noted(r *running) {
	w.Helper()
	w.until("it is noted that it waits", func() bool {
		hand := r.ordered.inHand() // anew, because a replica that was stalled gives it up
		return len(hand) == 1 && w.states("crm") == 1 &&
			w.stored(w.names.OrderedState("acme", "crm")).Header.Get(handedHeader) == strconv.FormatUint(hand[0].handed, 10)
	})
}

// kill leaves what replicas do that die with the ordered endpoint's event in hand.
func (w *world) kill(times int) {
	w.Helper()
	js, err := w.js.Consumer(w.ctx, w.names.Events(), streams.OrderedOf("acme", "crm"))
	w.must(err)
	for range times {
		m, err := js.Next(jetstream.FetchMaxWait(30 * time.Second))
		w.must(err)
		w.must(m.Nak())
	}
}

// However many replicas die while an event waits for its endpoint, none of which
// could hand it back, it did not kill them.
func TestOrderedThatWaitedIsNoPoison(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		begin, end func(*world)
		deaths     int
	}{
		"paused": {
			func(w *world) { w.endpoint("crm", inOrderOf, whilePaused) },
			func(w *world) { w.endpoint("crm", inOrderOf) }, poisonous + 5,
		},
		"behind a gate": {
			func(w *world) {
				w.endpoint("crm", inOrderOf, window(time.Hour))
				now := time.Now()
				w.must(w.gates(w.js).Open(w.ctx, "acme/crm", gate.Opened{Why: "test", Since: now, FailingSince: now, NextProbe: now.Add(time.Hour)}))
			},
			func(w *world) { w.must(w.gates(w.js).Close(w.ctx, "acme/crm")) }, poisonous - 5,
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			w := newWorld(t, setting{})
			c.begin(w)
			w.publishMany("order.created", "evt_", 2)
			r := w.run(4, time.Second)
			w.inHand(r)
			r.stop()
			for range 2 {
				w.kill(c.deaths)
				nc, js := w.connect(w.server.ClientURL())
				r := w.runOn(js, 4, time.Millisecond, orderedAckWait(3*time.Second))
				w.noted(r)
				nc.Close()
				r.stop()
			}
			w.run(4, time.Second, orderedAckWait(3*time.Second))
			c.end(w)
			w.expect("evt_0", 1)
			w.expect("evt_1", 1)
			w.drained()
		})
	}
}

// A replica that is stopped before it has read what is known of an event leaves
// that alone.
func TestOrderedStateThatWasNotReadStays(t *testing.T) {
	t.Parallel()
	w := newWorld(t, setting{})
	w.endpoint("crm", inOrderOf, every(time.Hour, 5))
	w.answer(status(408))
	r := w.run(4, time.Second)
	w.publish("order.created", "evt_0", "{}")
	w.expect("evt_0", 1)
	w.until("the state is stored", func() bool { return w.states("crm") == 1 })
	r.stop()
	before := w.stored(w.names.OrderedState("acme", "crm")).Sequence
	w.kill(poisonous / 2)
	o := w.options()
	o.Gates = w.gates(w.js)
	late := New(o)
	s := &inOrder{w: late, all: late.ordered, name: "acme/crm", tenant: "acme", id: "crm", log: o.Logger}
	ep := s.endpoint()
	eras, err := s.find(w.ctx, ep)
	w.must(err)
	s.take(eras, ep)
	late.fetchFor = 30 * time.Second
	m, err := s.fetch()
	w.must(err)
	stopped, stop := context.WithCancel(w.ctx)
	stop()
	s.see(stopped, m)
	if after := w.stored(w.names.OrderedState("acme", "crm")).Sequence; after != before {
		t.Errorf("message %d is the state, want %d", after, before)
	}
}

// What lies where an event's state should be and is none, as the server's answer to
// a publish that names that subject for it, is passed over, and removed with the event.
func TestOrderedStateThatIsNone(t *testing.T) {
	t.Parallel()
	store := func(header, body string) func(*world, string) {
		return func(w *world, subject string) {
			m := nats.NewMsg(subject)
			m.Header.Set(delivery.Header, header)
			m.Data = []byte(body)
			_, err := w.js.PublishMsg(w.ctx, m)
			w.must(err)
		}
	}
	for name, junk := range map[string]func(w *world, subject string){
		"the server's answer": func(w *world, subject string) {
			m := nats.NewMsg("webhooks.events.other.order.created")
			m.Reply = subject
			w.must(w.nc.PublishMsg(m))
			w.until("the answer is stored", func() bool { return w.states("crm") == 1 })
		},
		"no state":    store("{", ""),
		"another's":   store(`{"event_id":"x","event_seq":1,"event_time":"2026-01-02T03:04:05Z","origin":"e1","attempts":7,"dead":"rejected"}`, ""),
		"a long body": store("null", strings.Repeat("x", 1<<20-1<<10)),
		"what is beside": func(w *world, subject string) {
			store("{", "")(w, subject+".x")
			store("{", "")(w, strings.TrimSuffix(subject, ".state"))
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			w := newWorld(t, setting{})
			w.endpoint("crm", inOrderOf, every(time.Millisecond, 3))
			w.answer(func(_ context.Context, c call) delivery.Result {
				return delivery.Result{Status: []int{408, 408, 200}[c.number-1]}
			})
			junk(w, w.names.OrderedState("acme", "crm"))
			w.publish("order.created", "evt_0", "{}")
			w.run(4, time.Second)
			for n := range 3 {
				w.expect("evt_0", n+1)
			}
			w.drained()
		})
	}
}
