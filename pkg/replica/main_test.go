package replica

import (
	"bytes"
	"context"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
	"github.com/rs/zerolog"
	"go.uber.org/goleak"

	"jethook/pkg/egress"
	"jethook/pkg/embedded"
	"jethook/pkg/endpoint"
	"jethook/streams"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

const testTimeout = 2 * time.Minute

// output collects the log and lets a test wait for a part of it.
type output struct {
	mu    sync.Mutex
	text  bytes.Buffer
	wrote chan struct{}
}

func newOutput() *output { return &output{wrote: make(chan struct{}, 1)} }

// Write keeps what the log says.
func (o *output) Write(p []byte) (int, error) {
	o.mu.Lock()
	defer o.mu.Unlock()
	defer func() {
		select {
		case o.wrote <- struct{}{}:
		default:
		}
	}()
	return o.text.Write(p)
}

func (o *output) String() string {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.text.String()
}

// wait waits until the log has said part so many times.
func (o *output) wait(t *testing.T, part string, times int) {
	t.Helper()
	deadline := time.After(testTimeout)
	for strings.Count(o.String(), part) < times {
		select {
		case <-o.wrote:
		case <-deadline:
			t.Fatalf("the log does not say %q %d times:\n%s", part, times, o)
		}
	}
}

func testOptions(t *testing.T) (Options, *output) {
	t.Helper()
	names, err := streams.NewNames("")
	if err != nil {
		t.Fatal(err)
	}
	log := newOutput()
	logger := zerolog.New(log)
	return Options{
		Version: "test", Names: names, HTTPAddr: "127.0.0.1:0", MaxInFlight: 8, Grace: 5 * time.Second,
		Egress: egress.Options{Allow: egress.AnyPort(netip.MustParsePrefix("127.0.0.0/8")), AllowHTTP: true}, Logger: logger,
		Embedded: &embedded.Options{DataDir: t.TempDir(), Listen: "127.0.0.1:0", Sync: time.Minute, Logger: logger},
	}, log
}

// started is a replica that runs until stop.
type started struct {
	Running
	stop func() error // returns what Run returned; twice is harmless
}

func start(t *testing.T, o Options) started {
	t.Helper()
	// The test's context ends before its cleanups, which stop the last replica first:
	// the server of the others may be in an earlier one.
	ctx, cancel := context.WithCancel(context.WithoutCancel(t.Context()))
	running := make(chan Running, 1)
	o.Started = func(r Running) { running <- r }
	ended := make(chan error, 1)
	go func() { ended <- Run(ctx, o) }()
	s := started{stop: sync.OnceValue(func() error { cancel(); return <-ended })}
	t.Cleanup(func() {
		if err := s.stop(); err != nil {
			t.Errorf("the replica ended with %v", err)
		}
	})
	select {
	case s.Running = <-running:
	case err := <-ended:
		ended <- nil
		t.Fatalf("the replica does not start: %v", err)
	case <-time.After(testTimeout):
		t.Fatal("the replica does not start")
	}
	return s
}

// refused returns the error of a replica that must not start.
func refused(t *testing.T, o Options) string {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), testTimeout)
	defer cancel()
	o.Started = func(Running) { t.Error("the replica starts"); cancel() }
	err := Run(ctx, o)
	if err == nil {
		t.Fatal("no error")
	}
	return err.Error()
}

func dial(t *testing.T, url string) jetstream.JetStream {
	t.Helper()
	closed := make(chan struct{})
	nc, err := nats.Connect(url, nats.Timeout(testTimeout), nats.ClosedHandler(func(*nats.Conn) { close(closed) }))
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

// endpoints returns the addresses of the stored endpoints by name.
func endpoints(t *testing.T, js jetstream.JetStream) map[string]string {
	t.Helper()
	kv, err := js.KeyValue(t.Context(), "webhooks_endpoints")
	if err != nil {
		t.Fatal(err)
	}
	documents, _, err := endpoint.NewStore(kv).List(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	found := map[string]string{}
	for _, d := range documents {
		found[d.Name()] = d.URL
	}
	return found
}

func write(t *testing.T, file, text string) {
	t.Helper()
	// Swapped in whole, as editors and mounted volumes do.
	next := filepath.Join(filepath.Dir(file), "next")
	if err := os.WriteFile(next, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := os.Rename(next, file); err != nil {
		t.Fatal(err)
	}
}
