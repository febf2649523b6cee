package worker

import (
	"context"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"jethook/pkg/delivery"
	"jethook/pkg/endpoint"
	"jethook/pkg/event"
	"jethook/pkg/gate"
	"jethook/pkg/hold"
	"jethook/pkg/retry"
	"jethook/streams"
)

func paused(d *endpoint.Document) { d.Paused = true }

// window sets a retry policy of two delays that add up to a window.
func window(d time.Duration) func(*endpoint.Document) {
	return func(doc *endpoint.Document) {
		doc.Retry = retry.Policy{Schedule: []time.Duration{d / 2, d - d/2}, Jitter: retry.JitterNone}
	}
}

// held waits until n deliveries are held for crm and nothing else is
// left.
func (w *world) held(n uint64) {
	w.Helper()
	w.until(fmt.Sprintf("%d are held for crm", n), func() bool {
		d := w.deliver()
		return w.fannedOut() && d.NumPending == 0 && d.NumAckPending == 0 && w.holds("crm") == n
	})
}

// holds returns how many deliveries are held for an endpoint of acme's.
func (w *world) holds(id string) (n uint64) {
	w.Helper()
	s, err := w.js.Stream(w.ctx, w.names.Deliveries())
	w.must(err)
	info, err := s.Info(w.ctx, jetstream.WithSubjectFilter(w.names.Held("acme", id, "*")))
	w.must(err)
	for _, count := range info.State.Subjects {
		n += count
	}
	return n
}

// The events of a paused endpoint are held without attempts, and come in the
// order in which they were held once it is resumed.
func TestPausedIsHeldAndFedBackInOrder(t *testing.T) {
	t.Parallel()
	w := newWorld(t, setting{})
	w.endpoint("crm", paused)
	w.run(8, time.Second)
	const n = 300
	ordered := func(round int) bool {
		w.endpoint("crm", paused)
		w.publishMany("order.created", fmt.Sprintf("evt_%d_", round), n)
		w.held(n)
		w.quiet()
		lie, err := hold.NewStore(w.js, w.names).Batch(w.ctx, "acme", "crm", streams.HeldNew, 1, n)
		w.must(err)
		resumed := time.Now()
		w.endpoint("crm", func(d *endpoint.Document) { d.MaxInFlight = 1 }) // one at a time, and so exactly
		got, want := make([]string, n), make([]string, n)
		for i := range n {
			c := w.next()
			if got[i], want[i] = c.event, lie[i].Delivery.Event.ID; c.number != 1 {
				t.Fatalf("attempt %d of %s came as number %d", c.number, c.event, i)
			}
		}
		w.settled()
		w.quiet()
		if slices.Equal(got, want) {
			return true
		}
		// On a machine that stalls the client gives up a fetch after a second, and what
		// was on its way comes again after AckWait, behind the others. So may what is
		// handed back because those of a fetch have not begun in time.
		if took := time.Since(resumed); took < handfulFor {
			t.Fatalf("within %v they came as %q, want %q", took, got, want)
		}
		return false
	}
	round := 0
	w.until("all come in order", func() bool { round++; return ordered(round) })
}

// A replica that had no part in holding feeds back, too: the one that held is
// gone.
func TestAnotherReplicaFeedsBack(t *testing.T) {
	t.Parallel()
	w := newWorld(t, setting{})
	w.endpoint("crm", paused)
	r := w.run(8, time.Second)
	w.publishMany("order.created", "evt_", 50)
	w.held(50)
	r.stop()
	w.endpoint("crm")
	w.run(8, time.Second)
	for range 50 {
		w.next()
	}
	w.settled()
	w.quiet()
}

// What is held for a paused endpoint longer than expire_after becomes dead
// letters, in time.
func TestHeldExpires(t *testing.T) {
	t.Parallel()
	w := newWorld(t, setting{})
	w.endpoint("crm", paused, func(d *endpoint.Document) { d.ExpireAfter = endpoint.Duration(time.Second) })
	w.run(8, time.Second)
	w.publishMany("order.created", "evt_", 1000)
	for _, l := range w.dead(1000) {
		if late := l.DeadAt.Sub(l.EventTime); l.Reason != delivery.Expired || late < time.Second || late > 20*time.Second {
			t.Fatalf("%s is dead of %s %v after its event", l.EventID, l.Reason, late)
		}
	}
	w.settled()
	w.quiet()
}

