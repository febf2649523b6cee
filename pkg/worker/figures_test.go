package worker

import (
	"context"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/nats-io/nats-server/v2/server"
	"github.com/nats-io/nats.go/jetstream"
	dto "github.com/prometheus/client_model/go"
	"github.com/rs/zerolog"

	"jethook/pkg/delivery"
	"jethook/pkg/endpoint"
	"jethook/pkg/fleet"
	"jethook/pkg/gate"
	"jethook/pkg/telemetry"
	"jethook/streams"
)

// often makes a worker collect its figures all the time, and show so many
// endpoints.
func often(spotlight int) func(*Worker) {
	return func(w *Worker) {
		w.figures.every, w.figures.orderedEvery = 50*time.Millisecond, 0
		w.figures.light.most = spotlight
	}
}

// series returns the series of a metric by the values of their labels.
func series(t testing.TB, m *telemetry.Metrics, name string) map[string]*dto.Metric {
	t.Helper()
	families, err := m.Registry.Gather()
	if err != nil {
		t.Fatal(err)
	}
	all := map[string]*dto.Metric{}
	for _, f := range families {
		if f.GetName() != name {
			continue
		}
		for _, metric := range f.GetMetric() {
			var labels []string
			for _, l := range metric.GetLabel() {
				labels = append(labels, l.GetValue())
			}
			all[strings.Join(labels, " ")] = metric
		}
	}
	return all
}

// figure returns the value of a gauge or a counter, and how often a histogram
// observed; -1 where there is none.
func (r *running) figure(t testing.TB, name, labels string) float64 {
	t.Helper()
	m := series(t, r.metrics, name)[labels]
	switch {
	case m == nil:
		return -1
	case m.Histogram != nil:
		return float64(m.Histogram.GetSampleCount())
	case m.Counter != nil:
		return m.Counter.GetValue()
	}
	return m.Gauge.GetValue()
}

// told waits until the metrics say something. It looks less often than until,
// because a look at them costs, and other tests run beside.
func (w *world) told(what string, fact func() bool) {
	w.Helper()
	ticker := time.NewTicker(50 * time.Millisecond)
	defer ticker.Stop()
	for !fact() {
		select {
		case <-w.ctx.Done():
			w.Fatalf("it was never told: %s", what)
		case <-ticker.C:
		}
	}
}

func on(eventType string) func(*endpoint.Document) {
	return func(d *endpoint.Document) { d.Events = []string{eventType} }
}

// What waits is told by where it lies, with the age of the oldest of each.
func TestFiguresTellWhatNATSStores(t *testing.T) {
	t.Parallel()
	w := newWorld(t, setting{})
	w.endpoint("paused", paused, on("held"))
	w.endpoint("slow", on("slow"))
	w.endpoint("bad", on("bad"))
	w.endpoint("later", on("none"))
	release := make(chan struct{})
	w.answer(func(ctx context.Context, c call) delivery.Result {
		switch c.endpoint {
		case "slow":
			return hang(release)(ctx, c)
		case "bad":
			return delivery.Result{Status: 404}
		}
		return delivery.Result{Status: 200}
	})
	r := w.run(4, time.Second, often(0))
	for _, id := range []string{"h1", "h2", "h3"} {
		w.publish("held", id, "{}")
	}
	w.publish("bad", "b", "{}")
	w.publish("slow", "s", "{}")
	w.put(given("later", "l", delivery.State{Due: time.Now().Add(time.Hour)}))
	is := func(name, labels string, want float64) bool { return r.figure(t, name, labels) == want }
	w.told("all of it is told", func() bool {
		signal(r.keeper.listNow)
		return is("jethook_backlog", telemetry.Waiting, 2) && is("jethook_backlog", telemetry.Held, 3) && is("jethook_backlog", telemetry.Dead, 1) &&
			is("jethook_stream_messages", w.names.Events(), 5) && is("jethook_stream_messages", w.names.Deliveries(), 4) &&
			is("jethook_stream_messages", w.names.DeadLetters(), 1) &&
			r.figure(t, "jethook_oldest_waiting_age_seconds", telemetry.OldestEvent) > 0 &&
			r.figure(t, "jethook_oldest_waiting_age_seconds", telemetry.OldestHeld) > 0
	})
	for name, labels := range map[string]string{"jethook_stream_bytes": w.names.Events(), "jethook_nats_round_trip_seconds": "",
		"jethook_collected_timestamp_seconds": "", "jethook_nats_connected": "", "jethook_replicas": "", "jethook_in_flight": ""} {
		if r.figure(t, name, labels) <= 0 {
			t.Errorf("%s is %v", name, r.figure(t, name, labels))
		}
	}
	if !is("jethook_consumer_max_ack_pending", "fanout", 50_000) || !is("jethook_in_flight_limit", "", 4) || !is("jethook_stream_limit_bytes", w.names.Events(), 0) {
		t.Error("the bounds are not told")
	}
	w.told("a schedule is no delivery that waits to be attempted", func() bool {
		return is("jethook_oldest_waiting_age_seconds", telemetry.OldestDelivery, 0)
	})
	w.put(given("later", "n", delivery.State{Due: time.Now().Add(30 * time.Second)})) // which the consumer keeps pending
	w.told("one that waits for less than a schedule is told of", func() bool {
		return r.figure(t, "jethook_oldest_waiting_age_seconds", telemetry.OldestDelivery) > 0
	})
	close(release)
	w.told("the event is over", func() bool {
		signal(r.keeper.listNow)
		return is("jethook_backlog", telemetry.Waiting, 2) && is("jethook_oldest_waiting_age_seconds", telemetry.OldestEvent, 0)
	})
}

