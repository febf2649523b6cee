package attempt

import (
	"context"
	"strconv"
	"sync/atomic"
	"testing"
	"time"

	"github.com/nats-io/nats-server/v2/server"
	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
	"github.com/rs/zerolog"
	"go.uber.org/goleak"

	"jethook/pkg/delivery"
	"jethook/pkg/event"
	"jethook/pkg/freeport"
	"jethook/streams"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

const testTimeout = 2 * time.Minute

// world is a NATS server with the topology, a writer that runs, and a store.
type world struct {
	testing.TB
	ctx   context.Context
	opts  server.Options
	down  func() // stops the server
	nc    *nats.Conn
	js    jetstream.JetStream
	names streams.Names
	store *Store
	count counter
}

type counter struct{ logged, lost atomic.Int64 }

func (c *counter) AttemptsLogged(n int) { c.logged.Add(int64(n)) }
func (c *counter) AttemptsLost(n int)   { c.lost.Add(int64(n)) }

func newWorld(t testing.TB) *world {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), testTimeout)
	t.Cleanup(cancel)
	w := &world{TB: t, ctx: ctx, opts: server.Options{
		Host: "127.0.0.1", Port: freeport.Get(t), JetStream: true, StoreDir: t.TempDir(), NoSigs: true, NoLog: true,
	}}
	url := w.up()
	t.Cleanup(func() { w.down() })
	var err error
	w.nc, err = nats.Connect(url, nats.Timeout(testTimeout), nats.MaxReconnects(-1), nats.ReconnectWait(20*time.Millisecond), nats.ReconnectJitter(0, 0))
	w.must(err)
	t.Cleanup(w.nc.Close)
	w.js, err = jetstream.New(w.nc)
	w.must(err)
	w.names, err = streams.NewNames("")
	w.must(err)
	_, err = w.topology().Ensure(ctx, w.js)
	w.must(err)
	w.store = NewStore(w.js, w.names)
	return w
}

// up starts the server, on the same port as before and with what it had stored.
func (w *world) up() (url string) {
	w.Helper()
	opts := w.opts
	s, err := server.NewServer(&opts)
	w.must(err)
	s.Start()
	w.down = func() { s.Shutdown(); s.WaitForShutdown() }
	if !s.ReadyForConnections(time.Minute) {
		w.Fatal("the server is not ready")
	}
	return s.ClientURL()
}

func (w *world) topology() streams.Topology {
	w.Helper()
	topology, err := streams.NewTopology(streams.Options{Names: w.names})
	w.must(err)
	return topology
}

func (w *world) must(err error) {
	w.Helper()
	if err != nil {
		w.Fatal(err)
	}
}

// writer returns a writer and what stops it, which the end of the test does too.
func (w *world) writer(level Level) (*Writer, func()) {
	w.Helper()
	log := NewWriter(Options{JetStream: w.js, Names: w.names, Level: level, Replica: "r1", Counter: &w.count, Logger: zerolog.Nop()})
	ctx, stop := context.WithCancel(w.ctx)
	ended := make(chan struct{})
	go func() { defer close(ended); log.Run(ctx) }()
	end := func() { stop(); <-ended }
	w.Cleanup(end)
	return log, end
}

// flush returns when all that a writer keeps is stored and counted, or lost. Flush
// does so as well, unless that takes longer than its patience.
func (w *world) flush(log *Writer) {
	w.Helper()
	idle := func() bool {
		log.mu.Lock()
		defer log.mu.Unlock()
		return log.next.lines == 0 && log.spare != nil
	}
	for log.Flush(w.ctx); !idle(); log.Flush(w.ctx) {
		w.must(w.ctx.Err())
		time.Sleep(time.Millisecond)
	}
}

func (w *world) records(f Filter) (all []Record) {
	w.Helper()
	for r, err := range w.store.Records(w.ctx, f) {
		w.must(err)
		all = append(all, r)
	}
	return all
}

func (w *world) ledger() (all []Entry) {
	w.Helper()
	for m, err := range w.store.read(w.names.Ledger("*"), time.Time{}).All(w.ctx, w.js) {
		w.must(err)
		for e, err := range Entries(m) {
			w.must(err)
			all = append(all, e)
		}
	}
	return all
}

// attempted returns an attempt of event number i to an endpoint of acme's.
func attempted(i int, endpoint string, status int, at time.Time) *Made {
	e := event.Event{ID: "evt-" + strconv.Itoa(i), Tenant: "acme", Type: "order.created", Time: at.Add(-time.Second), Seq: uint64(i)}
	d := delivery.New(e, endpoint)
	result := delivery.Result{At: at, Duration: 2 * time.Millisecond, Status: status}
	return &Made{Delivery: &d, Result: result, Verdict: delivery.Classify(result, nil)}
}
