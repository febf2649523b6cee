package worker

import (
	"context"
	"fmt"
	"maps"
	"math/rand/v2"
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
	"jethook/pkg/fleet"
	"jethook/pkg/retry"
	"jethook/streams"
)

func (alone) Live() []fleet.Member { return nil }

func (e *endpoints) Ordered() []*endpoint.Endpoint {
	e.mu.Lock()
	defer e.mu.Unlock()
	return slices.DeleteFunc(slices.Collect(maps.Values(e.all)), func(ep *endpoint.Endpoint) bool { return !ep.Ordered })
}

func (e *endpoints) Revision() uint64 { return 1 }

func (e *endpoints) BucketMade() time.Time {
	if at := e.bucketMade.Load(); at != nil {
		return *at
	}
	return time.Time{}
}

// crew are several replicas, of which the first owns everything.
type crew struct {
	asked atomic.Int32 // how often what each knows was
	mu    sync.Mutex
	alive []string
	knows map[string]uint64
}

func (c *crew) set(alive ...string) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.alive = alive
}

func (c *crew) know(revision uint64) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.knows = map[string]uint64{}
	for _, id := range c.alive {
		c.knows[id] = revision
	}
}

// mate is a crew as one of it sees it.
type mate struct {
	*crew
	self string
}

func (m mate) Count() int {
	m.mu.Lock()
	defer m.mu.Unlock()
	return max(1, len(m.alive))
}

func (m mate) Rank(string) int {
	m.mu.Lock()
	defer m.mu.Unlock()
	if i := slices.Index(m.alive, m.self); i >= 0 {
		return i
	}
	return len(m.alive)
}

func (m mate) CountOf(string) int              { return m.Count() }
func (m mate) RankOf(_ string, key string) int { return m.Rank(key) }

func (m mate) Live() (all []fleet.Member) {
	defer m.asked.Add(1)
	m.mu.Lock()
	defer m.mu.Unlock()
	for _, id := range m.alive {
		all = append(all, fleet.Member{ID: id, Endpoints: m.knows[id]})
	}
	return all
}

// inOrderOf makes an endpoint ordered, from the first event on.
func inOrderOf(d *endpoint.Document) { d.Ordered, d.OrderedFrom = true, 1 }

func skips(d *endpoint.Document) { d.OnFailure = endpoint.OnFailureSkip }

func whilePaused(d *endpoint.Document) { d.Paused = true }

func whileDisabled(d *endpoint.Document) { d.Disabled = &endpoint.Disabled{Reason: "test"} }

func orderedAckWait(wait time.Duration) func(*Worker) {
	return func(w *Worker) { w.ordered.ackWait = wait }
}

// drained waits until an ordered endpoint has had everything, and nothing is
// remembered of it.
func (w *world) drained() {
	w.Helper()
	w.until("the ordered endpoint has had everything", func() bool {
		all := w.eras()
		return len(all) == 1 && all[0].NumPending == 0 && all[0].NumAckPending == 0
	})
	w.stateless("crm")
}

// eras returns the ordered endpoint's consumers, in any order.
func (w *world) eras() (all []*jetstream.ConsumerInfo) {
	w.Helper()
	s, err := w.js.Stream(w.ctx, w.names.Events())
	w.must(err)
	list := s.ListConsumers(w.ctx)
	for info := range list.Info() {
		if tenant, endpoint, ok := streams.ParseOrdered(info.Name); ok && tenant == "acme" && endpoint == "crm" {
			all = append(all, info)
		}
	}
	w.must(list.Err())
	return all
}

func (w *world) stateless(id string) {
	w.Helper()
	w.until("no state is left", func() bool { return w.states(id) == 0 })
}

// states counts the states that are stored for an endpoint.
func (w *world) states(id string) uint64 {
	w.Helper()
	s, err := w.js.Stream(w.ctx, w.names.Deliveries())
	w.must(err)
	info, err := s.Info(w.ctx, jetstream.WithSubjectFilter(w.names.OrderedState("acme", id)))
	w.must(err)
	return info.State.Subjects[w.names.OrderedState("acme", id)]
}

// expect fails unless the next attempt is this one.
func (w *world) expect(event string, number int) call {
	w.Helper()
	c := w.next()
	if c.event != event || c.number != number {
		w.Fatalf("attempt %d of %s, want %d of %s", c.number, c.event, number, event)
	}
	return c
}

// inHand waits until a worker has an event in hand.
func (w *world) inHand(r *running) {
	w.Helper()
	w.until("an event is in hand", func() bool { return len(r.ordered.inHand()) == 1 })
}

// gone waits until the ordered endpoint has no consumer any more.
func (w *world) gone() {
	w.Helper()
	w.until("the consumer is gone", func() bool { return len(w.eras()) == 0 })
	w.stateless("crm")
}

