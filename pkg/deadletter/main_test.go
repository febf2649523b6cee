package deadletter

import (
	"context"
	"errors"
	"fmt"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/nats-io/nats-server/v2/server"
	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
	"go.uber.org/goleak"

	"jethook/pkg/delivery"
	"jethook/pkg/endpoint"
	"jethook/pkg/event"
	"jethook/streams"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

const testTimeout = 2 * time.Minute

// world is a NATS server with the topology, and the endpoints that exist.
type world struct {
	testing.TB
	ctx    context.Context
	nc     *nats.Conn
	js     jetstream.JetStream
	names  streams.Names
	store  *Store
	writer *Writer
	known  endpoints
	probed bool // by windowOver
}

// setting changes a world before it begins.
type setting struct {
	syncAlways bool
	window     time.Duration // the duplicate window of the deliveries
	plain      bool          // the deliveries take no atomic batches
}

func newWorld(t testing.TB, set setting) *world {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), testTimeout)
	t.Cleanup(cancel)
	s, err := server.NewServer(&server.Options{
		Host: "127.0.0.1", Port: -1, JetStream: true, StoreDir: t.TempDir(),
		SyncAlways: set.syncAlways, NoSigs: true, NoLog: true,
	})
	if err != nil {
		t.Fatal(err)
	}
	s.Start()
	t.Cleanup(func() { s.Shutdown(); s.WaitForShutdown() })
	if !s.ReadyForConnections(time.Minute) {
		t.Fatal("the server is not ready")
	}
	names, err := streams.NewNames("")
	if err != nil {
		t.Fatal(err)
	}
	w := &world{TB: t, ctx: ctx, names: names, known: endpoints{}}
	w.nc, w.js = w.connect(s.ClientURL())
	w.store, w.writer = NewStore(w.js, names), NewWriter(names, w.nc.MaxPayload)
	topology, err := streams.NewTopology(streams.Options{Names: names})
	if err != nil {
		t.Fatal(err)
	}
	for i := range topology.Streams {
		if c := &topology.Streams[i]; c.Name == names.Deliveries() {
			c.AllowAtomicPublish = !set.plain
			if set.window > 0 {
				c.Duplicates = set.window
			}
		}
	}
	if _, err := topology.Ensure(ctx, w.js); err != nil {
		t.Fatal(err)
	}
	for _, name := range []string{"acme/crm", "acme/shop", "globex/crm"} {
		w.known[name] = endpoint.DefaultLane
	}
	return w
}

func (w *world) connect(url string) (*nats.Conn, jetstream.JetStream) {
	w.Helper()
	nc, err := nats.Connect(url, nats.Timeout(testTimeout))
	if err != nil {
		w.Fatal(err)
	}
	w.Cleanup(nc.Close)
	js, err := jetstream.New(nc)
	if err != nil {
		w.Fatal(err)
	}
	return nc, js
}

// endpoints are those that exist, with their lanes.
type endpoints map[string]string

func (e endpoints) Get(_ context.Context, name string) (endpoint.Document, error) {
	lane, ok := e[name]
	switch {
	case !ok:
		return endpoint.Document{}, &endpoint.NotFoundError{Name: name}
	case lane == "broken":
		return endpoint.Document{}, &endpoint.BrokenError{Key: name, Err: errors.New("broken")}
	}
	return endpoint.Document{Lane: lane}, nil
}

// Lanes are one besides the default.
func (e endpoints) Lanes(context.Context) ([]endpoint.Lane, []*endpoint.BrokenError, error) {
	return []endpoint.Lane{{ID: "fast"}, {ID: "going", Until: 1}}, nil, nil
}

// dead returns a delivery that failed once with 503.
func dead(id, name, eventType string, body []byte) *delivery.Delivery {
	tenant, ep, _ := strings.Cut(name, "/")
	at := time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)
	return &delivery.Delivery{
		Event: event.Event{ID: id, Tenant: tenant, Type: eventType, Time: at, Seq: 7, Body: body,
			Fields: []event.Field{{Name: "content-type", Value: "application/json"}}},
		Endpoint: ep,
		State: delivery.State{Origin: "e7", Attempts: 1, Since: at, History: []delivery.Attempt{
			{Attempt: 1, At: at, Status: 503, Error: "503 Service Unavailable", DurationMS: 12.5}}},
	}
}

// bury stores a dead letter and returns its sequence.
func (w *world) bury(d *delivery.Delivery, reason delivery.Reason) uint64 {
	w.Helper()
	m, err := w.writer.Letter(d, "https://example.com/hooks", reason, time.Now())
	if err != nil {
		w.Fatal(err)
	}
	ack, err := w.js.PublishMsg(w.ctx, m)
	if err != nil {
		w.Fatal(err)
	}
	return ack.Sequence
}

