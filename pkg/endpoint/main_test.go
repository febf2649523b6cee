package endpoint

import (
	"context"
	"fmt"
	"testing"
	"time"

	"github.com/nats-io/nats-server/v2/server"
	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
	"go.uber.org/goleak"

	"jethook/pkg/freeport"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

const testTimeout = 2 * time.Minute

// testContext ends before a hanging test would be killed without a word.
func testContext(t testing.TB) context.Context {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), testTimeout)
	t.Cleanup(cancel)
	return ctx
}

// testServer is a NATS server in this process that can be restarted.
type testServer struct {
	t    testing.TB
	opts server.Options
	s    *server.Server
}

func startServer(t testing.TB) *testServer {
	t.Helper()
	ts := &testServer{t: t, opts: server.Options{
		Host: "127.0.0.1", Port: freeport.Get(t), JetStream: true, StoreDir: t.TempDir(), NoSigs: true, NoLog: true,
	}}
	ts.start()
	t.Cleanup(ts.shutdown)
	return ts
}

func (ts *testServer) start() {
	ts.t.Helper()
	opts := ts.opts
	s, err := server.NewServer(&opts)
	if err != nil {
		ts.t.Fatal(err)
	}
	s.Start()
	if !s.ReadyForConnections(testTimeout) {
		ts.t.Fatal("NATS server is not ready")
	}
	ts.s = s
}

func (ts *testServer) shutdown() {
	ts.s.Shutdown()
	ts.s.WaitForShutdown()
}

func (ts *testServer) restart() {
	ts.t.Helper()
	ts.shutdown()
	ts.start()
}

func (ts *testServer) connect(options ...nats.Option) jetstream.JetStream {
	ts.t.Helper()
	closed := make(chan struct{})
	nc, err := nats.Connect(ts.s.ClientURL(), append([]nats.Option{nats.Timeout(testTimeout), nats.MaxReconnects(-1), nats.ReconnectWait(10 * time.Millisecond),
		nats.ReconnectJitter(0, 0), nats.ClosedHandler(func(*nats.Conn) { close(closed) })}, options...)...)
	if err != nil {
		ts.t.Fatal(err)
	}
	ts.t.Cleanup(func() { nc.Close(); <-closed })
	js, err := jetstream.New(nc)
	if err != nil {
		ts.t.Fatal(err)
	}
	return js
}

const testBucket = "webhooks_endpoints"

// createBucket tries until it succeeds: the server may still be removing the
// files of a bucket that was just deleted.
func createBucket(t testing.TB, js jetstream.JetStream) jetstream.KeyValue {
	t.Helper()
	ctx := testContext(t)
	for {
		kv, err := js.CreateKeyValue(ctx, jetstream.KeyValueConfig{Bucket: testBucket, History: 5})
		if err == nil {
			return kv
		}
		if ctx.Err() != nil {
			t.Fatal(err)
		}
	}
}

// newBucket is for tests that need no more than a bucket.
func newBucket(t testing.TB) jetstream.KeyValue {
	t.Helper()
	_, kv := newJetStream(t)
	return kv
}

func newJetStream(t testing.TB) (jetstream.JetStream, jetstream.KeyValue) {
	t.Helper()
	js := startServer(t).connect()
	return js, createBucket(t, js)
}

const (
	testSecret     = "whsec_AAECAwQFBgcICQoLDA0ODxAREhMUFRYX"
	testSecret2    = "whsec_AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8="
	testPrivateKey = "whsk_6Xb/dCcHpPea21PS1N9VY/NZW723CEc77N4rJCubMbfVKIDij2HKpMKkioLlX0dRqSKJp4AJ6p9lMicMFs6Kvg=="
	testPublicKey  = "whpk_1SiA4o9hyqTCpIqC5V9HUakiiaeACeqfZTInDBbOir4="
)

// testDocument is as small as a valid document can be.
func testDocument() Document {
	d := NewDocument()
	d.Tenant, d.ID, d.URL, d.Events = "acme", "crm", "https://crm.example.com/hooks", []string{"order.*"}
	return d
}

func numberedDocument(i int) Document {
	d := testDocument()
	d.Tenant, d.ID = fmt.Sprintf("tenant-%d", i/10), fmt.Sprintf("endpoint-%d", i)
	d.URL = fmt.Sprintf("https://crm.example.com/hooks/%d", i)
	d.Events = []string{"order.*", "invoice.paid"}
	d.Secrets = secrets(testSecret)
	return d
}