// Whatever fails and whoever dies, what arrives is what was published, in that
// order; only the event that was being attempted may come again.
func TestOrderedKeepsTheOrder(t *testing.T) {
	t.Parallel()
	w := newWorld(t, setting{})
	w.endpoint("crm", inOrderOf, every(time.Millisecond, 100))
	w.answer(func(ctx context.Context, _ call) delivery.Result {
		pause(ctx, rand.N(2*time.Millisecond))
		if rand.N(10) < 3 {
			return delivery.Result{Status: 408} // which no gate minds
		}
		return delivery.Result{Status: 200}
	})
	const events, replicas = 240, 6
	c := &crew{}
	type replica struct {
		nc  *nats.Conn
		run *running
	}
	var all []replica
	for i := range replicas {
		nc, js := w.connect(w.server.ClientURL())
		w.replicas = mate{c, strconv.Itoa(i)}
		all = append(all, replica{nc, w.runOn(js, 4, 50*time.Millisecond, orderedAckWait(600*time.Millisecond))})
	}
	w.publishMany("order.created", "evt_", events)

	var got []string
	stage := func(owner, attempts int) { // lets one own the endpoint for some attempts
		alive := []string{}
		for i := owner; i < replicas; i++ {
			alive = append(alive, strconv.Itoa(i))
		}
		c.set(alive...)
		for range attempts {
			got = append(got, w.next().event)
		}
	}
	stage(0, 60)
	all[0].nc.Close() // killed: the others hear of it later than it dies
	stage(1, 60)
	all[1].run.cancel() // stopped
	stage(2, 60)
	c.set("3", "2") // it moves while both live
	stage(3, 60)
	all[3].nc.Close()
	stage(4, 30)
	for slices.Index(got, "evt_"+strconv.Itoa(events-1)) < 0 {
		got = append(got, w.next().event)
	}
	w.drained()
	next, repeats := 0, 0
	for _, event := range got {
		switch event {
		case "evt_" + strconv.Itoa(next):
			next++
		case "evt_" + strconv.Itoa(next-1):
			repeats++
		default:
			t.Fatalf("%s came when evt_%d was next", event, next)
		}
	}
	if next != events || repeats == 0 {
		t.Errorf("%d events and %d repeats, want %d and some", next, repeats, events)
	}
}

// The number of an attempt, the history and the time of the next attempt are
// known to whoever comes after.
func TestOrderedStateOutlivesTheReplica(t *testing.T) {
	t.Parallel()
	w := newWorld(t, setting{})
	const wait = 5 * time.Second // after the second attempt, within which the replica is stopped
	w.endpoint("crm", inOrderOf, func(d *endpoint.Document) {
		d.Retry = retry.Policy{Schedule: []time.Duration{0, wait, 0}, Jitter: retry.JitterNone}
	})
	w.answer(status(408))
	r := w.run(4, time.Second)
	w.publish("order.created", "evt_1", "body")
	w.publish("order.created", "evt_2", "body")
	w.expect("evt_1", 1)
	w.expect("evt_1", 2)
	w.until("the state is stored", func() bool { return w.states("crm") == 1 })
	w.inHand(r)
	r.stop()
	w.quiet()
	if n := w.states("crm"); n != 1 {
		t.Errorf("%d states are stored, want the last one", n)
	}
	r = w.run(4, time.Second)
	c := w.expect("evt_1", 3)
	if h := c.state.History; c.body != "body" || len(h) != 2 || c.at.Before(h[1].At.Add(wait)) {
		t.Errorf("attempt with %q at %s with the history %+v", c.body, c.at, h)
	}
	w.answer(status(200))
	w.expect("evt_1", 4)
	if c := w.expect("evt_2", 1); len(c.state.History) != 0 {
		t.Errorf("the next event has a history of %d", len(c.state.History))
	}
	w.drained()
	w.quiet()
	r.stop()
}

