package fleet

import (
	"bytes"
	"context"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/nats-io/nats-server/v2/server"
	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
	"github.com/rs/zerolog"
	"go.uber.org/goleak"

	"jethook/pkg/freeport"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

const (
	testBucket  = "webhooks_replicas"
	testTimeout = 2 * time.Minute
)

// world is a NATS server with the bucket of the replicas.
type world struct {
	testing.TB
	ctx    context.Context
	opts   server.Options
	server *server.Server
	js     jetstream.JetStream
	kv     jetstream.KeyValue
	log    syncBuffer
}

func newWorld(t testing.TB) *world {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), testTimeout)
	t.Cleanup(cancel)
	w := &world{TB: t, ctx: ctx, opts: server.Options{
		Host: "127.0.0.1", Port: freeport.Get(t), JetStream: true, StoreDir: t.TempDir(), NoSigs: true, NoLog: true,
	}}
	w.start()
	t.Cleanup(func() { w.shutdown() })
	w.js = w.connect()
	var err error
	w.kv, err = w.bucket(ctx)
	w.must(err)
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

func (w *world) connect() jetstream.JetStream {
	w.Helper()
	closed := make(chan struct{})
	nc, err := nats.Connect(w.server.ClientURL(), nats.Timeout(testTimeout), nats.MaxReconnects(-1), nats.ReconnectWait(20*time.Millisecond),
		nats.ReconnectJitter(0, 0), nats.ClosedHandler(func(*nats.Conn) { close(closed) }))
	w.must(err)
	w.Cleanup(func() { nc.Close(); <-closed })
	js, err := jetstream.New(nc)
	w.must(err)
	return js
}

// bucket makes the bucket as it is defined.
func (w *world) bucket(ctx context.Context) (jetstream.KeyValue, error) {
	return w.js.CreateKeyValue(ctx, jetstream.KeyValueConfig{
		Bucket: testBucket, TTL: 5 * time.Second, Storage: jetstream.MemoryStorage,
	})
}

// replica is a fleet with what it is told.
type replica struct {
	*Fleet
	mu       sync.Mutex
	revision atomic.Uint64
	changed  chan struct{}
	least    atomic.Int64 // the lowest count after a change
	changes  atomic.Int64
}

func (r *replica) Changed() <-chan struct{} {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.changed
}

func (r *replica) set(revision uint64) {
	r.revision.Store(revision)
	r.mu.Lock()
	defer r.mu.Unlock()
	close(r.changed)
	r.changed = make(chan struct{})
}

// join joins with a connection of its own, until the test ends.
func (w *world) join(id string) *replica {
	w.Helper()
	kv, err := w.connect().KeyValue(w.ctx, testBucket)
	w.must(err)
	r := &replica{changed: make(chan struct{})}
	r.Fleet, err = Join(w.ctx, Options{
		KV: kv, Self: Member{ID: id, Version: "1", Started: time.Unix(1, 0).UTC(), Lanes: []string{"default"}},
		Revision: r.revision.Load, Changed: r.Changed, Logger: zerolog.New(&w.log),
		Restore: func(ctx context.Context) error { _, err := w.bucket(ctx); return err },
	})
	w.must(err)
	w.Cleanup(func() { r.Leave(context.Background()) })
	r.least.Store(1 << 30)
	r.OnChange(func() {
		r.changes.Add(1)
		r.least.Store(min(r.least.Load(), int64(r.Count())))
	})
	return r
}

// kill ends a replica without a word to the others.
func (r *replica) kill() {
	r.leaving.Do(func() {})
	r.stop()
	r.running.Wait()
}

// until waits for a fact and returns how long it took.
func (w *world) until(what string, fact func() bool) time.Duration {
	w.Helper()
	began := time.Now()
	ticker := time.NewTicker(2 * time.Millisecond)
	defer ticker.Stop()
	for !fact() {
		select {
		case <-w.ctx.Done():
			w.Fatalf("it never came to this: %s", what)
		case <-ticker.C:
		}
	}
	return time.Since(began)
}

func (w *world) allCount(n int, replicas ...*replica) time.Duration {
	w.Helper()
	return w.until("all replicas count the same", func() bool {
		for _, r := range replicas {
			if r.Count() != n {
				return false
			}
		}
		return true
	})
}

type syncBuffer struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (s *syncBuffer) Write(p []byte) (int, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.b.Write(p)
}

func (s *syncBuffer) count(text string) int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return strings.Count(s.b.String(), text)
}