// A lane's oldest event is one of the lane's own: older ones that others read do
// not count, however far behind the consumer's floor is.
func TestFirstUnacked(t *testing.T) {
	t.Parallel()
	w := newWorld(t, setting{})
	w.publish("other", "1", "{}")
	want := w.storedAt(w.publish("mine", "2", "{}"))
	w.publish("mine", "3", "{}")
	stream, err := w.js.Stream(w.ctx, w.names.Events())
	w.must(err)
	c, err := stream.CreateConsumer(w.ctx, jetstream.ConsumerConfig{Durable: "mine", AckPolicy: jetstream.AckExplicitPolicy,
		FilterSubjects: []string{"webhooks.events.acme.mine", "webhooks.events.acme.none"}})
	w.must(err)
	first := func() time.Time {
		info, err := c.Info(w.ctx)
		w.must(err)
		at, err := streams.FirstUnacked(w.ctx, stream, info)
		w.must(err)
		return at
	}
	if got := first(); !got.Equal(want) {
		t.Errorf("before any was handed out %s, want %s", got, want)
	}
	batch, err := c.Fetch(2)
	w.must(err)
	messages := slices.Collect(func(yield func(jetstream.Msg) bool) {
		for m := range batch.Messages() {
			yield(m)
		}
	})
	if got := first(); !got.Equal(want) {
		t.Errorf("both handed out %s, want %s", got, want)
	}
	for _, m := range messages {
		w.must(m.DoubleAck(w.ctx))
	}
	if got := first(); !got.IsZero() {
		t.Errorf("all acked, and yet %s", got)
	}
}

// How far an ordered endpoint is behind shows in the age of the event in hand, and
// in how many wait.
func TestFiguresOfOrderedEndpoints(t *testing.T) {
	t.Parallel()
	w := newWorld(t, setting{})
	w.endpoint("crm", inOrderOf)
	release := make(chan struct{})
	w.answer(hang(release))
	r := w.run(4, time.Second, often(0))
	for _, id := range []string{"1", "2", "3"} {
		w.publish("order.created", id, "{}")
	}
	w.told("it is told", func() bool {
		return r.figure(t, "jethook_oldest_waiting_age_seconds", telemetry.OldestOrdered) > 0 && r.figure(t, "jethook_ordered_pending", "") == 3
	})
	close(release)
	w.told("it is over", func() bool {
		return r.figure(t, "jethook_oldest_waiting_age_seconds", telemetry.OldestOrdered) == 0 && r.figure(t, "jethook_ordered_pending", "") == 0
	})
}

