package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/nats-io/nats.go/jetstream"
	"github.com/rs/zerolog"

	"jethook/config"
	"jethook/pkg/deadletter"
	"jethook/pkg/egress"
	"jethook/pkg/embedded"
	"jethook/pkg/endpoint"
	"jethook/pkg/gate"
	"jethook/pkg/hold"
	"jethook/pkg/natsconn"
	"jethook/pkg/replica"
	"jethook/pkg/retry"
	"jethook/pkg/secret"
	"jethook/streams"
)

// demoPolicy is the patience of the demo's endpoints: the default one's shape,
// over within seconds.
var demoPolicy = retry.Policy{
	Base: 200 * time.Millisecond, Factor: 2, MaxDelay: 5 * time.Second, MaxAttempts: 5, Jitter: retry.JitterFull,
}

// demoWorld is all that runs during the demo: a replica with a NATS server
// inside, the receivers, and a connection to look at what happens.
type demoWorld struct {
	replica.Running
	receivers [len(demoCast)]*demoReceiver
	file      string // the endpoint documents, which the replica follows
	client    *client
	endpoints *endpoint.Store
	letters   *deadletter.Store
	held      *hold.Store
	gates     *gate.Fleet
	fanout    jetstream.Consumer
	waiting   jetstream.Stream // deliveries on their way
	dead      jetstream.Stream
	wanted    [len(demoCast)]int // how many events each endpoint is to get

	undo []func() error
}

// startDemo starts everything. It calls lost if the replica ends by itself. The
// world that it returns must be stopped, also after an error.
func startDemo(ctx context.Context, lost context.CancelCauseFunc, log *demoLog) (*demoWorld, error) {
	w := &demoWorld{}
	names, err := streams.NewNames("")
	if err != nil {
		return w, err
	}
	dir, err := os.MkdirTemp("", "jethook-demo-")
	if err != nil {
		return w, fmt.Errorf("make a directory for the demo's data: %w: set TMPDIR to one that can be written", err)
	}
	w.later(func() error { return os.RemoveAll(dir) })
	if err := w.startReceivers(); err != nil {
		return w, err
	}
	w.file = filepath.Join(dir, "endpoints.yaml")
	if err := os.WriteFile(w.file, w.documents(), 0o600); err != nil {
		return w, fmt.Errorf("write the endpoint documents: %w", err)
	}
	logger := zerolog.New(zerolog.ConsoleWriter{Out: log, NoColor: true, TimeFormat: time.TimeOnly}).
		Level(zerolog.WarnLevel).With().Timestamp().Logger()
	ring, err := secret.MakeRing(dir)
	if err != nil {
		return w, err
	}
	err = w.startReplica(ctx, lost, replica.Options{
		Version: version, Names: names,
		Embedded:      &embedded.Options{DataDir: dir, Listen: "127.0.0.1:0", Logger: logger},
		HTTPAddr:      "127.0.0.1:0",
		EndpointsFile: w.file, // in force before the first event, by the order in which a replica starts
		MaxInFlight:   64,
		Egress:        egress.Options{Allow: egress.AnyPort(netip.MustParsePrefix("127.0.0.0/8")), AllowHTTP: true},
		Grace:         2 * time.Second,
		MasterKeys:    ring,
		Logger:        logger,
	})
	if err != nil {
		return w, err
	}
	return w, w.connect(ctx, names)
}

// later registers how to undo what was just done.
func (w *demoWorld) later(undo func() error) { w.undo = append(w.undo, undo) }

// stop undoes everything, the last first.
func (w *demoWorld) stop() error {
	var errs []error
	for _, undo := range slices.Backward(w.undo) {
		errs = append(errs, undo())
	}
	w.undo = nil
	return errors.Join(errs...)
}

func (w *demoWorld) startReceivers() error {
	for i, role := range demoCast {
		r, err := newDemoReceiver(role)
		if err != nil {
			return err
		}
		w.receivers[i] = r
		w.later(r.Close)
		if r.url, err = r.Listen("127.0.0.1:0"); err != nil {
			return err
		}
	}
	return nil
}

// documents is the endpoints file.
func (w *demoWorld) documents() []byte {
	var b strings.Builder
	b.WriteString("endpoints:\n")
	for _, r := range w.receivers {
		fmt.Fprintf(&b, `  - tenant: %s
    id: %s
    url: %s
    events: %s
    secrets: [%q]
    retry: {base: %s, factor: %g, max_delay: %s, max_attempts: %d, jitter: %s}
`, demoTenant, r.id, r.url, r.events, r.secret.Reveal(),
			demoPolicy.Base, demoPolicy.Factor, demoPolicy.MaxDelay, demoPolicy.MaxAttempts, demoPolicy.Jitter)
	}
	return []byte(b.String())
}

// startReplica returns when the replica delivers. The replica outlives ctx
// until stop, so that nothing is pulled from under what looks at it.
func (w *demoWorld) startReplica(ctx context.Context, lost context.CancelCauseFunc, o replica.Options) error {
	own, stop := context.WithCancel(context.WithoutCancel(ctx))
	started := make(chan replica.Running, 1)
	o.Started = func(r replica.Running) { started <- r }
	var err error
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		end := replica.Run(own, o)
		if own.Err() == nil {
			lost(fmt.Errorf("the replica ended early: %w", end))
			return
		}
		err = end
	}()
	w.later(func() error { stop(); <-ended; return err })
	select {
	case w.Running = <-started:
		return nil
	case <-ctx.Done():
		return context.Cause(ctx)
	}
}

// connect opens what the demo looks at.
func (w *demoWorld) connect(ctx context.Context, names streams.Names) error {
	nc, err := natsconn.Connect(natsconn.Options{URL: w.URL}, "jethook demo", zerolog.Nop())
	if err != nil {
		return err
	}
	w.later(func() error { nc.Close(); return nil })
	js, err := jetstream.New(nc)
	if err != nil {
		return fmt.Errorf("JetStream: %w", err)
	}
	w.client = &client{NC: nc, JS: js, Names: names, config: config.Config{DataDir: filepath.Dir(w.file)}}
	w.letters, w.held = deadletter.NewStore(js, names), hold.NewStore(js, names)
	if w.endpoints, err = w.client.endpoints(ctx); err != nil {
		return err
	}
	if w.fanout, err = js.Consumer(ctx, names.Events(), streams.Fanout); err != nil {
		return fmt.Errorf("look up consumer %s: %w", streams.Fanout, err)
	}
	if w.waiting, err = js.Stream(ctx, names.Deliveries()); err != nil {
		return fmt.Errorf("look up stream %s: %w", names.Deliveries(), err)
	}
	if w.dead, err = js.Stream(ctx, names.DeadLetters()); err != nil {
		return fmt.Errorf("look up stream %s: %w", names.DeadLetters(), err)
	}
	kv, err := js.KeyValue(ctx, names.GatesBucket())
	if err != nil {
		return fmt.Errorf("open bucket %s: %w", names.GatesBucket(), err)
	}
	w.gates = gate.NewFleet(kv, "", zerolog.Nop()) // it only looks, so that it needs no name
	w.later(func() error { w.gates.Stop(); return nil })
	return w.gates.Start(ctx)
}

// demoLog keeps what the replica warns of, to be shown if the demo fails.
type demoLog struct {
	mu     sync.Mutex
	buffer bytes.Buffer
}

// Write keeps a line.
func (l *demoLog) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.buffer.Write(p)
}

func (l *demoLog) text() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.buffer.String()
}
