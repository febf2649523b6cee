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

	"jethook/pkg/delivery"
	"jethook/pkg/endpoint"
	"jethook/pkg/gate"
	"jethook/pkg/retry"
	"jethook/streams"
)

// What cannot be sent says nothing of the endpoint, and stands in no probe's way:
// the next delivery is tried at once. In order it is the same.
func TestWhatCannotBeSentIsNoProbe(t *testing.T) {
	t.Parallel()
	for _, ordered := range []bool{false, true} {
		t.Run("ordered "+strconv.FormatBool(ordered), func(t *testing.T) {
			t.Parallel()
			w := newWorld(t, setting{})
			w.endpoint("crm", every(time.Hour, 3), func(d *endpoint.Document) {
				if d.Ordered = ordered; ordered {
					d.OrderedFrom, d.OnFailure = 1, endpoint.OnFailureSkip
				}
			})
			w.answer(func(_ context.Context, c call) delivery.Result {
				if strings.HasPrefix(c.event, "bad_") {
					return delivery.Result{Fault: delivery.FaultInvalidRequest, Error: "too large"}
				}
				return delivery.Result{Status: 200}
			})
			w.failing(time.Minute)
			const bad, good = 30, 5
			for i := range bad {
				w.publish("order.created", "bad_"+strconv.Itoa(i), "{}")
			}
			for i := range good {
				w.publish("order.created", "good_"+strconv.Itoa(i), "{}")
			}
			var most atomic.Int64
			r := w.run(8, time.Second, func(worker *Worker) {
				worker.fleet.OnChange(func(name string, _ bool) {
					o, _ := worker.fleet.Get(name)
					most.Store(max(most.Load(), int64(o.Probes)))
				})
			})
			for _, l := range w.dead(bad) {
				if l.Reason != delivery.InvalidRequest || !strings.HasPrefix(l.EventID, "bad_") {
					t.Errorf("%s is dead of %s", l.EventID, l.Reason)
				}
			}
			for came := map[string]bool{}; len(came) < bad+good; {
				came[w.next().event] = true
			}
			w.until("the gate is closed", func() bool { _, open := r.fleet.Get("acme/crm"); return !open })
			if most.Load() > 0 {
				t.Errorf("%d probes failed", most.Load())
			}
		})
	}
}

// A wait that an endpoint asks for is the endpoint's with every answer after which
// its delivery is tried again, and with no other.
func TestRetryAfterIsTheEndpoints(t *testing.T) {
	for status := 100; status <= 599; status++ {
		for _, retryOn := range [][]int{nil, {status}} {
			r := delivery.Result{Status: status, RetryAfter: time.Minute}
			want := time.Duration(0)
			if delivery.Classify(r, retryOn).Outcome == delivery.Retry {
				want = time.Minute
			}
			if got := vital(r, retryOn).RetryAfter; got != want {
				t.Errorf("status %d, retried %v: %s", status, retryOn, got)
			}
		}
	}
	if vital(delivery.Result{Status: 503, RetryAfter: time.Minute, Abort: true}, nil).RetryAfter == 0 {
		t.Error("that an event is not to be sent again is not about the endpoint")
	}
}

// An endpoint that asks to be left alone by an answer that is no failure otherwise
// gets a probe after that, and no more before one without that has come; in order,
// too.
func TestRetryAfterOfWhatIsNoFailure(t *testing.T) {
	t.Parallel()
	for _, ordered := range []bool{false, true} {
		for _, code := range []int{302, 408} {
			t.Run(fmt.Sprintf("ordered %v, %d", ordered, code), func(t *testing.T) {
				t.Parallel()
				w := newWorld(t, setting{})
				w.endpoint("crm", func(d *endpoint.Document) {
					d.Retry = retry.Policy{Schedule: []time.Duration{time.Millisecond, time.Minute}, Jitter: retry.JitterNone}
					if d.Ordered = ordered; ordered {
						d.OrderedFrom = 1
					}
				})
				const wait = 2 * time.Second
				w.answer(func(context.Context, call) delivery.Result { return delivery.Result{Status: code, RetryAfter: wait} })
				r := w.run(8, time.Second)
				w.publish("order.created", "evt_1", "{}")
				w.until("two probes failed", func() bool { o, _ := r.fleet.Get("acme/crm"); return o.Probes >= 2 })
				w.answer(status(200))
				w.until("the gate is closed", func() bool { _, open := r.fleet.Get("acme/crm"); return !open })
				for last := w.next(); len(w.sender.calls) > 0; {
					c := w.next()
					if passed := c.at.Sub(last.at); passed < wait {
						t.Errorf("an attempt %s after the one before", passed)
					}
					last = c
				}
			})
		}
	}
}