// While NATS is away, what was known stays, and it shows that it is old.
func TestFiguresWhileNATSIsAway(t *testing.T) {
	t.Parallel()
	w := newWorld(t, setting{restarts: true})
	r := w.run(4, time.Second, often(0))
	w.told("collected", func() bool { return r.figure(t, "jethook_collected_timestamp_seconds", "") > 0 })
	w.shutdown()
	w.told("the connection is known to be lost", func() bool { return r.figure(t, "jethook_nats_connected", "") == 0 })
	old := r.figure(t, "jethook_collected_timestamp_seconds", "")
	w.start()
	w.told("collected again", func() bool {
		return r.figure(t, "jethook_collected_timestamp_seconds", "") > old && r.figure(t, "jethook_nats_reconnects_total", "") >= 1
	})
}

// A stream that is gone keeps the others from nothing, but what is known is not
// all there is.
func TestFiguresWithoutAStream(t *testing.T) {
	t.Parallel()
	w := newWorld(t, setting{})
	r := w.run(4, time.Second, often(0))
	w.told("collected", func() bool { return r.figure(t, "jethook_collected_timestamp_seconds", "") > 0 })
	w.must(w.js.DeleteStream(w.ctx, w.names.DeadLetters()))
	collected := func() float64 { return r.figure(t, "jethook_collected_timestamp_seconds", "") }
	var last float64
	w.told("it is noticed", func() bool {
		noticed, before := r.figures.again.lasted() > 0, last
		last = collected() // not before: the last one that went well may end in between
		return noticed && last == before
	})
	w.publish("order.created", "1", "{}")
	w.told("others are told of", func() bool { return r.figure(t, "jethook_stream_messages", w.names.Events()) == 1 })
	if collected() != last {
		t.Error("it counts as collected")
	}
}

// How full the account is, is told with the account's own limit, or else the
// server's as far as it is known.
func TestFiguresOfStorage(t *testing.T) {
	t.Parallel()
	w := newWorld(t, setting{})
	w.publish("order.created", "1", "{}")
	r := w.run(4, time.Second, often(0), func(worker *Worker) { worker.storage = 4711 })
	w.told("the limit that is known", func() bool {
		return r.figure(t, "jethook_storage_limit_bytes", "") == 4711 && r.figure(t, "jethook_storage_bytes", "") > 0
	})
	const limit = 1 << 20
	w.must(w.server.GlobalAccount().UpdateJetStreamLimits(map[string]server.JetStreamAccountLimits{"": {MaxMemory: -1, MaxStore: limit, MaxStreams: -1, MaxConsumers: -1}}))
	w.told("the account's", func() bool { return r.figure(t, "jethook_storage_limit_bytes", "") == limit })
}

// A gate is told of from when it opens to the end of its ramp.
func TestFiguresOfGates(t *testing.T) {
	t.Parallel()
	w := newWorld(t, setting{})
	w.endpoint("crm")
	r := w.run(4, time.Second, often(1))
	state := func(open, probing, ramp float64) func() bool {
		return func() bool {
			return r.figure(t, "jethook_gates", "open") == open && r.figure(t, "jethook_gates", "probing") == probing && r.figure(t, "jethook_gates", "ramp") == ramp
		}
	}
	w.must(r.fleet.Open(w.ctx, "acme/crm", gate.Opened{Why: "test", Since: time.Now(), NextProbe: time.Now()}))
	w.told("it is open", state(1, 0, 0))
	w.told("the endpoint is shown", func() bool { return r.figure(t, "jethook_endpoint_gate_open", "acme/crm") == 1 })
	_, got, err := r.fleet.Claim(w.ctx, "acme/crm", 0, time.Minute)
	w.must(err)
	if !got {
		t.Fatal("no lease")
	}
	w.told("it is probed", state(1, 1, 0))
	w.must(r.fleet.Close(w.ctx, "acme/crm"))
	w.told("it is on the ramp", state(0, 0, 1))
	w.told("the endpoint is in trouble no more", func() bool { return r.figure(t, "jethook_endpoint_gate_open", "acme/crm") == -1 })
}

