package streams

import (
	"context"
	"testing"
	"time"

	"github.com/nats-io/nats-server/v2/server"
	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
	"go.uber.org/goleak"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

const testTimeout = 2 * time.Minute

func testContext(t testing.TB) context.Context {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), testTimeout)
	t.Cleanup(cancel)
	return ctx
}

// startServer starts a NATS server with JetStream and the given users; without
// any, everybody may do everything.
func startServer(t testing.TB, users ...*server.User) *server.Server {
	t.Helper()
	s, err := server.NewServer(&server.Options{
		Host: "127.0.0.1", Port: -1, JetStream: true, StoreDir: t.TempDir(), NoSigs: true, NoLog: true, Users: users,
		AuthTimeout: testTimeout.Seconds(), // that credentials come late is no test's subject
	})
	if err != nil {
		t.Fatal(err)
	}
	s.Start()
	t.Cleanup(func() { s.Shutdown(); s.WaitForShutdown() })
	if !s.ReadyForConnections(testTimeout) {
		t.Fatal("NATS server is not ready")
	}
	return s
}

func connect(t testing.TB, s *server.Server, options ...nats.Option) jetstream.JetStream {
	t.Helper()
	closed := make(chan struct{})
	options = append(options,
		nats.Timeout(testTimeout),
		nats.ClosedHandler(func(*nats.Conn) { close(closed) }),
		nats.ErrorHandler(func(*nats.Conn, *nats.Subscription, error) {})) // violations are what some tests are about
	nc, err := nats.Connect(s.ClientURL(), options...)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { nc.Close(); <-closed })
	js, err := jetstream.New(nc)
	if err != nil {
		t.Fatal(err)
	}
	return js
}

func testNames(t testing.TB, namespace string) Names {
	t.Helper()
	n, err := NewNames(namespace)
	if err != nil {
		t.Fatal(err)
	}
	return n
}

func testTopology(t testing.TB, namespace string) Topology {
	t.Helper()
	topology, err := NewTopology(Options{Names: testNames(t, namespace)})
	if err != nil {
		t.Fatal(err)
	}
	return topology
}
