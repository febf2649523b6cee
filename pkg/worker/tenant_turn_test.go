package worker

import (
	"context"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"jethook/pkg/delivery"
	"jethook/pkg/endpoint"
	"jethook/pkg/retry"
)

// limited begins a worker with a rate for each tenant.
func limited(perSecond float64) func(*Worker) {
	return func(w *Worker) { w.tenantRate = perSecond }
}

func ofTenant(tenant string) func(*endpoint.Document) {
	return func(d *endpoint.Document) { d.Tenant = tenant }
}

// publishFor publishes n events of a tenant, with the ids TENANT0, TENANT1 and
// so on.
func (w *world) publishFor(n int, tenant string) {
	w.Helper()
	futures := make([]jetstream.PubAckFuture, n)
	for i := range futures {
		m := nats.NewMsg("webhooks.events." + tenant + ".order.created")
		m.Header.Set(jetstream.MsgIDHeader, tenant+strconv.Itoa(i))
		var err error
		futures[i], err = w.js.PublishMsgAsync(m)
		w.must(err)
	}
	w.published(futures)
}

// spend takes the tokens that acme has, and lets what is new stand behind what
// waits until something does, however late that is.
func (r *running) spend() {
	b := r.main().tenants.bucket("acme")
	for b.allow() {
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	b.behind = whenever()
}

// inTime fails if more attempts were made within some time than a rate and a
// second's worth allow.
func inTime(t *testing.T, perSecond float64, at []time.Time) {
	t.Helper()
	slices.SortFunc(at, time.Time.Compare)
	for _, span := range []time.Duration{100 * time.Millisecond, 500 * time.Millisecond, 2 * time.Second} {
		for i := range at {
			j, _ := slices.BinarySearchFunc(at, at[i].Add(span), time.Time.Compare)
			// A batch may be late by what a busy machine takes.
			if most := int(perSecond * (1 + span.Seconds() + 0.5)); j-i > most {
				t.Fatalf("%d attempts within %v, want %d at most", j-i, span, most)
			}
		}
	}
}

// One tenant floods. It fills neither what a consumer has pending nor the slots,
// and another's events come at once; the flood comes at its rate, in the order
// of publishing, and whole.
func TestAFloodWaitsAndHarmsNobody(t *testing.T) {
	t.Parallel()
	const perSecond, flood, others = 100, 500, 60
	const least = (flood - perSecond) * time.Second / perSecond
	var took time.Duration
	for tries := 0; tries == 0 || tries < 3 && took >= 2*least; tries++ { // a machine may stand still
		took = floods(t, perSecond, flood, others)
	}
	if took < least || took >= 2*least {
		t.Errorf("the flood took %v, want %v", took, least)
	}
}

// floods has a tenant publish more than its rate, and another less, and returns how
// long it took until all had come.
func floods(t *testing.T, perSecond float64, flood, others int) (took time.Duration) {
	t.Helper()
	const slots = 16
	w := newWorld(t, setting{})
	w.unlogged = true // so that pending is what waits for the rate, and not for the log
	w.endpoint("loud", ofTenant("loud"))
	w.endpoint("quiet", ofTenant("quiet"))
	w.publishFor(flood, "loud")
	began := time.Now()
	r := w.run(slots, time.Second, limited(perSecond))
	pending := 0
	w.until("the flood is read", func() bool {
		pending = max(pending, w.fanout().NumAckPending, w.deliver().NumAckPending)
		return w.fannedOut()
	})
	if pending > flood/4 {
		t.Errorf("%d messages were pending", pending)
	}
	if n := r.busy(); n > slots/2 {
		t.Errorf("%d slots are taken while the flood waits", n)
	}
	w.publishFor(others, "quiet")
	var loud []call
	var at []time.Time
	first, last := 0, 0 // of the flood, when the other's came
	for quiet := 0; len(loud) < flood || quiet < others; {
		switch c := w.next(); c.endpoint {
		case "quiet":
			if quiet++; quiet == 1 {
				first = len(loud)
			}
			last = len(loud)
		case "loud":
			loud, at = append(loud, c), append(at, c.at)
		}
	}
	took = time.Since(began)
	inTime(t, perSecond, at)
	if took < 10*time.Second { // then what a stalled client let go comes again, behind others
		if last-first > flood/2 {
			t.Errorf("the other's events came after %d up to %d of the flood", first, last)
		}
		inSequence(t, loud, 10*slots) // what is stored at the same time may change places
	}
	w.settled()
	w.quiet()
	r.stop()
	t.Logf("the other's came after %d up to %d of the flood, which took %v; %d pending at most", first, last, took, pending)
	return took
}

// inSequence fails if an event came after one that was published by so many later.
func inSequence(t *testing.T, calls []call, slack int) {
	t.Helper()
	last := 0
	for i, c := range calls {
		n, err := strconv.Atoi(strings.TrimLeft(c.event, "abcdefghijklmnopqrstuvwxyz"))
		if err != nil || n < last-slack {
			t.Fatalf("event %d came as number %d, after event %d (%v)", n, i, last, err)
		}
		last = max(last, n)
	}
}

// Replicas keep the rate together, whoever of them holds what.
func TestReplicasShareATenantsRate(t *testing.T) {
	t.Parallel()
	w := newWorld(t, setting{})
	const perSecond, flood = 200, 2400
	w.endpoint("crm")
	w.publishFor(flood, "acme")
	both := &crew{}
	both.set("a", "b")
	for _, self := range both.alive {
		w.begin(w.js, 8, time.Second, limited(perSecond), func(worker *Worker) { worker.replicas = mate{both, self} })
	}
	var at []time.Time
	for range flood {
		at = append(at, w.next().at)
	}
	inTime(t, perSecond, at)
	if took := at[flood-1].Sub(at[0]); took > 20*time.Second { // half the rate takes longer
		t.Errorf("%d at %d/s took %v", flood, perSecond, took)
	}
	w.settled()
	w.quiet()
}

// Many endpoints of a tenant get their turns, and leave the places of feeds to
// others while they wait for them.
func TestATenantsEndpointsTakeTurns(t *testing.T) {
	t.Parallel()
	w := newWorld(t, setting{})
	const perSecond, endpoints, each = 20, 16, 4
	for i := range endpoints {
		w.endpoint(fmt.Sprintf("ep%d", i), paused)
	}
	r := w.run(8, time.Second, limited(perSecond))
	w.publishFor(each, "acme")
	w.until("all is held", func() bool { return w.state(w.names.Deliveries()).Msgs == endpoints*each })
	r.spend()
	for i := range endpoints {
		w.endpoint(fmt.Sprintf("ep%d", i))
	}
	feeds := func() (n int) {
		r.keeper.mu.Lock()
		defer r.keeper.mu.Unlock()
		for _, h := range r.keeper.known {
			if h.serving.busy {
				n++
			}
		}
		return n
	}
	count := map[string]int{}
	const most = perSecond / 2
	looks, many := 0, 0
	look := time.NewTicker(10 * time.Millisecond)
	defer look.Stop()
	for came := 0; came < endpoints*each; {
		select {
		case <-look.C:
			if looks++; feeds() > most {
				many++
			}
		case c := <-w.sender.calls:
			if count[c.endpoint]++; came > (each-1)*endpoints && len(count) < endpoints {
				t.Errorf("after %d, %d of %d endpoints have had any", came, len(count), endpoints)
			}
			came++
		case <-w.ctx.Done():
			t.Fatalf("%d attempts came", came)
		}
	}
	if many > looks/2 { // after a stall the turns of all have come at once, for a moment
		t.Errorf("more than %d feeds waited at a time in %d of %d looks", most, many, looks)
	}
	w.settled()
	w.quiet()
}

// A tenant far above its rate takes few of the consumers that the server has for a
// stream, however many endpoints it has: with its turn comes the feed, not before.
func TestATenantTakesFewFeeds(t *testing.T) {
	t.Parallel()
	w := newWorld(t, setting{})
	const endpoints, most = 100, 40
	for i := range endpoints {
		w.endpoint(fmt.Sprintf("ep%d", i), paused)
	}
	r := w.run(8, time.Second, limited(10))
	w.publishFor(1, "acme")
	w.until("all is held", func() bool { return w.state(w.names.Deliveries()).Msgs == endpoints })
	r.spend()
	for i := range endpoints {
		w.endpoint(fmt.Sprintf("ep%d", i))
	}
	for range most {
		w.next()
	}
	n := w.state(w.names.Deliveries()).Consumers
	if fed := most + len(w.sender.calls); n > fed+tenantFeeds+1 { // counted afterwards: feeding goes on
		t.Errorf("%d consumers after %d of %d endpoints were fed", n, fed, endpoints)
	}
}

// The time in which a delivery waited for nothing but its tenant's rate is none in
// which its endpoint was down.
func TestWaitingForTheRateIsNotBeingDown(t *testing.T) {
	now := time.Now()
	terms := delivery.Terms{Retry: retry.Policy{Schedule: []time.Duration{time.Second}}, ExpireAfter: time.Hour}
	waited := delivery.Delivery{State: delivery.State{First: now.Add(-time.Minute)}}
	opened := now.Add(-500 * time.Millisecond)
	if down := (&Worker{tenantRate: 1}).down(&waited, terms, opened); !down.Equal(opened.Add(time.Second)) {
		t.Errorf("given up %s after the gate opened, want 1s", down.Sub(opened))
	}
	if down := (&Worker{}).down(&waited, terms, opened); down.After(now) {
		t.Error("without a rate, the window begins when it was first held")
	}
	waited.State.Attempts = 1
	if down := (&Worker{tenantRate: 1}).down(&waited, terms, opened); down.After(now) {
		t.Error("what was attempted waited for its endpoint")
	}
}

// An event for very many endpoints whose tenant is above its rate is held at
// once, and not stored twice.
func TestAnEventForManyEndpointsIsHeldAtOnce(t *testing.T) {
	t.Parallel()
	w := newWorld(t, setting{})
	for i := range direct + 1 {
		w.endpoint(fmt.Sprintf("ep%d", i))
	}
	r := w.run(8, time.Second, limited(10))
	r.spend()
	w.publish("order.created", "evt_1", "{}")
	w.until("all is held", w.fannedOut)
	if s := w.state(w.names.Deliveries()); s.LastSeq != direct+1 {
		t.Errorf("%d messages were stored for %d deliveries", s.LastSeq, direct+1)
	}
	for range direct + 1 {
		w.next()
	}
	w.settled()
}

// What failed is tried again whatever the tenant's rate: that counts what the
// tenant publishes.
func TestRetriesAreFree(t *testing.T) {
	t.Parallel()
	w := newWorld(t, setting{})
	w.endpoint("crm")
	w.answer(func(_ context.Context, c call) delivery.Result {
		if c.number < 4 {
			return delivery.Result{Status: 500}
		}
		return delivery.Result{Status: 200}
	})
	w.run(8, time.Second, limited(0.01))
	w.publish("order.created", "evt_1", "{}")
	for n := 1; n <= 4; n++ {
		if c := w.next(); c.number != n {
			t.Fatalf("attempt %d, want %d", c.number, n)
		}
	}
	w.settled()
}

// A retry that was held, for whatever reason, is fed back without a token.
func TestHeldRetriesAreFree(t *testing.T) {
	t.Parallel()
	w := newWorld(t, setting{})
	w.endpoint("crm", paused)
	r := w.run(8, time.Second, limited(5))
	for i := range 20 {
		w.put(given("crm", fmt.Sprintf("evt_%d", i), delivery.State{Attempts: 1, First: time.Now()}))
	}
	w.held(20)
	w.endpoint("crm")
	for range 20 {
		w.next()
	}
	w.settled()
	if b := r.main().tenants.bucket("acme"); !b.allow() {
		t.Error("the tenant paid for retries")
	}
}

// An ordered endpoint waits for its tenant's rate with its event in hand, and
// keeps the order.
func TestOrderedWaitsForItsTenant(t *testing.T) {
	t.Parallel()
	w := newWorld(t, setting{})
	w.endpoint("crm", inOrderOf)
	r := w.run(8, time.Second, limited(10))
	began := time.Now()
	w.publishFor(25, "acme")
	for i := range 25 {
		w.expect("acme"+strconv.Itoa(i), 1)
	}
	if took := time.Since(began); took < 1400*time.Millisecond {
		t.Errorf("25 events at 10/s took %v", took)
	}
	w.drained()
	r.stop()
}

// Replicas that die while a flood waits lose nothing of it.
func TestAFloodSurvivesKills(t *testing.T) {
	t.Parallel()
	w := newWorld(t, setting{ackWait: time.Second})
	w.endpoint("crm")
	const flood = 300
	var far farSide
	w.answer(far.answer)
	w.publishFor(flood, "acme")
	for i := range 4 {
		js := w.mortal(int64(20 + 30*i)) // dies when it has held so many
		r := w.begin(js, 8, 0, limited(40))
		select {
		case <-js.dead:
		case <-time.After(time.Second):
		}
		r.stop()
	}
	w.run(16, time.Second, limited(400))
	w.until("everything has arrived", func() bool { return far.distinct() == flood })
	w.settled()
}

// What a rate makes wait is counted.
func TestTenantWaitsAreCounted(t *testing.T) {
	t.Parallel()
	w := newWorld(t, setting{})
	w.endpoint("crm")
	// Its gate lets all of them go at a time: none waits for anything but the rate.
	const n = 8
	r := w.run(8*n, time.Second, limited(50))
	r.spend()
	w.publishFor(n, "acme")
	for range n {
		w.next()
	}
	w.settled()
	waited := float64(w.state(w.names.Deliveries()).LastSeq) // nothing else is stored
	families, err := r.metrics.Registry.Gather()
	w.must(err)
	for _, f := range families {
		if f.GetName() != "jethook_tenant_waits_total" {
			continue
		}
		if n := f.GetMetric()[0].GetCounter().GetValue(); n != waited || n == 0 {
			t.Errorf("%v are counted of %v that had to wait", n, waited)
		}
		return
	}
	t.Error("nothing is counted")
}

// A replica that keeps a place in its tenant's line for what another has fed
// back meanwhile gives it up.
func TestAPlaceForNothingIsGivenUp(t *testing.T) {
	t.Parallel()
	w := newWorld(t, setting{})
	w.endpoint("crm")
	r := w.run(8, time.Second, limited(0.01))
	b := r.main().tenants.bucket("acme")
	r.keeper.mu.Lock()
	h := r.keeper.holding("acme/crm")
	h.serving.next, h.giving.next = whenever(), whenever()
	h.ticket = b.reserve(1)
	r.keeper.mu.Unlock()
	_, err := r.keeper.list(w.ctx)
	w.must(err)
	if !b.allow() {
		t.Error("its token is gone")
	}
}

// Tokens of what does not go after all are there for others: when the gate
// holds a delivery, and when a feed finds nothing.
func TestUnusedTokensAreGivenBack(t *testing.T) {
	t.Parallel()
	w := newWorld(t, setting{})
	w.endpoint("crm", func(d *endpoint.Document) { d.RateLimit = &endpoint.RateLimit{PerSecond: 0.01, Burst: 1} })
	tokens := func(r *running) float64 { return r.main().tenants.bucket("acme").tokens.Tokens() }
	r := w.run(1, time.Second, limited(10))
	w.publishFor(3, "acme")
	w.held(2)
	if n := tokens(r); n < 8.9 {
		t.Errorf("%v tokens of 10 are left after one attempt", n)
	}
	r.stop()
	w.next()
	w.quiet()

	r = w.run(8, time.Second, limited(1))
	w.endpoint("crm")
	w.until("nothing is held", func() bool { return w.holds("crm") == 0 })
	w.until("the feed is done", func() bool {
		r.keeper.mu.Lock()
		defer r.keeper.mu.Unlock()
		h := r.keeper.known["acme/crm"]
		return h == nil || !h.serving.busy && h.serving.next.After(time.Now().Add(time.Hour))
	})
	if n := tokens(r); n < 0.5 {
		t.Errorf("%v tokens are left, want what nothing was found for", n)
	}
}