// A delivery that was attempted long before it was held is given up before
// those that lie ahead of it.
func TestLateOnesAreGivenUpInTime(t *testing.T) {
	t.Parallel()
	w := newWorld(t, setting{})
	w.endpoint("crm", paused, func(d *endpoint.Document) { d.ExpireAfter = endpoint.Duration(time.Hour) })
	w.run(8, time.Second)
	w.publishMany("order.created", "evt_", 20)
	w.held(20)
	began := time.Now().Add(-time.Hour + 2*time.Second)
	w.put(given("crm", "old", delivery.State{Attempts: 3, First: began, Since: began}))
	letter := w.dead(1)[0]
	if letter.EventID != "old" || letter.Reason != delivery.Expired || letter.DeadAt.Before(began.Add(time.Hour)) {
		t.Errorf("%s is dead of %s at %s", letter.EventID, letter.Reason, letter.DeadAt)
	}
	w.held(20)
}

// What was attempted before it was held is given up when its time is over, although
// it was first attempted after another one that has longer.
func TestLateOnesAreGivenUpByWhenTheirTimeEnds(t *testing.T) {
	t.Parallel()
	w := newWorld(t, setting{})
	w.endpoint("crm", paused, func(d *endpoint.Document) { d.ExpireAfter = endpoint.Duration(time.Hour) })
	now := time.Now()
	w.put(given("crm", "replayed", delivery.State{First: now.Add(-time.Minute), Since: now.Add(-time.Minute)}))
	w.put(given("crm", "old", delivery.State{First: now.Add(-10 * time.Second), Since: now.Add(-time.Hour + 5*time.Second)}))
	w.run(8, time.Second)
	if l := w.dead(1)[0]; l.EventID != "old" || l.Reason != delivery.Expired {
		t.Errorf("%s is dead of %s", l.EventID, l.Reason)
	}
	w.held(1)
}

// What was published long ago can be held behind what is new, as from a lane with a
// backlog: its time is over first all the same.
func TestOldOnesBehindNewOnesAreGivenUpOnTime(t *testing.T) {
	t.Parallel()
	w := newWorld(t, setting{})
	const after = time.Hour
	w.endpoint("crm", paused, func(d *endpoint.Document) { d.ExpireAfter = endpoint.Duration(after) })
	w.run(8, time.Second)
	w.put(given("crm", "young", delivery.State{}))
	w.held(1)
	w.put(given("crm", "old", delivery.State{Since: time.Now().Add(time.Second - after)}))
	if l := w.dead(1)[0]; l.EventID != "old" || l.Reason != delivery.Expired {
		t.Errorf("%s is dead of %s", l.EventID, l.Reason)
	}
	w.held(1)
}

// What is held for an endpoint that is removed becomes dead letters.
func TestHeldForARemovedEndpoint(t *testing.T) {
	t.Parallel()
	w := newWorld(t, setting{})
	w.endpoint("crm", paused)
	w.run(8, time.Second)
	w.publishMany("order.created", "evt_", 600)
	w.held(600)
	w.remove("crm")
	for _, l := range w.dead(600) {
		if l.Reason != delivery.EndpointDeleted {
			t.Fatalf("%s is dead of %s", l.EventID, l.Reason)
		}
	}
	w.settled()
}

// farSide is an endpoint that is down for a while.
type farSide struct {
	down          atomic.Bool
	calls, failed atomic.Int64
	mu            sync.Mutex
	got           map[string]int
}