// An event that fails for good stays first, its endpoint is disabled, and when
// somebody enables that, it is attempted anew, by whatever replica.
func TestOrderedHolds(t *testing.T) {
	t.Parallel()
	w := newWorld(t, setting{})
	w.endpoint("crm", inOrderOf, every(time.Millisecond, 2))
	w.answer(status(408))
	r := w.run(4, time.Second)
	w.publish("order.created", "evt_1", "body")
	w.publish("order.created", "evt_2", "body")
	w.expect("evt_1", 1)
	w.expect("evt_1", 2)
	w.until("it is disabled", func() bool { return len(w.endpoints.reasons()) == 1 })
	why := w.endpoints.reasons()[0]
	for _, part := range []string{"acme/crm: ", "evt_1", "attempts_exhausted after 2 attempts", "jethook endpoint enable acme/crm"} {
		if !strings.Contains(why, part) {
			t.Errorf("the reason %q lacks %q", why, part)
		}
	}
	w.quiet() // though this replica has not heard of it yet
	w.endpoint("crm", inOrderOf, every(time.Millisecond, 3))
	w.until("another change does not pass for that", func() bool { return len(w.endpoints.reasons()) == 2 })
	w.endpoint("crm", inOrderOf, every(time.Millisecond, 2), whileDisabled)
	w.inHand(r)
	r.stop()
	w.run(4, time.Second)
	enabled := availableSince(time.Now())
	w.endpoint("crm", inOrderOf, every(time.Millisecond, 2), enabled)
	if c := w.expect("evt_1", 1); len(c.state.History) != 2 || c.state.Dead != "" {
		t.Errorf("the new round begins with %+v", c.state)
	}
	w.expect("evt_1", 2)
	w.until("it is disabled again", func() bool { return len(w.endpoints.reasons()) == 3 })
	w.endpoint("crm", inOrderOf, every(time.Millisecond, 2), whileDisabled, enabled)
	w.answer(status(200))
	w.endpoint("crm", inOrderOf, availableSince(time.Now()))
	if c := w.expect("evt_1", 1); len(c.state.History) != 4 {
		t.Errorf("the new round begins with %+v", c.state)
	}
	w.expect("evt_2", 1)
	w.drained()
	if n := w.state(w.names.DeadLetters()).Msgs; n != 0 {
		t.Errorf("%d dead letters", n)
	}
}

// A replica that dies when it has stored that an event failed for good leaves it to
// the next one to disable the endpoint: nobody asked for another try.
func TestOrderedHoldIsCutOff(t *testing.T) {
	t.Parallel()
	w := newWorld(t, setting{})
	w.endpoint("crm", inOrderOf, every(time.Millisecond, 2), availableSince(time.Now()))
	w.answer(status(408))
	disabling := &cannotDisable{Documents: w.endpoints}
	r := w.run(4, time.Second, func(w *Worker) { w.documents = disabling })
	w.publish("order.created", "evt_1", "body")
	w.expect("evt_1", 1)
	w.expect("evt_1", 2)
	w.until("it was tried", func() bool { return disabling.tried.Load() > 0 })
	r.stop()
	w.run(4, time.Second)
	w.until("it is disabled", func() bool { return len(w.endpoints.reasons()) == 1 })
	w.quiet()
	w.endpoint("crm", inOrderOf, every(time.Millisecond, 2), availableSince(time.Now()))
	w.expect("evt_1", 1)
	w.expect("evt_1", 2)
	w.until("it is disabled again", func() bool { return len(w.endpoints.reasons()) == 2 })
	w.quiet()
}

// cannotDisable is a bucket that cannot be written.
type cannotDisable struct {
	Documents
	tried atomic.Int32
}

func (c *cannotDisable) Disable(context.Context, string, string) (bool, error) {
	c.tried.Add(1)
	return false, errNotForThis
}

func (e *endpoints) reasons() []string {
	e.mu.Lock()
	defer e.mu.Unlock()
	return slices.Clone(e.disabled)
}

// With on_failure: skip it becomes a dead letter, and those behind it go on.
func TestOrderedSkips(t *testing.T) {
	t.Parallel()
	w := newWorld(t, setting{})
	w.endpoint("crm", inOrderOf, skips, every(time.Millisecond, 2))
	w.answer(func(_ context.Context, c call) delivery.Result {
		return delivery.Result{Status: map[string]int{"evt_1": 408, "evt_2": 422, "evt_3": 200}[c.event]}
	})
	w.run(4, time.Second)
	for i := range 3 {
		w.publish("order.created", fmt.Sprintf("evt_%d", i+1), "body")
	}
	w.expect("evt_1", 1)
	w.expect("evt_1", 2)
	w.expect("evt_2", 1)
	w.expect("evt_3", 1)
	w.drained()
	letters := w.dead(2)
	for i, want := range []delivery.Reason{delivery.AttemptsExhausted, delivery.Rejected} {
		if l := letters[i]; l.Reason != want || l.EventID != fmt.Sprintf("evt_%d", i+1) || len(l.History) != 2-i {
			t.Errorf("dead letter %+v, want one for %s", l, want)
		}
		stream, err := w.js.Stream(w.ctx, w.names.DeadLetters())
		w.must(err)
		if m, err := stream.GetMsg(w.ctx, letters[i].Seq); err != nil || string(m.Data) != "body" {
			t.Errorf("its body is %q, %v", m.Data, err)
		}
	}
	w.quiet()
}
