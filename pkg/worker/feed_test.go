package worker

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/nats-io/nats.go/jetstream"
	"github.com/nats-io/nuid"

	"jethook/pkg/delivery"
	"jethook/pkg/endpoint"
	"jethook/pkg/gate"
	"jethook/pkg/hold"
	"jethook/streams"
)

// holdFor makes endpoints that are paused, and holds n deliveries for each: the
// first of each, the second of each, and so on.
func (w *world) holdFor(n int, ids []string, change ...func(*endpoint.Document)) {
	w.Helper()
	for _, id := range ids {
		w.endpoint(id, append([]func(*endpoint.Document){paused, forType(id)}, change...)...)
	}
	store := hold.NewStore(w.js, w.names)
	for i := range n {
		futures := make([]jetstream.PubAckFuture, len(ids))
		for j, id := range ids {
			d := given(id, fmt.Sprintf("%s_%d", id, i), delivery.State{})
			m, err := store.Message(&d, streams.HeldNew, nuid.Next())
			w.must(err)
			futures[j], err = w.js.PublishMsgAsync(m)
			w.must(err)
		}
		w.published(futures)
	}
}

func forType(eventType string) func(*endpoint.Document) {
	return func(d *endpoint.Document) { d.Events = []string{eventType} }
}

func names(prefix string, n int) []string {
	ids := make([]string, n)
	for i := range ids {
		ids[i] = fmt.Sprintf("%s%d", prefix, i)
	}
	return ids
}

func slowly(perSecond float64) func(*endpoint.Document) {
	return func(d *endpoint.Document) { d.RateLimit = &endpoint.RateLimit{PerSecond: perSecond, Burst: 1} }
}

// resume makes endpoints anew that are not paused.
func (w *world) resume(ids []string, change ...func(*endpoint.Document)) {
	w.Helper()
	for _, id := range ids {
		w.endpoint(id, append([]func(*endpoint.Document){forType(id)}, change...)...)
	}
}

// More endpoints than can be fed at a time wait long for their rate; another one
// gets what is held for it meanwhile.
func TestLowRatesKeepNoPlaces(t *testing.T) {
	t.Parallel()
	w := newWorld(t, setting{})
	r := w.run(16, time.Second)
	low, well := names("low", mostFeeds+2), []string{"well"}
	w.holdFor(3, low, slowly(0.001))
	w.holdFor(3, well)
	w.resume(low, slowly(0.001))
	for range low {
		w.next() // what the burst lets through
	}
	w.until("they leave their places", func() bool {
		r.keeper.mu.Lock()
		defer r.keeper.mu.Unlock()
		for _, h := range r.keeper.known {
			if h.serving.busy {
				return false
			}
		}
		return true
	})
	w.resume(well)
	for range 3 {
		if c := w.next(); c.endpoint != "well" {
			t.Errorf("%s came for %s at a rate of one in 1,000 s", c.event, c.endpoint)
		}
	}
}

// The same of endpoints that have as many attempts under way as they may, which
// take long.
func TestLongAttemptsKeepNoPlaces(t *testing.T) {
	t.Parallel()
	w := newWorld(t, setting{})
	r := w.run(1024, 0)
	one := func(d *endpoint.Document) { d.MaxInFlight, d.Timeout = 1, endpoint.Duration(time.Hour) }
	long, well := names("long", mostFeeds+2), []string{"well"}
	w.holdFor(2, long, one)
	w.holdFor(3, well)
	w.answer(func(ctx context.Context, c call) delivery.Result {
		if c.endpoint == "well" {
			return delivery.Result{Status: 200}
		}
		return hang(nil)(ctx, c)
	})
	w.resume(long, one)
	for range long {
		w.next()
	}
	w.resume(well)
	for range 3 {
		if c := w.next(); c.endpoint != "well" {
			t.Errorf("%s came for %s, which has one under way", c.event, c.endpoint)
		}
	}
	r.stop()
}

// A feed that is away until its rate lets it go on finds its turn kept: fresh
// deliveries, however many, do not take it.
func TestFreshDeliveriesTakeNoFeedsTurn(t *testing.T) {
	t.Parallel()
	w := newWorld(t, setting{})
	w.run(16, time.Second)
	round := 0
	w.until("a feed has its turns", func() bool { round++; return w.fedInTurn(fmt.Sprintf("crm%d", round)) })
}

// fedInTurn feeds back what is held for an endpoint while it is flooded, and fails if
// fresh ones take the feed's turns. It reports false where a stall leaves that open.
func (w *world) fedInTurn(id string) bool {
	w.Helper()
	const n = 8
	w.holdFor(n, []string{id}, slowly(2))
	resumed := time.Now()
	w.resume([]string{id}, slowly(2))
	nextOne := func() call {
		c := w.next()
		for c.endpoint != id { // left of the flood before
			c = w.next()
		}
		return c
	}
	got, fresh := []string{nextOne().event}, 0
	defer w.flood(id)()
	for len(got) < n {
		if c := nextOne(); strings.HasPrefix(c.event, "fresh") {
			fresh++ // a feed that is late to leave may lose a turn
		} else {
			got = append(got, c.event)
		}
		if fresh > n/2 && time.Since(resumed) > time.Minute {
			w.Fatalf("%d fresh ones came before %d that were held", fresh, n-len(got))
		}
	}
	if fresh <= n/2 && slices.Equal(got, names(id+"_", n)) {
		return true
	}
	// On a machine that stalls the client gives up a fetch after a second. What was on
	// its way comes again after AckWait, and the fresh ones have the turns meanwhile.
	if took := time.Since(resumed); took < 10*time.Second {
		w.Fatalf("within %v %d fresh ones came, and of what was held %q", took, fresh, got)
	}
	return false
}

