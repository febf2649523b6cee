package audit

import (
	"context"
	"fmt"
	"strconv"
	"sync/atomic"
	"testing"
	"time"

	"github.com/nats-io/nats-server/v2/server"
	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
	"github.com/rs/zerolog"
	"go.uber.org/goleak"

	"jethook/pkg/attempt"
	"jethook/pkg/deadletter"
	"jethook/pkg/delivery"
	"jethook/pkg/event"
	"jethook/streams"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

const testTimeout = 2 * time.Minute

// world is a NATS server with the topology. The test plays the replicas: it stores
// what they would have stored.
type world struct {
	testing.TB
	ctx   context.Context
	js    jetstream.JetStream
	names streams.Names
	log   *logbook
	*Auditor
}

// logbook is a writer of the log that knows how many lines it was given, and how many
// of them are stored or lost.
type logbook struct {
	*attempt.Writer
	given, done atomic.Int64
}

func (l *logbook) AttemptsLogged(n int) { l.done.Add(int64(n)) }
func (l *logbook) AttemptsLost(n int)   { l.done.Add(int64(n)) }

func (l *logbook) Matched(e *event.Event, matched, ordered []string) {
	l.given.Add(1)
	l.Writer.Matched(e, matched, ordered)
}

func (l *logbook) Attempt(m *attempt.Made) {
	l.given.Add(2) // to the records and to the ledger
	l.Writer.Attempt(m)
}

func (l *logbook) Dead(d *delivery.Delivery, reason delivery.Reason) {
	l.given.Add(1)
	l.Writer.Dead(d, reason)
}

// Flush returns when all is stored: the writer's own does not wait for so long where
// that takes seconds.
func (l *logbook) Flush(ctx context.Context) {
	for l.Writer.Flush(ctx); l.done.Load() < l.given.Load() && ctx.Err() == nil; l.Writer.Flush(ctx) {
		time.Sleep(time.Millisecond)
	}
}

func newWorld(t testing.TB) *world {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), testTimeout)
	t.Cleanup(cancel)
	s, err := server.NewServer(&server.Options{
		Host: "127.0.0.1", Port: -1, JetStream: true, StoreDir: t.TempDir(), NoSigs: true, NoLog: true,
	})
	w := &world{TB: t, ctx: ctx}
	w.must(err)
	s.Start()
	t.Cleanup(func() { s.Shutdown(); s.WaitForShutdown() })
	if !s.ReadyForConnections(time.Minute) {
		t.Fatal("the server is not ready")
	}
	nc, err := nats.Connect(s.ClientURL(), nats.Timeout(testTimeout))
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
	w.Auditor = New(w.js, w.names)
	w.settle = func(context.Context) error { return nil }
	w.skew = 0 // there is one server, and what is published next is no younger
	w.log = w.newLog()
	w.run(w.log)
	return w
}

// newLog returns a log that keeps what it is given, and stores nothing before it runs.
func (w *world) newLog() *logbook {
	log := &logbook{}
	log.Writer = attempt.NewWriter(attempt.Options{JetStream: w.js, Names: w.names, Counter: log, Logger: zerolog.Nop()})
	return log
}

func (w *world) run(log *logbook) {
	ctx, stop := context.WithCancel(context.Background())
	ended := make(chan struct{})
	go func() { defer close(ended); log.Run(ctx) }()
	w.Cleanup(func() { stop(); <-ended })
}

func (w *world) must(err error) {
	w.Helper()
	if err != nil {
		w.Fatal(err)
	}
}

// publish publishes an event of acme's.
func (w *world) publish(id string) event.Event {
	w.Helper()
	m := nats.NewMsg("webhooks.events.acme.order.created")
	m.Header.Set(jetstream.MsgIDHeader, id)
	m.Data = []byte("{}")
	ack, err := w.js.PublishMsg(w.ctx, m)
	w.must(err)
	w.learned(ack.Sequence)
	stream, err := w.js.Stream(w.ctx, w.names.Events())
	w.must(err)
	raw, err := stream.GetMsg(w.ctx, ack.Sequence)
	w.must(err)
	return w.eventOf(streams.Message{Subject: raw.Subject, Seq: raw.Sequence, Time: raw.Time, Header: raw.Header, Data: raw.Data})
}

