package worker

import (
	"context"
	"fmt"
	"strconv"
	"sync"
	"testing"
	"time"

	"github.com/nats-io/nats-server/v2/server"
	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
	"github.com/nats-io/nuid"
	"github.com/rs/zerolog"
	"go.uber.org/goleak"

	"jethook/pkg/attempt"
	"jethook/pkg/deadletter"
	"jethook/pkg/delivery"
	"jethook/pkg/endpoint"
	"jethook/pkg/event"
	"jethook/pkg/freeport"
	"jethook/pkg/gate"
	"jethook/pkg/retry"
	"jethook/pkg/telemetry"
	"jethook/streams"
)

// A server that is shut down under load leaves the goroutines of a stream's store
// behind now and then, which are not ours.
func TestMain(m *testing.M) {
	const server = "github.com/nats-io/nats-server/v2/server"
	goleak.VerifyTestMain(m, goleak.IgnoreTopFunction(server+"/ats.Register.func1"),
		goleak.IgnoreTopFunction(server+".(*msgBlock).flushLoop"), goleak.IgnoreTopFunction(server+".(*fileStore).flushStreamStateLoop"))
}

const testTimeout = 3 * time.Minute

// world is a NATS server with the topology, endpoints, and the far side of
// HTTP, in which workers deliver.
type world struct {
	testing.TB
	ctx       context.Context
	opts      server.Options
	server    *server.Server
	nc        *nats.Conn
	js        jetstream.JetStream
	names     streams.Names
	topology  streams.Topology
	endpoints *endpoints
	sender    *sender
	letters   *deadletter.Store
	replicas  Replicas
	unlogged  bool // attempts are not logged, and acks wait for nothing
	all       []*running
}

// setting changes a world before it begins.
type setting struct {
	ackWait  time.Duration // of both consumers
	old      bool          // the server has no schedules
	restarts bool          // the server is stopped, and started again where it was
}

func newWorld(t testing.TB, set setting) *world {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), testTimeout)
	t.Cleanup(cancel)
	w := &world{TB: t, ctx: ctx, endpoints: &endpoints{}, replicas: alone{}, opts: server.Options{
		Host: "127.0.0.1", Port: server.RANDOM_PORT, JetStream: true, StoreDir: t.TempDir(), NoSigs: true, NoLog: true,
	}}
	if set.restarts {
		w.opts.Port = freeport.Get(t)
	}
	w.sender = &sender{calls: make(chan call, 1<<16), reply: func(context.Context, call) delivery.Result { return delivery.Result{Status: 200} }}
	w.start()
	t.Cleanup(func() { w.shutdown() })
	w.nc, w.js = w.connect(w.server.ClientURL())
	var err error
	w.names, err = streams.NewNames("")
	w.must(err)
	w.topology, err = streams.NewTopology(streams.Options{Names: w.names})
	w.must(err)
	for i := range w.topology.Consumers {
		if set.ackWait > 0 {
			w.topology.Consumers[i].Config.AckWait = set.ackWait
		}
	}
	for i := range w.topology.Streams {
		if set.old {
			w.topology.Streams[i].AllowMsgSchedules = false
		}
	}
	_, err = w.topology.Ensure(ctx, w.js)
	w.must(err)
	w.letters = deadletter.NewStore(w.js, w.names)
	return w
}

func (w *world) must(err error) {
	w.Helper()
	if err != nil {
		w.Fatal(err)
	}
}

func (w *world) start() {
	w.Helper()
	opts := w.opts
	s, err := server.NewServer(&opts)
	w.must(err)
	s.Start()
	if !s.ReadyForConnections(testTimeout) {
		w.Fatal("the server is not ready")
	}
	w.server = s
}

func (w *world) shutdown() {
	w.server.Shutdown()
	w.server.WaitForShutdown()
}

// restart stops the server, starts it again, and waits until the world's own connection
// is back: an answer to what is asked before may go with the server.
func (w *world) restart() {
	w.Helper()
	before := w.nc.Stats().Reconnects
	w.shutdown()
	w.start()
	w.until("it is connected again", func() bool { return w.nc.Stats().Reconnects > before })
}