// flood puts deliveries for an endpoint until it is stopped.
func (w *world) flood(id string) (stop func()) {
	ctx, cancel := context.WithCancel(w.ctx)
	flooded := make(chan struct{})
	go func() {
		defer close(flooded)
		for i := 0; ctx.Err() == nil; i++ {
			_, err := w.tryPut(ctx, given(id, fmt.Sprintf("fresh_%d", i), delivery.State{}))
			if err != nil && ctx.Err() == nil {
				w.Error(err)
				return
			}
			pause(ctx, 5*time.Millisecond)
		}
	}()
	return func() { cancel(); <-flooded }
}

// While the endpoints may be out of date, nothing is fed back, not even by a feed
// that is under way, and nothing is probed or given up.
func TestOldDocumentsDecideNothing(t *testing.T) {
	t.Parallel()
	w := newWorld(t, setting{})
	w.holdFor(20, []string{"crm"})
	w.endpoint("old", paused, forType("old"), func(d *endpoint.Document) { d.ExpireAfter = endpoint.Duration(time.Second) })
	r := w.run(16, time.Second)
	w.answer(func(context.Context, call) delivery.Result {
		w.endpoints.behind.Store(true)
		return delivery.Result{Status: 200}
	})
	w.resume([]string{"crm"}, func(d *endpoint.Document) { d.MaxInFlight = 1 })
	w.next()
	w.until("it is acked", func() bool { return w.holds("crm") == 19 })
	w.answer(status(200))
	for _, id := range []string{"old", "down"} {
		w.put(given(id, id, delivery.State{}))
	}
	w.endpoint("down", forType("down"), every(time.Hour, 3))
	w.must(r.fleet.Open(w.ctx, "acme/down", gate.Opened{Why: "a test", Since: time.Now(), FailingSince: time.Now()}))
	later := time.Now().Add(1500 * time.Millisecond)
	asked := w.endpoints.synced.Load()
	w.until("it is looked at often", func() bool { return w.endpoints.synced.Load() >= asked+20 && time.Now().After(later) })
	w.quiet()
	if n := w.state(w.names.DeadLetters()).Msgs; n > 0 {
		t.Errorf("%d dead letters", n)
	}
	w.endpoints.behind.Store(false)
	for range 20 {
		w.next()
	}
	w.dead(1)
	w.settled()
	w.quiet()
}

// places has a replica open so many feeds at most.
func places(n int) func(*Worker) {
	return func(w *Worker) { w.keeper.feeds.most = func() int { return n } }
}

// feedsOpen returns how many consumers there are that feed back.
func (w *world) feedsOpen() int {
	return w.state(w.names.Deliveries()).Consumers - 1
}

// However many endpoints are fed back by however many replicas, slowly or not, no
// more feeds are open than there are places, and everything comes.
func TestFeedsAreBounded(t *testing.T) {
	t.Parallel()
	w := newWorld(t, setting{ackWait: time.Second})
	const most, each = 8, 3
	ids := slices.Concat(names("low", 8), names("quick", 8))
	slow := func(d *endpoint.Document) {
		if strings.HasPrefix(d.ID, "low") {
			slowly(1)(d)
		}
	}
	w.holdFor(each, ids, slow)
	both := &crew{}
	both.set("a", "b")
	for _, self := range both.alive {
		w.begin(w.js, 16, time.Second, places(most/2), func(worker *Worker) { worker.replicas = mate{both, self} })
	}
	w.resume(ids, slow)
	came := map[string]int{}
	for len(came) < each*len(ids) {
		came[w.next().event]++
		if n := w.feedsOpen(); n > most {
			t.Fatalf("%d feeds are open, want %d at most", n, most)
		}
	}
	w.settled()
}

// One whose attempts overlap, so that its feed is always in use, lets another have
// its place when its turn is over.
func TestABusyFeedLetsOthersHaveTheirTurn(t *testing.T) {
	t.Parallel()
	w := newWorld(t, setting{})
	const many = 3000
	w.holdFor(many, []string{"busy"})
	w.holdFor(1, []string{"other"})
	w.answer(func(ctx context.Context, c call) delivery.Result {
		if c.endpoint == "busy" {
			pause(ctx, 50*time.Millisecond)
		}
		return delivery.Result{Status: 200}
	})
	four := func(d *endpoint.Document) { d.MaxInFlight = 4 }
	w.run(64, time.Second, places(1))
	w.resume([]string{"busy"}, four)
	w.next()
	w.resume([]string{"other"})
	for n := 1; w.next().endpoint != "other"; n++ {
		if n > many/2 {
			t.Fatalf("%d of %d came before the other", n, many)
		}
	}
}

