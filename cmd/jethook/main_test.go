package main

import (
	"bytes"
	"context"
	"io"
	"strings"
	"testing"
	"time"
	"unicode"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
	"github.com/rs/zerolog"
	"go.uber.org/goleak"

	"jethook/pkg/embedded"
	"jethook/pkg/endpoint"
	"jethook/streams"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// world is a NATS server with the topology and an endpoint acme/crm.
type world struct {
	*testing.T
	ctx   context.Context
	url   string
	js    jetstream.JetStream
	names streams.Names
	store *endpoint.Store
}

func startWorld(t *testing.T) *world {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 2*time.Minute)
	t.Cleanup(cancel)
	w := &world{T: t, ctx: ctx}
	s, err := embedded.Start(embedded.Options{DataDir: t.TempDir(), Listen: "127.0.0.1:0", Sync: time.Minute, Logger: zerolog.Nop()})
	w.must(err)
	t.Cleanup(func() {
		if err := s.Stop(); err != nil {
			t.Error(err)
		}
	})
	w.url = s.URL()
	nc, err := nats.Connect(w.url, nats.Timeout(2*time.Minute))
	w.must(err)
	t.Cleanup(nc.Close)
	w.js, err = jetstream.New(nc)
	w.must(err)
	w.names, err = streams.NewNames("")
	w.must(err)
	topology, err := streams.NewTopology(streams.Options{Names: w.names})
	w.must(err)
	_, err = topology.Ensure(ctx, w.js)
	w.must(err)
	// A stall of seconds is not to have the server forget what a test says that lives.
	heartbeats, err := w.js.Stream(ctx, "KV_"+w.names.ReplicasBucket())
	w.must(err)
	config := heartbeats.CachedInfo().Config
	config.MaxAge = 0
	_, err = w.js.UpdateStream(ctx, config)
	w.must(err)
	w.store = endpoint.NewStore(w.bucket(w.names.EndpointsBucket()), endpoint.Events(streams.NewEventLog(w.js, w.names)))
	w.apply("acme/crm", nil)
	return w
}

func (w *world) must(err error) {
	w.Helper()
	if err != nil {
		w.Fatal(err)
	}
}

func (w *world) bucket(name string) jetstream.KeyValue {
	w.Helper()
	kv, err := w.js.KeyValue(w.ctx, name)
	w.must(err)
	return kv
}

// apply stores an endpoint that wants every event, changed as change does.
func (w *world) apply(name string, change func(*endpoint.Document)) {
	w.Helper()
	d := endpoint.NewDocument()
	d.Tenant, d.ID, _ = strings.Cut(name, "/")
	d.URL, d.Events = "https://"+d.ID+".example.com/", []string{">"}
	if change != nil {
		change(&d)
	}
	_, err := w.store.Apply(w.ctx, d)
	w.must(err)
}

// run runs the command line in a pipe, with nobody to ask.
func (w *world) run(wantExit int, args ...string) (stdout, stderr string) {
	w.Helper()
	var out, errs bytes.Buffer
	return w.runAs(&app{In: strings.NewReader(""), Out: &out, Err: &errs}, wantExit, args...)
}

// runAs runs the command line as an app, whose Out and Err are buffers.
func (w *world) runAs(a *app, wantExit int, args ...string) (stdout, stderr string) {
	w.Helper()
	exit := run(append([]string{"--server", w.url}, args...), a)
	stdout, stderr = textOf(a.Out), textOf(a.Err)
	if exit != wantExit {
		w.Errorf("%s: exit %d, want %d\n%s%s", args, exit, wantExit, stdout, stderr)
	}
	if strings.ContainsFunc(stdout, func(r rune) bool { return r != '\n' && !unicode.IsPrint(r) }) {
		w.Errorf("%s: control codes in a pipe: %q", args, stdout)
	}
	return stdout, stderr
}

func textOf(buffer io.Writer) string { return buffer.(interface{ String() string }).String() }

// asked runs the command line with somebody who gives these answers.
func (w *world) asked(answers string, wantExit int, args ...string) (stdout, stderr string) {
	w.Helper()
	var out, errs bytes.Buffer
	return w.runAs(&app{In: strings.NewReader(answers), Out: &out, Err: &errs, Interactive: true}, wantExit, args...)
}

func (w *world) count(stream string) int {
	w.Helper()
	s, err := w.js.Stream(w.ctx, stream)
	w.must(err)
	return int(s.CachedInfo().State.Msgs)
}

// until waits for a fact.
func (w *world) until(what string, fact func() bool) {
	w.Helper()
	ticker := time.NewTicker(2 * time.Millisecond)
	defer ticker.Stop()
	for !fact() {
		select {
		case <-w.ctx.Done():
			w.Fatalf("it never came to this: %s", what)
		case <-ticker.C:
		}
	}
}

func contains(t *testing.T, text string, wants ...string) {
	t.Helper()
	for _, want := range wants {
		if !strings.Contains(text, want) {
			t.Errorf("no %q in\n%s", want, text)
		}
	}
}

// rows returns the lines of a table without its header, each with single spaces.
func rows(text string) []string {
	var rows []string
	for _, line := range strings.Split(strings.TrimSpace(text), "\n")[1:] {
		rows = append(rows, strings.Join(strings.Fields(line), " "))
	}
	return rows
}