// learned waits until the fanout consumer knows of an event, which it learns of a
// moment after that is stored: what it does not know of it seems to have had.
func (w *world) learned(seq uint64) {
	w.Helper()
	consumer, err := w.js.Consumer(w.ctx, w.names.Events(), streams.Fanout)
	w.must(err)
	for info := consumer.CachedInfo(); info.Delivered.Stream+info.NumPending < seq; {
		info, err = consumer.Info(w.ctx)
		w.must(err)
	}
}

// ackAll lets the fanout consumer have acked all that there is. The stream says
// how much that is: a consumer learns of what was stored a moment later.
func (w *world) ackAll() {
	w.Helper()
	stream, err := w.js.Stream(w.ctx, w.names.Events())
	w.must(err)
	consumer, err := stream.Consumer(w.ctx, streams.Fanout)
	w.must(err)
	for {
		info, err := consumer.Info(w.ctx)
		w.must(err)
		if info.AckFloor.Stream >= stream.CachedInfo().State.LastSeq {
			return
		}
		batch, err := consumer.FetchNoWait(100)
		w.must(err)
		for m := range batch.Messages() {
			w.must(m.DoubleAck(w.ctx))
		}
	}
}

// attempt keeps an attempt.
func (w *world) attempt(e event.Event, endpoint string, status int) *delivery.Delivery {
	return w.attemptAt(time.Now(), e, endpoint, status)
}

// attemptAt keeps an attempt that a replica made at a time by its clock.
func (w *world) attemptAt(at time.Time, e event.Event, endpoint string, status int) *delivery.Delivery {
	d := delivery.New(e, endpoint)
	r := delivery.Result{At: at, Duration: time.Millisecond, Status: status, Body: strconv.Itoa(status)}
	w.log.Attempt(&attempt.Made{Delivery: &d, Result: r, Verdict: delivery.Classify(r, nil)})
	return &d
}

// store stores a delivery under a subject, as it waits there.
func (w *world) store(d *delivery.Delivery, subject string) {
	w.Helper()
	m, err := d.Encode(subject, 0)
	w.must(err)
	_, err = w.js.PublishMsg(w.ctx, m)
	w.must(err)
}

// bury stores a dead letter.
func (w *world) bury(d *delivery.Delivery) {
	w.Helper()
	m, err := deadletter.NewWriter(w.names, func() int64 { return 0 }).Letter(d, "", delivery.Rejected, time.Now())
	w.must(err)
	_, err = w.js.PublishMsg(w.ctx, m)
	w.must(err)
	w.log.Dead(d, delivery.Rejected)
}

// exhumed removes a dead letter, as a replay or an operator does.
func (w *world) exhumed(seq uint64) {
	w.Helper()
	stream, err := w.js.Stream(w.ctx, w.names.DeadLetters())
	w.must(err)
	w.must(stream.DeleteMsg(w.ctx, seq))
}

func (w *world) audit(window Window) Report {
	w.Helper()
	w.log.Flush(w.ctx)
	r, err := w.Audit(w.ctx, window)
	w.must(err)
	if sum := r.Delivered + r.Waiting + r.Held + r.Dead + r.Discarded + r.Unaccounted - lost(r); sum != r.Matched {
		w.Errorf("%d matched, and the sum of all others is %d: %+v", r.Matched, sum, r)
	}
	return r
}

// lost returns how many differences are events that nobody matched.
func lost(r Report) (n int) {
	for _, d := range r.Differences {
		if d.Endpoint == "" {
			n++
		}
	}
	return n
}

func (w *world) expect(r Report, want Report) {
	w.Helper()
	r.Since, r.Until, r.Differences = time.Time{}, time.Time{}, nil
	if got, want := fmt.Sprintf("%+v", r), fmt.Sprintf("%+v", want); got != want {
		w.Errorf("got  %s\nwant %s", got, want)
	}
}