func (w *world) connect(url string) (*nats.Conn, jetstream.JetStream) {
	w.Helper()
	closed := make(chan struct{})
	nc, err := nats.Connect(url, nats.MaxReconnects(-1), nats.ReconnectWait(20*time.Millisecond),
		nats.ReconnectJitter(0, 0), nats.ClosedHandler(func(*nats.Conn) { close(closed) }))
	w.must(err)
	w.Cleanup(func() { nc.Close(); <-closed })
	js, err := jetstream.New(nc, jetstream.WithPublishAsyncTimeout(30*time.Second))
	w.must(err)
	return nc, js
}

// running is a worker that runs.
type running struct {
	*Worker
	stop   func() int // stops it once and returns how many it cut off
	cancel context.CancelFunc
}

// run runs a worker until the test ends, or stop.
func (w *world) run(slots int, grace time.Duration, change ...func(*Worker)) *running {
	w.Helper()
	return w.runOn(w.js, slots, grace, change...)
}

func (w *world) runOn(js jetstream.JetStream, slots int, grace time.Duration, change ...func(*Worker)) *running {
	w.Helper()
	r := w.begin(js, slots, grace, change...)
	w.until("both consumers are read", r.Running)
	return r
}

// begin runs a worker that need not come so far as to read its consumers.
func (w *world) begin(js jetstream.JetStream, slots int, grace time.Duration, change ...func(*Worker)) *running {
	w.Helper()
	o := w.options()
	o.JetStream, o.Restore, o.MaxInFlight = js, Restorer(js, w.topology, w.endpoints.Lanes), slots
	o.Gates, o.Replicas = w.gates(js), w.replicas
	if !w.unlogged {
		o.Log = attempt.NewWriter(attempt.Options{JetStream: o.JetStream, Names: o.Names, Counter: o.Metrics, Logger: o.Logger})
	}
	worker := New(o)
	worker.fetchFor = 200 * time.Millisecond // what a stop takes
	for _, f := range change {
		f(worker)
	}
	ctx, cancel := context.WithCancel(context.Background())
	cut := make(chan int, 1)
	go func() {
		n, _ := worker.Run(ctx, grace) // whether NATS is there in the end is the test's affair
		cut <- n
	}()
	stop := sync.OnceValue(func() int { cancel(); return <-cut })
	w.Cleanup(func() { stop() })
	r := &running{Worker: worker, stop: stop, cancel: cancel}
	w.all = append(w.all, r)
	return r
}

func (w *world) options() Options {
	return Options{
		JetStream: w.js, Names: w.names, MaxInFlight: 4, Schedules: true, Endpoints: w.endpoints,
		Sender: w.sender, Documents: w.endpoints, Letters: deadletter.NewWriter(w.names, w.nc.MaxPayload),
		Restore: Restorer(w.js, w.topology, w.endpoints.Lanes), Metrics: telemetry.NewMetrics("test"), Logger: zerolog.New(testLog{w.TB}),
		Replicas: w.replicas, Gates: gate.NewFleet(w.kv(w.js, w.names.GatesBucket()), "idle", zerolog.Nop()),
	}
}

func (w *world) kv(js jetstream.JetStream, bucket string) jetstream.KeyValue {
	w.Helper()
	kv, err := js.KeyValue(w.ctx, bucket)
	w.must(err)
	return kv
}

// gates returns what a replica knows of open gates.
func (w *world) gates(js jetstream.JetStream) *gate.Fleet {
	w.Helper()
	f := gate.NewFleet(w.kv(js, w.names.GatesBucket()), nuid.Next(), zerolog.New(testLog{w.TB}))
	w.must(f.Start(w.ctx))
	w.Cleanup(f.Stop)
	return f
}

// main returns the default lane.
func (r *running) main() *lane { return r.lane(streams.DefaultLane) }