func (f *farSide) answer(_ context.Context, c call) delivery.Result {
	f.calls.Add(1)
	if f.down.Load() {
		f.failed.Add(1)
		return delivery.Result{Status: 503, Error: "503 Service Unavailable"}
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.got == nil {
		f.got = map[string]int{}
	}
	f.got[c.event]++
	return delivery.Result{Status: 200}
}

func (f *farSide) distinct() int {
	f.mu.Lock()
	defer f.mu.Unlock()
	return len(f.got)
}

// An endpoint that fails gets a few calls, then probes of one replica at a
// time, and everything once it works again; with two replicas the same.
func TestAnOutageCostsFewCalls(t *testing.T) {
	t.Parallel()
	for replicas := 1; replicas <= 2; replicas++ {
		t.Run(strconv.Itoa(replicas), func(t *testing.T) {
			t.Parallel()
			w := newWorld(t, setting{})
			w.endpoint("crm", every(2*time.Second, 10))
			var far farSide
			far.down.Store(true)
			w.answer(far.answer)
			for range replicas {
				w.run(16, time.Second)
			}
			const n = 400
			w.publishMany("order.created", "evt_", n)
			kv := w.kv(w.js, w.names.GatesBucket())
			w.until("two probes failed", func() bool {
				entry, err := kv.Get(w.ctx, "acme.crm")
				return err == nil && len(entry.Value()) > 0 && far.failed.Load() > 0 && probes(w, kv) >= 2
			})
			if calls := far.failed.Load(); calls > int64(replicas*20+4) {
				t.Errorf("%d calls at an endpoint that is down", calls)
			}
			far.down.Store(false)
			w.until("everything has arrived", func() bool { return far.distinct() == n })
			w.settled()
			if calls := far.calls.Load() - far.failed.Load(); calls > n+n/50 {
				t.Errorf("%d calls for %d events after the outage", calls, n)
			}
			if _, err := kv.Get(w.ctx, "acme.crm"); err == nil {
				t.Error("the gate is open still")
			}
			if s := w.state(w.names.DeadLetters()); s.Msgs != 0 {
				t.Errorf("%d dead letters", s.Msgs)
			}
		})
	}
}

func probes(w *world, kv jetstream.KeyValue) int {
	for r := range w.all {
		if o, open := w.all[r].fleet.Get("acme/crm"); open {
			return o.Probes
		}
	}
	_ = kv
	return 0
}

// The retry policy's window holds behind an open gate: what it ends for is a
// dead letter, in time, and knows the probes that were made with it.
func TestTheWindowHoldsBehindAnOpenGate(t *testing.T) {
	t.Parallel()
	w := newWorld(t, setting{})
	w.endpoint("crm", window(time.Second))
	w.answer(status(500))
	w.run(16, time.Second)
	const n = 200
	w.publishMany("order.created", "evt_", n)
	letters := w.dead(n)
	reasons := map[delivery.Reason]int{}
	for _, l := range letters {
		reasons[l.Reason]++
		if late := l.DeadAt.Sub(l.EventTime); late > 20*time.Second {
			t.Errorf("%s is dead only after %v", l.EventID, late)
		}
	}
	if reasons[delivery.EndpointDown] < n/2 || reasons[delivery.EndpointDown]+reasons[delivery.AttemptsExhausted] != n {
		t.Errorf("reasons %v", reasons)
	}
	w.settled()
}

// A failed probe is in the history and counts for nothing.
func TestAFailedProbeDoesNotCount(t *testing.T) {
	t.Parallel()
	w := newWorld(t, setting{})
	w.endpoint("crm", every(time.Hour, 3))
	var far farSide
	far.down.Store(true)
	states := make(chan delivery.State, 1000)
	w.answer(func(ctx context.Context, c call) delivery.Result {
		states <- c.state
		return far.answer(ctx, c)
	})
	r := w.run(16, time.Second)
	w.publishMany("order.created", "evt_", 30)
	w.until("five probes failed, three of them with the first", func() bool { o, _ := r.fleet.Get("acme/crm"); return o.Probes >= 5 })
	far.down.Store(false)
	w.until("those that were held have arrived", func() bool { return w.holds("crm") == 0 })
	var most delivery.State
	for len(states) > 0 {
		if s := <-states; len(s.History) > len(most.History) {
			most = s
		}
	}
	if most.Attempts != 0 || len(most.History) < 3 || !most.History[0].Probe {
		t.Errorf("the probe's delivery had %d attempts and the history %+v", most.Attempts, most.History)
	}
	counted := map[string]float64{}
	for labels, m := range series(t, r.metrics, "jethook_attempts_total") {
		outcome, _, _ := strings.Cut(labels, " ")
		counted[outcome] += m.Counter.GetValue()
	}
	if counted["probe"] < 5 || counted["probe"]+counted["retry"] != float64(far.failed.Load()) {
		t.Errorf("counted %v, of %d calls that failed", counted, far.failed.Load())
	}
}

// While the gate is open, nothing but one probe at a time is attempted, by all
// replicas together.
func TestOneProbeAtATime(t *testing.T) {
	t.Parallel()
	w := newWorld(t, setting{})
	w.endpoint("crm", every(time.Hour, 3))
	var open atomic.Bool
	var now, most atomic.Int64
	w.answer(func(context.Context, call) delivery.Result {
		if open.Load() {
			most.Store(max(most.Load(), now.Add(1)))
			defer now.Add(-1)
			pause(w.ctx, 300*time.Millisecond)
		}
		return delivery.Result{Status: 500}
	})
	var rs []*running
	for range 3 {
		rs = append(rs, w.run(8, time.Second))
	}
	w.publishMany("order.created", "evt_", 100)
	w.until("all know that the gate is open", func() bool {
		return !slices.ContainsFunc(rs, func(r *running) bool {
			_, known := r.fleet.Get("acme/crm")
			return !known || !r.gateOf(w.endpoints.Get("acme", "crm")).IsOpen()
		})
	})
	// Nor one that has leave and has not begun: a probe has none from the gate.
	w.until("no attempt of before is left", func() bool {
		return !slices.ContainsFunc(rs, func(r *running) bool { return r.main().gates.InFlight() > 0 })
	})
	open.Store(true)
	w.until("four probes failed", func() bool { o, _ := rs[0].fleet.Get("acme/crm"); return o.Probes >= 4 })
	if most.Load() != 1 {
		t.Errorf("%d probes at a time", most.Load())
	}
}

// An endpoint that fails for longer than disable_after is disabled.
func TestDisableAfter(t *testing.T) {
	t.Parallel()
	w := newWorld(t, setting{})
	w.endpoint("crm", every(time.Hour, 3), func(d *endpoint.Document) { d.DisableAfter = endpoint.Duration(time.Second) })
	w.answer(status(500))
	w.run(8, time.Second)
	w.publishMany("order.created", "evt_", 50)
	w.until("it is disabled", func() bool {
		w.endpoints.mu.Lock()
		defer w.endpoints.mu.Unlock()
		return len(w.endpoints.disabled) > 0
	})
}

// A rate limit holds what is too much, and the rest comes at that rate.
func TestRateLimit(t *testing.T) {
	t.Parallel()
	w := newWorld(t, setting{})
	w.endpoint("crm", func(d *endpoint.Document) { d.RateLimit = &endpoint.RateLimit{PerSecond: 50, Burst: 5} })
	w.run(16, time.Second)
	const n = 150
	w.publishMany("order.created", "evt_", n)
	var at []time.Time
	for range n {
		at = append(at, w.next().at)
	}
	slices.SortFunc(at, time.Time.Compare)
	if took := at[n-1].Sub(at[0]); took < 2700*time.Millisecond {
		t.Errorf("%d attempts in %v at 50/s", n, took)
	}
	for i := range at {
		j, _ := slices.BinarySearchFunc(at, at[i].Add(time.Second), time.Time.Compare)
		if j-i > 80 { // the rate and the burst, and what began late in all slots
			t.Errorf("%d attempts within a second", j-i)
		}
	}
	w.settled()
}

// A slow endpoint keeps few slots: another gets its events meanwhile.
func TestASlowEndpointKeepsNoSlots(t *testing.T) {
	t.Parallel()
	w := newWorld(t, setting{})
	w.endpoint("slow", forType("slow.event"), unending)
	w.endpoint("well")
	w.answer(func(ctx context.Context, c call) delivery.Result {
		if c.endpoint == "slow" {
			return hang(nil)(ctx, c)
		}
		return delivery.Result{Status: 200}
	})
	r := w.run(16, 10*time.Millisecond)
	w.publishMany("slow.event", "slow_", 500)
	w.publishMany("order.created", "evt_", 500)
	for well := 0; well < 500; {
		if w.next().endpoint == "well" {
			well++
		}
	}
	w.until("few of 16 slots are taken", func() bool { return r.busy() <= 12 })
	w.until("the rest is held", func() bool { return w.holds("slow") >= 480 })
	r.stop()
}

// A replica that dies at any step of holding and feeding back loses nothing.
func TestKilledAtEveryStep(t *testing.T) {
	t.Parallel()
	w := newWorld(t, setting{ackWait: time.Second})
	w.endpoint("crm", paused)
	const n = 400
	var far farSide
	w.answer(far.answer)
	w.publishMany("order.created", "evt_", n)
	for i := range 12 {
		js := w.mortal(int64(10 + 37*i)) // dies at that publish or ack
		r := w.begin(js, 8, 0)
		if i == 4 {
			w.endpoint("crm")
		}
		select {
		case <-js.dead:
		case <-time.After(400 * time.Millisecond):
		}
		r.stop()
	}
	w.run(16, time.Second)
	w.until("everything has arrived", func() bool { return far.distinct() == n })
	w.settled()
}

// mortal is JetStream that stops answering after some publishes.
type mortal struct {
	jetstream.JetStream
	left atomic.Int64
	dead chan struct{}
}

func (w *world) mortal(after int64) *mortal {
	_, js := w.connect(w.server.ClientURL())
	m := &mortal{JetStream: js, dead: make(chan struct{})}
	m.left.Store(after)
	return m
}

// PublishMsg publishes until it is dead; the last one is stored, and nobody
// hears of it.
func (m *mortal) PublishMsg(ctx context.Context, msg *nats.Msg, o ...jetstream.PublishOpt) (*jetstream.PubAck, error) {
	left := m.left.Add(-1)
	if left > 0 {
		return m.JetStream.PublishMsg(ctx, msg, o...)
	}
	if left == 0 {
		_, err := m.JetStream.PublishMsg(ctx, msg, o...)
		m.Conn().Close() // no ack, no heartbeat, nothing
		close(m.dead)
		return nil, err
	}
	<-ctx.Done()
	return nil, ctx.Err()
}

// A lane has consumers and slots of its own: what fills one does not keep the
// other waiting. Its endpoints' deliveries go there, too.
func TestLanes(t *testing.T) {
	t.Parallel()
	w := newWorld(t, setting{})
	w.endpoint("bulk", func(d *endpoint.Document) { d.Events = []string{"bulk.x"} })
	w.endpoint("crm")
	w.endpoint("lazy", func(d *endpoint.Document) { d.Events, d.Lane = []string{"lazy.x"}, "slow" })
	w.lane(endpoint.Lane{ID: "heavy", Filters: []string{"acme.bulk.x"}, Weight: 1, From: 1}, endpoint.Lane{ID: "slow", Weight: 1, From: 1})
	w.answer(func(ctx context.Context, c call) delivery.Result {
		if c.endpoint == "bulk" {
			return hang(nil)(ctx, c)
		}
		return delivery.Result{Status: 200}
	})
	r := w.run(12, 10*time.Millisecond)
	w.until("three lanes run", func() bool { return len(r.lanes.list()) == 3 && r.Running() })
	w.publishMany("bulk.x", "bulk_", 100)
	w.publishMany("order.created", "evt_", 100)
	w.publishMany("lazy.x", "lazy_", 10)
	count := map[string]int{}
	for count["crm"] < 100 || count["lazy"] < 10 {
		count[w.next().endpoint]++
	}
	if got := w.consumer(w.names.Deliveries(), streams.DeliverOf("slow")).Delivered.Consumer; got != 10 {
		t.Errorf("%d deliveries went through their endpoint's lane, want 10", got)
	}
	r.stop()
}

// apart are two replicas of which each serves one lane, as that one sees it.
type apart struct {
	alone
	lane string
}

func (apart) Count() int { return 2 }

func (a apart) RankOf(lane, _ string) int {
	if lane == a.lane {
		return 0
	}
	return 1
}

// The limits of an endpoint are shared by all that make attempts at it: where
// replicas serve different lanes, by all of them if its events come in any lane, and
// by those that serve its lane if it has one. An ordered one has all its attempts
// from one replica.
func TestLimitsWhereReplicasServeDifferentLanes(t *testing.T) {
	t.Parallel()
	w := newWorld(t, setting{})
	const burst = 10
	limited := func(d *endpoint.Document) { d.RateLimit = &endpoint.RateLimit{PerSecond: 0.001, Burst: burst} }
	w.endpoint("crm", limited)
	w.endpoint("own", limited, func(d *endpoint.Document) { d.Lane = "bulk" })
	w.endpoint("seq", limited, func(d *endpoint.Document) { d.Ordered = true })
	w.lane(endpoint.Lane{ID: "bulk", Filters: []string{"acme.bulk.x"}, Weight: 1, From: 1})
	for _, c := range []struct {
		lane string
		want map[string]int
	}{
		{streams.DefaultLane, map[string]int{"crm": burst / 2, "seq": burst}},
		{"bulk", map[string]int{"crm": burst / 2, "own": burst, "seq": 0}},
	} {
		w.replicas = apart{lane: c.lane}
		r := w.begin(w.js, 8, time.Second, func(worker *Worker) { worker.serve = []string{c.lane} })
		w.until("its lane runs", func() bool { return r.lane(c.lane) != nil && r.Running() })
		for id, want := range c.want {
			got := 0
			for ep := w.endpoints.Get("acme", id); !r.barred(ep); got++ {
				g, leave := r.enter(ep)
				if leave != gate.Go {
					break
				}
				g.Done(gate.Vital{Fault: gate.Alive})
			}
			if got != want {
				t.Errorf("the replica that serves lane %s lets %d attempts at %s go at once, want %d", c.lane, got, id, want)
			}
		}
	}
}

// A lane that is removed is drained and then gone, and what was in it arrives.
func TestALaneIsRemoved(t *testing.T) {
	t.Parallel()
	w := newWorld(t, setting{})
	w.endpoint("crm")
	l := endpoint.Lane{ID: "fast", Filters: []string{"acme.order.created"}, Weight: 1, From: 1}
	w.lane(l)
	r := w.run(8, time.Second, func(worker *Worker) { worker.straysEvery = 100 * time.Millisecond })
	w.until("two lanes run", func() bool { return len(r.lanes.list()) == 2 && r.Running() })
	w.publishMany("order.created", "evt_", 20)
	for range 20 {
		w.next()
	}
	// By the clock of a replica that is ahead of the server's, that was long ago.
	// Others may pass over events in the default lane still, having heard of nothing.
	l.Until, l.Removed = 20, time.Now().Add(-time.Hour)
	removed := time.Now() // before anybody hears of it
	w.lane(l)
	w.until("it is gone", func() bool { return len(w.endpoints.Lanes()) == 0 && len(r.lanes.list()) == 1 })
	if passed := time.Since(removed); passed < endingFor {
		t.Errorf("it was deleted %s after it was removed, want %s", passed, endingFor)
	}
	w.publish("order.created", "after", "{}")
	if c := w.next(); c.event != "after" {
		t.Errorf("%s came, want what was published after", c.event)
	}
	d := given("crm", "stray", delivery.State{})
	m, err := d.Encode(w.names.Delivery("fast", "acme", "crm"), w.nc.MaxPayload())
	w.must(err)
	_, err = w.js.PublishMsg(w.ctx, m)
	w.must(err)
	if c := w.next(); c.event != "stray" {
		t.Errorf("%s came, want the delivery in a lane that is gone", c.event)
	}
	w.until("nothing of it is kept", func() bool { return len(r.everyLane()) == 1 })
	w.quiet()
}

// lane puts lanes in force.
func (w *world) lane(lanes ...endpoint.Lane) {
	w.endpoints.mu.Lock()
	w.endpoints.lanes = lanes
	w.endpoints.mu.Unlock()
	w.endpoints.announce()
}

// What cannot be read among the held deliveries is set aside, and a body that
// is gone makes a dead letter; neither stands in the way of the others.
func TestHeldOddities(t *testing.T) {
	t.Parallel()
	w := newWorld(t, setting{})
	w.endpoint("crm", paused)
	_, err := w.js.PublishMsg(w.ctx, &nats.Msg{Subject: w.names.Held("acme", "crm", streams.HeldNew), Data: []byte("what is this")})
	w.must(err)
	d := delivery.New(event.Event{ID: "bodiless", Tenant: "acme", Type: "order.created", Time: time.Now(), Seq: 4711}, "crm")
	d.BodyInEvent = true
	d.State.Begin(time.Now())
	m, err := d.Encode(w.names.Held("acme", "crm", streams.HeldNew), w.nc.MaxPayload())
	w.must(err)
	_, err = w.js.PublishMsg(w.ctx, m)
	w.must(err)
	w.run(8, time.Second)
	w.publish("order.created", "evt_1", "{}")
	w.until("all is held", func() bool { return w.holds("crm") >= 2 && w.fanout().NumAckPending == 0 })
	w.endpoint("crm")
	if c := w.next(); c.event != "evt_1" {
		t.Errorf("%s was attempted", c.event)
	}
	if l := w.dead(1)[0]; l.EventID != "bodiless" || l.Reason != delivery.Expired {
		t.Errorf("%s is dead of %s", l.EventID, l.Reason)
	}
	w.until("nothing is held", func() bool { return w.holds("crm") == 0 })
	if m := w.stored(w.names.Unreadable()); string(m.Data) != "what is this" && len(m.Data) != 0 {
		t.Errorf("set aside %q", m.Data)
	}
}

// An endpoint that was removed while its gate was open, and is made again, gets
// its deliveries.
func TestMadeAgainWhileTheGateWasOpen(t *testing.T) {
	t.Parallel()
	w := newWorld(t, setting{})
	w.endpoint("crm", every(time.Hour, 3))
	var far farSide
	far.down.Store(true)
	w.answer(far.answer)
	r := w.run(16, time.Second)
	w.publishMany("order.created", "evt_", 40)
	w.until("the gate is open", func() bool { _, open := r.fleet.Get("acme/crm"); return open })
	w.remove("crm")
	w.until("the gate is forgotten", func() bool { _, open := r.fleet.Get("acme/crm"); return !open })
	far.down.Store(false)
	w.endpoint("crm")
	w.publish("order.created", "after", "{}")
	w.until("it has what came after", func() bool {
		far.mu.Lock()
		defer far.mu.Unlock()
		return far.got["after"] > 0
	})
}

// What was held is fed back by a replica whose lanes begin late, after it had
// looked what is held.
func TestALaneThatBeginsLateFeedsBack(t *testing.T) {
	t.Parallel()
	w := newWorld(t, setting{})
	w.endpoint("crm", paused, func(d *endpoint.Document) { d.Lane = "slow" })
	r := w.run(8, time.Second)
	w.publishMany("order.created", "evt_", 20)
	w.held(20)
	r.stop()
	w.endpoint("crm", func(d *endpoint.Document) { d.Lane = "slow" })
	w.lane(endpoint.Lane{ID: "slow", Weight: 1, From: 1})
	w.run(8, time.Second, func(worker *Worker) {
		restore := worker.restore
		worker.restore = func(ctx context.Context, floors map[string]uint64) error {
			pause(ctx, 300*time.Millisecond)
			return restore(ctx, floors)
		}
	})
	for range 20 {
		w.next()
	}
}

// A probe goes ahead although the oldest delivery's time is over, where dead
// letters cannot be stored.
func TestFullDeadLettersKeepNoGateOpen(t *testing.T) {
	t.Parallel()
	w := newWorld(t, setting{})
	w.endpoint("crm", window(500*time.Millisecond))
	s, err := w.js.Stream(w.ctx, w.names.DeadLetters())
	w.must(err)
	config := s.CachedInfo().Config
	config.MaxMsgs = 1
	_, err = w.js.UpdateStream(w.ctx, config)
	w.must(err)
	var far farSide
	far.down.Store(true)
	w.answer(far.answer)
	r := w.run(16, time.Second)
	w.publishMany("order.created", "evt_", 30)
	w.until("the gate is open", func() bool { _, open := r.fleet.Get("acme/crm"); return open })
	far.down.Store(false)
	w.until("the gate is closed", func() bool { _, open := r.fleet.Get("acme/crm"); return !open })
}

// What an attempt is under way for is not given up meanwhile.
func TestWhatIsInHandIsNotGivenUp(t *testing.T) {
	t.Parallel()
	w := newWorld(t, setting{})
	w.endpoint("crm", paused)
	r := w.run(16, time.Second)
	w.publishMany("order.created", "evt_", 3)
	w.held(3)
	began, release := make(chan struct{}, 10), make(chan struct{})
	w.answer(func(ctx context.Context, c call) delivery.Result {
		began <- struct{}{}
		return hang(release)(ctx, c)
	})
	w.endpoint("crm", unending)
	<-began
	// Paused again, with their time over, while they are attempted.
	w.endpoint("crm", paused, func(d *endpoint.Document) { d.ExpireAfter = endpoint.Duration(time.Second) })
	pause(w.ctx, 2*time.Second)
	if n := w.state(w.names.DeadLetters()).Msgs; n > 2 {
		t.Errorf("%d are given up", n)
	}
	close(release)
	w.until("nothing is held", func() bool { return w.holds("crm") == 0 })
	if n := len(w.sender.calls) + int(w.state(w.names.DeadLetters()).Msgs); n != 3 {
		t.Errorf("3 deliveries came to %d ends", n)
	}
	r.stop()
}

// The consumers of a lane that is gone, which nobody deleted, are deleted.
func TestLostConsumersOfALane(t *testing.T) {
	t.Parallel()
	w := newWorld(t, setting{})
	w.endpoint("crm")
	left := w.topology.Lane("left", []string{"acme.x"}, 1)
	_, err := left.Ensure(w.ctx, w.js)
	w.must(err)
	d := given("crm", "stray", delivery.State{})
	m, err := d.Encode(w.names.Delivery("left", "acme", "crm"), w.nc.MaxPayload())
	w.must(err)
	_, err = w.js.PublishMsg(w.ctx, m)
	w.must(err)
	w.run(8, time.Second, func(worker *Worker) { worker.straysEvery = 100 * time.Millisecond })
	if c := w.next(); c.event != "stray" {
		t.Errorf("%s came", c.event)
	}
	_, err = w.js.Consumer(w.ctx, w.names.Events(), streams.FanoutOf("left"))
	if !gone(err) {
		t.Errorf("the lane's consumer is there: %v", err)
	}
}

// What another replica attempts is not given up, although the endpoint's time is over
// meanwhile: what came of the attempt decides.
func TestAttemptedElsewhereIsNotGivenUp(t *testing.T) {
	t.Parallel()
	over := func(d *endpoint.Document) { d.Paused, d.ExpireAfter = true, endpoint.Duration(time.Millisecond) }
	fed := func(w *world) { w.endpoint("crm") }
	probed := func(w *world) {
		w.answer(status(503))
		w.endpoint("crm", every(time.Hour, 5))
		w.publishMany("order.created", "failed_", 5)
		for range 5 {
			w.next()
		}
	}
	for name, c := range map[string]struct {
		attempt func(*world)
		end     func(*world)
	}{
		"fed, expired":    {fed, func(w *world) { w.endpoint("crm", over) }},
		"fed, removed":    {fed, func(w *world) { w.remove("crm") }},
		"probed, expired": {probed, func(w *world) { w.endpoint("crm", over) }},
		"probed, removed": {probed, func(w *world) { w.remove("crm") }},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			w := newWorld(t, setting{})
			both, released := &crew{}, make(chan struct{})
			both.set("b")
			w.replicas = mate{both, "b"}
			w.endpoint("crm", paused)
			b := w.run(8, 20*time.Second)
			c.attempt(w)
			failed := w.state(w.names.Events()).Msgs
			w.until("what failed waits", func() bool {
				return w.state(w.names.Deliveries()).Msgs == failed && (failed > 0) == (b.fleet.Len() > 0)
			})
			w.endpoint("crm", paused, every(time.Hour, 5))
			w.publish("order.created", "evt_1", "body")
			w.until("it is held", func() bool { return w.state(w.names.Deliveries()).Msgs == failed+1 })
			w.answer(hang(released))
			w.endpoint("crm", every(time.Hour, 5))
			w.expect("evt_1", 1)
			both.set("a", "b")
			w.replicas = mate{both, "a"}
			w.run(8, time.Second)
			// That of another endpoint, whose time is over then too, tells when it was looked.
			w.endpoint("other", over, func(d *endpoint.Document) { d.Events = []string{"other"} })
			c.end(w)
			w.publish("other", "evt_other", "body")
			if l := w.dead(1)[0]; l.EventID != "evt_other" {
				t.Fatalf("%s is dead of %s while it is attempted", l.EventID, l.Reason)
			}
			close(released)
			w.until("only what failed waits", func() bool { return w.state(w.names.Deliveries()).Msgs == failed })
			w.dead(1)
		})
	}
}

func TestWhatIsHeldIsListedAgain(t *testing.T) {
	t.Parallel()
	lost := context.DeadlineExceeded
	for _, c := range []struct {
		took           time.Duration
		err            error
		every, soonest time.Duration
	}{
		{time.Millisecond, nil, 5 * time.Second, 100 * time.Millisecond},
		{20 * time.Millisecond, nil, 5 * time.Second, time.Second},
		{2 * time.Second, nil, 100 * time.Second, 100 * time.Second}, // it costs much
		{time.Millisecond, lost, 5 * time.Second, 100 * time.Millisecond},
		{5 * time.Second, lost, 30 * time.Second, 30 * time.Second}, // or does it?
	} {
		if every, soonest := listAgain(c.took, c.err); every != c.every || soonest != c.soonest {
			t.Errorf("after %s and %v: every %s, at the soonest after %s, want %s and %s", c.took, c.err, every, soonest, c.every, c.soonest)
		}
	}
}