// Gates that open by themselves are counted by who opened them.
func TestGateOpeningsAreCounted(t *testing.T) {
	t.Parallel()
	w := newWorld(t, setting{})
	w.endpoint("crm")
	w.answer(status(500))
	r := w.run(4, time.Second, often(1))
	w.publish("order.created", "1", "{}")
	w.told("it is counted", func() bool { return r.figure(t, "jethook_gate_openings_total", "") == 1 })
}

// First attempts are timed, and no others.
func TestFirstAttemptsAreTimed(t *testing.T) {
	t.Parallel()
	w := newWorld(t, setting{})
	w.endpoint("crm")
	w.answer(func(_ context.Context, c call) delivery.Result {
		if c.number == 1 {
			return delivery.Result{Status: 503}
		}
		return delivery.Result{Status: 200}
	})
	r := w.run(4, time.Second)
	seq := w.publish("order.created", "1", "{}")
	w.settled()
	w.put(given("crm", "replayed", delivery.State{Replay: true, Origin: "d1"}))
	w.settled()
	h := series(t, r.metrics, "jethook_event_to_first_attempt_seconds")[""].Histogram
	began := w.next().at
	if h.GetSampleCount() != 1 || h.GetSampleSum() != max(0, began.Sub(w.storedAt(seq)).Seconds()) {
		t.Errorf("%d were timed, %vs in all; want that from storage to the first attempt", h.GetSampleCount(), h.GetSampleSum())
	}
}

// others are replicas of which each serves some lanes.
type others struct {
	alone
	lanes [][]string
}

func (o others) Live() (all []fleet.Member) {
	for _, lanes := range o.lanes {
		all = append(all, fleet.Member{Lanes: lanes})
	}
	return all
}

// What waits in a lane is told by each replica, whoever serves it, and that nobody
// does is known: by a figure, and once in the log.
func TestFiguresOfALaneThatNobodyServes(t *testing.T) {
	t.Parallel()
	w := newWorld(t, setting{})
	w.replicas = others{lanes: [][]string{{streams.DefaultLane}}}
	w.endpoint("crm", on("bulk"))
	w.lane(endpoint.Lane{ID: "bulk", Filters: []string{"acme.bulk"}, Weight: 1, From: 1})
	w.publishMany("bulk", "evt_", 50)
	var log counting
	r := w.begin(w.js, 4, time.Second, often(0), func(worker *Worker) {
		worker.serve = []string{streams.DefaultLane}
		worker.log = zerolog.New(zerolog.MultiLevelWriter(testLog{t}, &log))
	})
	w.told("what waits, and that nobody serves it", func() bool {
		return r.figure(t, "jethook_backlog", telemetry.Waiting) == 50 && r.figure(t, "jethook_consumer_pending", "fanout_bulk") == 50 &&
			r.figure(t, "jethook_oldest_waiting_age_seconds", telemetry.OldestEvent) > 0 &&
			r.figure(t, "jethook_lane_replicas", "bulk") == 0 && r.figure(t, "jethook_lane_replicas", streams.DefaultLane) == 1
	})
	collected := r.figure(t, "jethook_collected_timestamp_seconds", "")
	w.told("more looks", func() bool { return r.figure(t, "jethook_collected_timestamp_seconds", "") > collected+1 })
	if n := log.count("no live replica serves this lane"); n != 1 {
		t.Errorf("the log says %d times that nobody serves the lane", n)
	}
	w.lane()
	w.told("the lane is gone", func() bool {
		return r.figure(t, "jethook_backlog", telemetry.Waiting) == 0 && r.figure(t, "jethook_consumer_pending", "fanout_bulk") == -1 &&
			r.figure(t, "jethook_lane_replicas", "bulk") == -1
	})
}

// counting counts lines of a log.
type counting struct {
	mu    sync.Mutex
	lines []string
}

func (c *counting) Write(p []byte) (int, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.lines = append(c.lines, string(p))
	return len(p), nil
}

func (c *counting) count(words string) (n int) {
	c.mu.Lock()
	defer c.mu.Unlock()
	for _, line := range c.lines {
		if strings.Contains(line, words) {
			n++
		}
	}
	return n
}