// fill stores n dead letters, in turns for the endpoints.
func (w *world) fill(n, size int, names ...string) {
	w.Helper()
	body := []byte(`"` + strings.Repeat("x", size-2) + `"`)
	for i := range n {
		m, err := w.writer.Letter(dead("evt_"+strconv.Itoa(i), names[i%len(names)], "order.created", body),
			"https://example.com", delivery.AttemptsExhausted, time.Now())
		if err != nil {
			w.Fatal(err)
		}
		if _, err := w.js.PublishMsgAsync(m); err != nil {
			w.Fatal(err)
		}
		if i%1000 == 999 {
			<-w.js.PublishAsyncComplete()
		}
	}
	<-w.js.PublishAsyncComplete()
	if got := w.count(w.names.DeadLetters()); got != n {
		w.Fatalf("%d dead letters stored, want %d", got, n)
	}
}

// count returns how many messages a stream holds.
func (w *world) count(stream string) int {
	w.Helper()
	s, err := w.js.Stream(w.ctx, stream)
	if err != nil {
		w.Fatal(err)
	}
	return int(s.CachedInfo().State.Msgs)
}

// sent takes all deliveries out of their stream, as a worker would, and returns
// how often each event was sent to each endpoint.
func (w *world) sent() map[string]int {
	w.Helper()
	times := map[string]int{}
	for _, d := range w.deliveries() {
		times[d.Name()+" "+d.Event.ID]++
	}
	return times
}

func (w *world) deliveries() []delivery.Delivery {
	w.Helper()
	c, err := w.js.Consumer(w.ctx, w.names.Deliveries(), streams.Deliver)
	if err != nil {
		w.Fatal(err)
	}
	return w.read(c)
}

// read takes all that there is for a consumer of a work queue. What the stream
// holds says when that is: a consumer learns of what was stored a moment later.
func (w *world) read(c jetstream.Consumer) []delivery.Delivery {
	w.Helper()
	stream, err := w.js.Stream(w.ctx, c.CachedInfo().Stream)
	if err != nil {
		w.Fatal(err)
	}
	var all []delivery.Delivery
	for {
		info, err := stream.Info(w.ctx, jetstream.WithSubjectFilter(c.CachedInfo().Config.FilterSubject))
		if err != nil {
			w.Fatal(err)
		}
		if len(info.State.Subjects) == 0 {
			return all
		}
		batch, err := c.FetchNoWait(1000)
		if err != nil {
			w.Fatal(err)
		}
		for m := range batch.Messages() {
			_, tenant, id, err := w.names.ParseDelivery(m.Subject())
			if err != nil {
				w.Fatal(err)
			}
			d, err := delivery.Decode(tenant, id, m.Headers(), m.Data())
			if err != nil {
				w.Fatal(err)
			}
			all = append(all, d)
			if err := m.DoubleAck(w.ctx); err != nil {
				w.Fatal(err)
			}
		}
		if err := batch.Error(); err != nil {
			w.Fatal(err)
		}
	}
}

// eachOnce fails unless n deliveries were sent, each once.
func eachOnce(t testing.TB, sent map[string]int, n int) {
	t.Helper()
	if len(sent) != n {
		t.Errorf("%d different deliveries were sent, want %d", len(sent), n)
	}
	for name, times := range sent {
		if times != 1 {
			t.Errorf("%s was sent %d times", name, times)
		}
	}
}

func (w *world) replay(f Filter) ReplayResult {
	w.Helper()
	r, err := w.store.Replay(w.ctx, f, ReplayOptions{Endpoints: w.known})
	if err != nil {
		w.Fatalf("replay: %v (%+v)", err, r)
	}
	return r
}

// empty fails unless a stream is empty.
func (w *world) empty(stream string) {
	w.Helper()
	if n := w.count(stream); n != 0 {
		w.Errorf("%s holds %d messages, want none", stream, n)
	}
}

func (w *world) list(f Filter) []uint64 {
	w.Helper()
	var seqs []uint64
	for l, err := range w.store.All(w.ctx, f) {
		if err != nil {
			w.Fatal(err)
		}
		seqs = append(seqs, l.Seq)
	}
	return seqs
}

var errKilled = fmt.Errorf("killed")

// longAgo is before every letter.
var longAgo = time.Date(2000, 1, 1, 0, 0, 0, 0, time.UTC)