// alone are the replicas where there is one.
type alone struct{}

func (alone) Count() int      { return 1 }
func (alone) Rank(string) int { return 0 }

func (alone) CountOf(string) int        { return 1 }
func (alone) RankOf(string, string) int { return 0 }

type testLog struct{ testing.TB }

func (l testLog) Write(p []byte) (int, error) { l.Logf("%s", p); return len(p), nil }

// until waits for a fact.
func (w *world) until(what string, fact func() bool) {
	w.Helper()
	ticker := time.NewTicker(5 * time.Millisecond)
	defer ticker.Stop()
	for !fact() {
		select {
		case <-w.ctx.Done():
			w.Fatalf("it never came to this: %s", what)
		case <-ticker.C:
		}
	}
}

// publish publishes an event to tenant acme and returns its sequence.
func (w *world) publish(eventType, id, body string) uint64 {
	w.Helper()
	m := nats.NewMsg("webhooks.events.acme." + eventType)
	m.Data = []byte(body)
	m.Header.Set(jetstream.MsgIDHeader, id)
	ack, err := w.js.PublishMsg(w.ctx, m)
	w.must(err)
	return ack.Sequence
}

// publishMany publishes n events of a type, with the ids prefix0, prefix1 and so on.
func (w *world) publishMany(eventType, prefix string, n int) {
	w.Helper()
	futures := make([]jetstream.PubAckFuture, n)
	for i := range futures {
		m := nats.NewMsg("webhooks.events.acme." + eventType)
		m.Header.Set(jetstream.MsgIDHeader, prefix+strconv.Itoa(i))
		var err error
		futures[i], err = w.js.PublishMsgAsync(m)
		w.must(err)
	}
	w.published(futures)
}

// published waits until NATS has what was published.
func (w *world) published(futures []jetstream.PubAckFuture) {
	w.Helper()
	for _, f := range futures {
		select {
		case <-f.Ok():
		case err := <-f.Err():
			w.Fatal(err)
		}
	}
}

// put stores a delivery as one that waits, and returns its sequence.
func (w *world) put(d delivery.Delivery) uint64 {
	w.Helper()
	seq, err := w.tryPut(w.ctx, d)
	w.must(err)
	return seq
}

// tryPut is put for other goroutines than the test's.
func (w *world) tryPut(ctx context.Context, d delivery.Delivery) (uint64, error) {
	m, err := d.Encode(w.names.Delivery(endpoint.DefaultLane, d.Event.Tenant, d.Endpoint), w.nc.MaxPayload())
	if err != nil {
		return 0, err
	}
	ack, err := w.js.PublishMsg(ctx, m)
	if err != nil {
		return 0, err
	}
	return ack.Sequence, nil
}

// given returns a delivery of an event to an endpoint of acme's.
func given(ep, id string, state delivery.State) delivery.Delivery {
	now := time.Now()
	d := delivery.New(event.Event{ID: id, Tenant: "acme", Type: "order.created", Time: now, Seq: 1, Body: []byte("{}")}, ep)
	if state.Origin == "" {
		state.Origin = d.State.Origin
	}
	if state.Since.IsZero() {
		state.Since = now
	}
	d.State = state
	return d
}

func (w *world) consumer(stream, durable string) *jetstream.ConsumerInfo {
	w.Helper()
	c, err := w.js.Consumer(w.ctx, stream, durable)
	w.must(err)
	return c.CachedInfo()
}

func (w *world) fanout() *jetstream.ConsumerInfo {
	w.Helper()
	return w.consumer(w.names.Events(), streams.Fanout)
}

func (w *world) deliver() *jetstream.ConsumerInfo {
	w.Helper()
	return w.consumer(w.names.Deliveries(), streams.Deliver)
}

func (w *world) state(stream string) jetstream.StreamState {
	w.Helper()
	s, err := w.js.Stream(w.ctx, stream)
	w.must(err)
	return s.CachedInfo().State
}

