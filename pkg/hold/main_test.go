package hold

import (
	"context"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/nats-io/nats-server/v2/server"
	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
	"go.uber.org/goleak"

	"jethook/pkg/delivery"
	"jethook/pkg/event"
	"jethook/streams"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

const testTimeout = 2 * time.Minute

// world is a NATS server with the topology, and a store.
type world struct {
	testing.TB
	ctx   context.Context
	nc    *nats.Conn
	js    jetstream.JetStream
	names streams.Names
	store *Store
}

func newWorld(t testing.TB) *world {
	t.Helper()
	s, err := server.NewServer(&server.Options{
		Host: "127.0.0.1", Port: -1, JetStream: true, StoreDir: t.TempDir(), NoSigs: true, NoLog: true,
	})
	if err != nil {
		t.Fatal(err)
	}
	s.Start()
	t.Cleanup(func() { s.Shutdown(); s.WaitForShutdown() })
	if !s.ReadyForConnections(testTimeout) {
		t.Fatal("the server is not ready")
	}
	return worldAt(t, s.ClientURL(), 1)
}

// worldAt makes the topology on a server.
func worldAt(t testing.TB, url string, replicas int) *world {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), testTimeout)
	t.Cleanup(cancel)
	w := &world{TB: t, ctx: ctx}
	var err error
	w.names, err = streams.NewNames("")
	w.must(err)
	w.nc, w.js = w.connect(url)
	topology, err := streams.NewTopology(streams.Options{Names: w.names, Replicas: replicas})
	w.must(err)
	w.until("the topology stands", func() bool {
		ctx, cancel := w.soon()
		defer cancel()
		_, err := topology.Ensure(ctx, w.js)
		return err == nil
	})
	w.store = NewStore(w.js, w.names)
	return w
}

func (w *world) connect(url string) (*nats.Conn, jetstream.JetStream) {
	w.Helper()
	nc, err := nats.Connect(url, nats.Timeout(testTimeout))
	w.must(err)
	w.Cleanup(nc.Close)
	js, err := jetstream.New(nc)
	w.must(err)
	return nc, js
}

func (w *world) must(err error) {
	w.Helper()
	if err != nil {
		w.Fatal(err)
	}
}

// soon returns a context for one request: in a cluster, what is asked while a leader
// changes may never be answered, and is asked again. The client itself bounds a request
// only where its context has no end.
func (w *world) soon() (context.Context, context.CancelFunc) {
	return context.WithTimeout(w.ctx, 5*time.Second)
}

// until waits for a fact.
func (w *world) until(what string, fact func() bool) {
	w.Helper()
	until(w, what, fact)
}

func until(t testing.TB, what string, fact func() bool) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	ticker := time.NewTicker(5 * time.Millisecond)
	defer ticker.Stop()
	for !fact() {
		select {
		case <-ctx.Done():
			t.Fatalf("it never came to this: %s", what)
		case <-ticker.C:
		}
	}
}

var start = time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)

// given returns a delivery to TENANT/ENDPOINT.
func given(name, id string) *delivery.Delivery {
	tenant, ep, _ := strings.Cut(name, "/")
	d := delivery.New(event.Event{ID: id, Tenant: tenant, Type: "order.created", Time: start, Seq: 7, Body: []byte("body of " + id)}, ep)
	return &d
}

// hold holds a delivery and returns its sequence.
func (w *world) hold(d *delivery.Delivery, kind streams.Kind) uint64 {
	w.Helper()
	m, err := w.store.Message(d, kind, nats.NewInbox())
	w.must(err)
	var ack *jetstream.PubAck
	w.until("it is held", func() bool { // in a cluster, a machine that stalls changes leaders
		ctx, cancel := w.soon()
		defer cancel()
		var err error
		if ack, err = w.js.PublishMsg(ctx, m); err != nil {
			w.Log(err)
		}
		return err == nil
	})
	return ack.Sequence
}

// fill holds n new deliveries of a size, in turns for the endpoints.
func (w *world) fill(n, size int, names ...string) {
	w.Helper()
	body := []byte(strings.Repeat("x", size))
	for i := range n {
		d := given(names[i%len(names)], "evt_"+strconv.Itoa(i))
		d.Event.Body = body
		m, err := w.store.Message(d, streams.HeldNew, "")
		w.must(err)
		delete(m.Header, jetstream.MsgIDHeader)
		_, err = w.js.PublishMsgAsync(m)
		w.must(err)
		if i%1000 == 999 {
			<-w.js.PublishAsyncComplete()
		}
	}
	<-w.js.PublishAsyncComplete()
}

// waiting fails unless as much is held for an endpoint.
func (w *world) waiting(name string, want Waiting) {
	w.Helper()
	tenant, ep, _ := strings.Cut(name, "/")
	got, err := w.store.Of(w.ctx, tenant, ep)
	w.must(err)
	if got != want {
		w.Errorf("%s has %+v held, want %+v", name, got, want)
	}
}

func (w *world) feed() *Feed {
	w.Helper()
	f, err := w.store.Feed(w.ctx, "acme", "crm")
	w.must(err)
	return f
}

// fetch returns n deliveries that a feed has to hand out. It waits, because the
// client gives up what it does not wait for after a second.
func (w *world) fetch(f *Feed, n int) []jetstream.Msg {
	w.Helper()
	got, err := f.Fetch(w.ctx, n, 30*time.Second)
	w.must(err)
	if len(got) != n {
		w.Fatalf("%d fetched, want %d", len(got), n)
	}
	return got
}

// none fails if a feed has something to hand out.
func (w *world) none(f *Feed) {
	w.Helper()
	more, err := f.Fetch(w.ctx, 100, 0)
	w.must(err)
	if len(more) != 0 {
		w.Fatalf("%v came, want none", w.seqsOf(more))
	}
}

// ended waits until a feed ends. It goes on where it stood still for too short,
// as on a machine that stalls.
func (w *world) ended(end func(context.Context) (bool, error)) {
	w.Helper()
	w.until("the feed ends", func() bool {
		done, err := end(w.ctx)
		w.must(err)
		return done
	})
}

// seqsOf returns where messages lie in their stream.
func (w *world) seqsOf(messages []jetstream.Msg) []uint64 {
	w.Helper()
	seqs := make([]uint64, len(messages))
	for i, m := range messages {
		meta, err := m.Metadata()
		w.must(err)
		seqs[i] = meta.Sequence.Stream
	}
	return seqs
}

func (w *world) ack(messages ...jetstream.Msg) {
	w.Helper()
	for _, m := range messages {
		w.must(m.DoubleAck(w.ctx))
	}
}