// A feed that cannot be opened, because others took all consumers, is tried again
// once in a while, and opened when there is room.
func TestNoConsumersLeft(t *testing.T) {
	t.Parallel()
	w := newWorld(t, setting{})
	ids := names("ep", 20)
	w.holdFor(1, ids)
	f := newFeeds(hold.NewStore(w.js, w.names), func() int { return 1 })
	refusing := &refusing{JetStream: w.js}
	f.store = hold.NewStore(refusing, w.names)
	for i, id := range ids {
		if _, err := f.take(w.ctx, "acme", id); err == nil {
			t.Error("it is open")
		}
		if i == 0 {
			f.failed = f.failed.Add(time.Hour) // however long this takes, it has just failed
		}
	}
	if n := refusing.refused.Load(); n != 1 {
		t.Errorf("%d were tried to open at once", n)
	}
	f.failed = f.failed.Add(-time.Hour)
	w.until("one is tried again", func() bool {
		_, err := f.take(w.ctx, "acme", "ep0")
		return err != nil && refusing.refused.Load() == 2
	})
	refusing.room.Store(true)
	w.until("one is open", func() bool { _, err := f.take(w.ctx, "acme", "ep0"); return err == nil })
}

type refusing struct {
	jetstream.JetStream
	room    atomic.Bool
	refused atomic.Int32
}

func (r *refusing) CreateOrUpdateConsumer(ctx context.Context, stream string, c jetstream.ConsumerConfig) (jetstream.Consumer, error) {
	if r.room.Load() {
		return r.JetStream.CreateOrUpdateConsumer(ctx, stream, c)
	}
	r.refused.Add(1)
	return nil, &jetstream.APIError{Code: 400, ErrorCode: 10026, Description: "maximum consumers limit reached"}
}

// A tenant has three quarters of the places at most, which it takes from nobody
// else; what is in use is nobody's to take.
func TestPlacesOfTenants(t *testing.T) {
	t.Parallel()
	w := newWorld(t, setting{})
	f := newFeeds(hold.NewStore(w.js, w.names), func() int { return 64 }) // 8 places
	old := func(name string) { f.open[name].close = time.Now() }
	take := func(tenant, id string) error { _, err := f.take(w.ctx, tenant, id); return err }
	w.must(take("globex", "a"))
	f.leave("globex/a")
	old("globex/a")
	for _, id := range names("ep", 6) {
		w.must(take("acme", id))
	}
	if err := take("acme", "more"); !errors.Is(err, errNoPlace) {
		t.Errorf("a seventh of one tenant: %v", err)
	}
	f.leave("acme/ep3")
	if o := f.open["acme/ep3"]; o.close.Sub(o.since) < openFor {
		t.Errorf("it stays open for %v, want %v", o.close.Sub(o.since), openFor)
	}
	f.open["acme/ep3"].close = time.Now().Add(time.Hour) // however long this takes, it was just opened
	if err := take("acme", "more"); !errors.Is(err, errNoPlace) {
		t.Errorf("in the place of one that was just opened: %v", err)
	}
	old("acme/ep3")
	w.must(take("acme", "more"))
	if f.open["acme/ep3"] != nil || f.open["globex/a"] == nil || len(f.open) != 7 || w.feedsOpen() != 7 {
		t.Errorf("%d are open, and %d consumers", len(f.open), w.feedsOpen())
	}
	w.must(take("globex", "b"))
	w.must(take("initech", "a")) // in the place of one that is not in use
	if f.open["globex/a"] != nil || w.feedsOpen() != 8 {
		t.Errorf("%d consumers", w.feedsOpen())
	}
}

// More replicas have fewer feeds each, and those that are too many are closed, but
// for one that has something handed out.
func TestFeedsAreClosedWhenReplicasJoin(t *testing.T) {
	t.Parallel()
	w := newWorld(t, setting{})
	replicas := 64
	w.holdFor(1, []string{"ep0"})
	f := newFeeds(hold.NewStore(w.js, w.names), func() int { return replicas })
	feed, err := f.take(w.ctx, "acme", "ep0")
	w.must(err)
	var handed []jetstream.Msg
	w.until("one is handed out", func() bool { // not at once where the client gave a fetch up
		handed, err = feed.Fetch(w.ctx, 1, 0)
		w.must(err)
		return len(handed) == 1
	})
	for _, id := range names("t", 7) {
		_, err := f.take(w.ctx, id, "ep")
		w.must(err)
	}
	for name, o := range f.open {
		f.leave(name)
		o.close = time.Now()
	}
	f.trim(w.ctx)
	if n := w.feedsOpen(); n != 8 {
		t.Errorf("%d are open, want 8", n)
	}
	replicas = feedsOfAll
	f.trim(w.ctx)
	if n := w.feedsOpen(); n != 1 || f.open["acme/ep0"] == nil {
		t.Errorf("%d are open, want the one from which something is handed out", n)
	}
	w.must(handed[0].Ack())
}