// settled waits until everything was acked.
func (w *world) settled() {
	w.Helper()
	w.until("all is acked", func() bool {
		return w.fannedOut() && w.state(w.names.Deliveries()).Msgs == 0
	})
}

// fannedOut reports whether every event was handed out and acked. The consumer
// learns a moment later than the stream what is stored, and says until then that
// nothing is pending.
func (w *world) fannedOut() bool {
	w.Helper()
	f := w.fanout()
	return f.NumPending == 0 && f.NumAckPending == 0 && f.Delivered.Stream >= w.state(w.names.Events()).LastSeq
}

// dead waits for n dead letters and returns them.
func (w *world) dead(n int) []deadletter.Letter {
	w.Helper()
	w.until(fmt.Sprintf("%d dead letters", n), func() bool { return w.state(w.names.DeadLetters()).Msgs >= uint64(n) })
	var all []deadletter.Letter
	for l, err := range w.letters.All(w.ctx, deadletter.Filter{}) {
		w.must(err)
		all = append(all, l)
	}
	if len(all) != n {
		w.Fatalf("%d dead letters, want %d", len(all), n)
	}
	return all
}

func (w *world) letter(d *delivery.Delivery, url string, reason delivery.Reason, at time.Time) (*nats.Msg, error) {
	return deadletter.NewWriter(w.names, w.nc.MaxPayload).Letter(d, url, reason, at)
}

// stored returns the message that a subject holds last.
func (w *world) stored(subject string) *jetstream.RawStreamMsg {
	w.Helper()
	s, err := w.js.Stream(w.ctx, w.names.Deliveries())
	w.must(err)
	m, err := s.GetLastMsgForSubject(w.ctx, subject)
	w.must(err)
	return m
}

// scheduledMsg returns a stored message as one to publish.
func (w *world) scheduledMsg(subject string, m *jetstream.RawStreamMsg) *nats.Msg {
	return &nats.Msg{Subject: subject, Header: m.Header, Data: m.Data}
}

// endpoint makes an endpoint of acme's that wants order.created and retries at
// once, or changes it.
func (w *world) endpoint(id string, change ...func(*endpoint.Document)) {
	w.Helper()
	d := endpoint.NewDocument()
	d.Tenant, d.ID, d.URL, d.Events = "acme", id, "https://example.com/"+id, []string{"order.created"}
	d.Retry = retry.Policy{Base: time.Millisecond, Factor: 1, MaxDelay: time.Millisecond, MaxAttempts: 5, Jitter: retry.JitterNone}
	for _, f := range change {
		f(&d)
	}
	ep, err := endpoint.Compile(d)
	w.must(err)
	defer w.endpoints.announce()
	w.endpoints.mu.Lock()
	defer w.endpoints.mu.Unlock()
	if w.endpoints.all == nil {
		w.endpoints.all = map[string]*endpoint.Endpoint{}
	}
	ep.Revision = w.endpoints.revision
	w.endpoints.all[ep.Name()] = ep
}

func (w *world) remove(id string) {
	defer w.endpoints.announce()
	w.endpoints.mu.Lock()
	defer w.endpoints.mu.Unlock()
	delete(w.endpoints.all, "acme/"+id)
}

// every sets the delays of an endpoint's retries to one duration.
func every(delay time.Duration, attempts int) func(*endpoint.Document) {
	return func(d *endpoint.Document) {
		d.Retry = retry.Policy{Base: delay, Factor: 1, MaxDelay: delay, MaxAttempts: attempts, Jitter: retry.JitterNone}
	}
}

// unending lets the attempts at an endpoint take as long as the test.
func unending(d *endpoint.Document) { d.Timeout = endpoint.Duration(testTimeout) }

// storedAt returns when the server stored an event.
func (w *world) storedAt(seq uint64) time.Time {
	w.Helper()
	stream, err := w.js.Stream(w.ctx, w.names.Events())
	w.must(err)
	m, err := stream.GetMsg(w.ctx, seq)
	w.must(err)
	return m.Time
}
