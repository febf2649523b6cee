package gate

import (
	"context"
	"fmt"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/nats-io/nats-server/v2/server"
	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
	"github.com/rs/zerolog"

	"jethook/pkg/freeport"
)

const (
	gatesBucket = "webhooks_gates"
	testTimeout = 2 * time.Minute
)

// bucketWorld is a NATS server with the bucket of open gates.
type bucketWorld struct {
	testing.TB
	ctx    context.Context
	opts   server.Options
	server *server.Server
	js     jetstream.JetStream
	kv     jetstream.KeyValue
	log    sharedLog
}

func newBucketWorld(t testing.TB) *bucketWorld {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), testTimeout)
	t.Cleanup(cancel)
	w := &bucketWorld{TB: t, ctx: ctx, opts: server.Options{
		Host: "127.0.0.1", Port: freeport.Get(t), JetStream: true, StoreDir: t.TempDir(), NoSigs: true, NoLog: true,
	}}
	w.start()
	t.Cleanup(func() { w.shutdown() })
	w.js = w.connect()
	w.kv = w.bucket()
	return w
}

func (w *bucketWorld) must(err error) {
	w.Helper()
	if err != nil {
		w.Fatal(err)
	}
}

func (w *bucketWorld) start() {
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

func (w *bucketWorld) shutdown() {
	w.server.Shutdown()
	w.server.WaitForShutdown()
}

func (w *bucketWorld) connect() jetstream.JetStream {
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

// bucket makes the bucket. It tries again, because the server may still be
// removing the files of one that was just deleted.
func (w *bucketWorld) bucket() jetstream.KeyValue {
	w.Helper()
	for {
		kv, err := w.js.CreateKeyValue(w.ctx, jetstream.KeyValueConfig{Bucket: gatesBucket, TTL: time.Hour})
		if err == nil {
			return kv
		}
		if w.ctx.Err() != nil {
			w.Fatal(err)
		}
	}
}

// view is a fleet with what OnChange told last.
type view struct {
	*Fleet
	mu   sync.Mutex
	told map[string]bool
	n    int
}

// join starts a fleet with a connection of its own, whose clock is wrong by so
// much.
func (w *bucketWorld) join(self string, skew time.Duration) *view {
	w.Helper()
	kv, err := w.connect().KeyValue(w.ctx, gatesBucket)
	w.must(err)
	v := &view{Fleet: NewFleet(kv, self, zerolog.New(&w.log)), told: map[string]bool{}}
	v.now = func() time.Time { return time.Now().Add(skew) }
	v.OnChange(func(name string, open bool) {
		v.mu.Lock()
		defer v.mu.Unlock()
		v.told[name] = open
		v.n++
	})
	w.must(v.Start(w.ctx))
	w.Cleanup(v.Stop)
	return v
}

// opened returns a record that is due at once.
func (v *view) opened(why string) Opened {
	now := v.now()
	return Opened{Why: why, Since: now, FailingSince: now, NextProbe: now, LastStatus: 503}
}

func (v *view) isOpen(name string) bool { _, open := v.Get(name); return open }

func (v *view) isTold() bool { v.mu.Lock(); defer v.mu.Unlock(); return v.told["acme/crm"] }

// state says which gates are open, and as of which probes.
func (v *view) state() string {
	all := map[string]int{}
	v.Each(func(name string, o Opened) { all[name] = o.Probes })
	return fmt.Sprint(v.Len(), all)
}

// toldState is state from what was told.
func (v *view) toldState() string {
	v.mu.Lock()
	defer v.mu.Unlock()
	all := map[string]int{}
	for name, open := range v.told {
		if o, known := v.Get(name); open {
			all[name] = o.Probes
			if !known {
				all[name] = -1
			}
		}
	}
	return fmt.Sprint(len(all), all)
}

// until waits for a fact and returns how long it took.
func (w *bucketWorld) until(what string, fact func() bool) time.Duration {
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

type sharedLog struct {
	mu sync.Mutex
	b  strings.Builder
}

func (s *sharedLog) Write(p []byte) (int, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.b.Write(p)
}

func (s *sharedLog) count(text string) int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return strings.Count(s.b.String(), text)
}