// Events that the receiver answers with a failure, whatever becomes of it, keep the gate
// open only until it is probed with another.
func TestWhatAlwaysFailsKeepsNoGateOpen(t *testing.T) {
	t.Parallel()
	w := newWorld(t, setting{})
	w.endpoint("crm", every(time.Hour, 3))
	w.answer(func(_ context.Context, c call) delivery.Result {
		if strings.HasPrefix(c.event, "bad_") {
			return delivery.Result{Status: 500}
		}
		return delivery.Result{Status: 200}
	})
	w.failing(time.Minute)
	const bad, good = 2, 20
	for i := range bad + good {
		id := "bad_" + strconv.Itoa(i)
		if i >= bad {
			id = "good_" + strconv.Itoa(i-bad)
		}
		w.lies(streams.HeldNew, given("crm", id, delivery.State{First: time.Now()}))
	}
	r := w.run(8, time.Second)
	var probed []string
	last := map[string]call{}
	for came := map[string]bool{}; len(came) < bad+good; {
		c := w.next()
		if !came["good_0"] {
			probed = append(probed, c.event)
		}
		came[c.event], last[c.event] = true, c
	}
	if want := []string{"bad_0", "bad_1", "bad_0", "good_0"}; !slices.Equal(probed, want) {
		t.Errorf("probed with %v, want %v", probed, want)
	}
	w.until("the gate is closed", func() bool { _, open := r.fleet.Get("acme/crm"); return !open })
	w.until("nothing is held", func() bool { return w.holds("crm") == 0 })
	for len(w.sender.calls) > 0 {
		c := w.next()
		last[c.event] = c
	}
	for id, probes := range map[string]int{"bad_0": 2, "bad_1": 1} {
		if c := last[id]; c.number != 1 || len(c.state.History) != probes {
			t.Errorf("%s was attempted as number %d, after %+v", id, c.number, c.state.History)
		}
	}
	if n := w.state(w.names.Deliveries()).Msgs; n != bad {
		t.Errorf("%d deliveries wait, want the %d that failed", n, bad)
	}
	if n := w.state(w.names.DeadLetters()).Msgs; n != 0 {
		t.Errorf("%d dead letters", n)
	}
}

// By turns it is the one that it was before, which is kept for that, and the oldest of
// the others, which is a late one if that fails.
func TestWhatAnEndpointIsProbedWith(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		lie    []streams.Kind // the events 1, 2 and so on
		probes int            // that failed
		inHand uint64
		want   string
		kind   streams.Kind
	}{
		"the first":           {lie: []streams.Kind{streams.HeldLate, streams.HeldNew}, want: "1", kind: streams.HeldProbe},
		"again":               {lie: []streams.Kind{streams.HeldNew, streams.HeldProbe}, probes: 2, want: "2", kind: streams.HeldProbe},
		"another":             {lie: []streams.Kind{streams.HeldProbe, streams.HeldNew, streams.HeldLate}, probes: 1, want: "2", kind: streams.HeldLate},
		"no other":            {lie: []streams.Kind{streams.HeldProbe}, probes: 1, want: "1", kind: streams.HeldProbe},
		"while it is in hand": {lie: []streams.Kind{streams.HeldProbe, streams.HeldNew}, inHand: 1, want: "2", kind: streams.HeldLate},
		"all in hand":         {lie: []streams.Kind{streams.HeldProbe}, inHand: 1},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			w := newWorld(t, setting{})
			for i, kind := range c.lie {
				w.lies(kind, given("crm", strconv.Itoa(i+1), delivery.State{First: time.Now()}))
			}
			o := w.options()
			o.Gates = w.gates(w.js)
			w.must(o.Gates.Open(w.ctx, "acme/crm", gate.Opened{Why: "test", Since: time.Now(), Probes: c.probes}))
			k := New(o).keeper
			if c.inHand > 0 {
				k.w.unlogged.add(c.inHand)
			}
			got, found, err := k.candidate(w.ctx, k.holding("acme/crm"))
			if err != nil || found != (c.want != "") || found && (got.Delivery.Event.ID != c.want || got.kind != c.kind) {
				t.Errorf("got %s, to be %s, %v, %v", got.Delivery.Event.ID, got.kind, found, err)
			}
		})
	}
}

// When the document of an endpoint whose gate is open changes, it is probed at once,
// once by all replicas, whatever it had asked for before; in order, too.
func TestAChangedDocumentIsProbedAtOnce(t *testing.T) {
	t.Parallel()
	for _, ordered := range []bool{false, true} {
		t.Run(fmt.Sprintf("ordered %v", ordered), func(t *testing.T) {
			t.Parallel()
			w := newWorld(t, setting{})
			at := func(revision uint64) {
				w.endpoints.revision = revision
				w.endpoint("crm", func(d *endpoint.Document) {
					d.URL = fmt.Sprintf("https://example.com/%d", revision)
					d.Retry = retry.Policy{Schedule: []time.Duration{time.Millisecond, 4 * time.Hour}, Jitter: retry.JitterNone}
					if d.Ordered = ordered; ordered {
						d.OrderedFrom = 1
					}
				})
			}
			at(1)
			w.answer(func(context.Context, call) delivery.Result {
				return delivery.Result{Status: 503, RetryAfter: time.Hour}
			})
			c := &crew{}
			c.set("a", "b")
			var rs []*running
			for _, id := range []string{"a", "b"} {
				w.replicas = mate{c, id}
				rs = append(rs, w.run(8, time.Second))
			}
			known := func(probes int) {
				t.Helper()
				w.until(fmt.Sprintf("%d probes failed, as all know", probes), func() bool {
					return !slices.ContainsFunc(rs, func(r *running) bool {
						o, open := r.fleet.Get("acme/crm")
						return !open || o.Probes != probes
					})
				})
			}
			w.publish("order.created", "evt_0", "{}")
			w.next()
			known(0)
			const n = 5
			w.publishMany("order.created", "more_", n)
			at(2)
			w.next()
			known(1)
			looked := w.endpoints.synced.Load()
			at(2) // which is no change
			w.until("they have looked what is to be done", func() bool { return w.endpoints.synced.Load() > looked+20 })
			known(1)
			w.quiet()
			w.answer(status(200))
			at(3)
			// In order, the first is attempted first; otherwise it waits for itself.
			want := n
			if ordered {
				want++
			}
			var got []string
			for range want {
				got = append(got, w.next().event)
			}
			if slices.Sort(got); len(slices.Compact(got)) != want {
				t.Errorf("got %v", got)
			}
			w.until("the gate is closed", func() bool { return rs[0].fleet.Len()+rs[1].fleet.Len() == 0 })
			w.quiet()
		})
	}
}
