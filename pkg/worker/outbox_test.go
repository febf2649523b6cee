package worker

import (
	"context"
	"fmt"
	"slices"
	"sync/atomic"
	"testing"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"jethook/pkg/delivery"
	"jethook/pkg/endpoint"
)

// bound bounds a stream to a number of bytes, 0 for none.
func (w *world) bound(stream string, bytes int64) {
	w.Helper()
	i := slices.IndexFunc(w.topology.Streams, func(c jetstream.StreamConfig) bool { return c.Name == stream })
	c := w.topology.Streams[i]
	c.MaxBytes = -1
	if bytes > 0 {
		c.MaxBytes = bytes
	}
	_, err := w.js.UpdateStream(w.ctx, c)
	w.must(err)
}

// What came of an attempt is stored once NATS can, nothing is acked before, and
// the attempt is not made again meanwhile.
func TestStoreTriesUntilNATSHasIt(t *testing.T) {
	t.Parallel()
	w := newWorld(t, setting{ackWait: keptAckWait})
	w.endpoint("crm", every(10*time.Millisecond, 2))
	w.answer(status(503))
	flaky := &flakyJS{JetStream: w.js}
	flaky.broken.Store(true)
	r := w.run(4, time.Second, func(worker *Worker) {
		worker.js, worker.keepEvery = flaky, 500*time.Millisecond
	})
	w.publish("order.created", "evt_1", "{}")
	w.until("it was tried for longer than AckWait", func() bool { return flaky.tries.Load() >= 5 && r.storing.lasted() > keptAckWait+time.Second })
	if f := w.fanout(); f.NumAckPending != 1 || f.NumRedelivered != 0 {
		t.Errorf("%d events are not acked and %d came again, want 1 and 0", f.NumAckPending, f.NumRedelivered)
	}
	if len(w.sender.calls) != 1 || r.storing.lasted() == 0 {
		t.Errorf("%d attempts, trouble for %v", len(w.sender.calls), r.storing.lasted())
	}
	flaky.broken.Store(false)
	if l := w.dead(1)[0]; l.Attempts != 2 {
		t.Errorf("dead after %d attempts, want 2", l.Attempts)
	}
	w.settled()
	if r.storing.lasted() != 0 {
		t.Error("the trouble has no end")
	}
}

// flakyJS stores nothing while it is broken.
type flakyJS struct {
	jetstream.JetStream
	broken atomic.Bool
	tries  atomic.Int64
	err    error
}

func (f *flakyJS) PublishMsg(ctx context.Context, m *nats.Msg, o ...jetstream.PublishOpt) (*jetstream.PubAck, error) {
	f.tries.Add(1)
	if f.broken.Load() {
		if f.err != nil {
			return nil, f.err
		}
		return nil, &jetstream.APIError{Code: 503, ErrorCode: 10077, Description: "maximum bytes exceeded"}
	}
	return f.JetStream.PublishMsg(ctx, m, o...)
}

// What NATS will never take is not tried again and again.
func TestPermanentErrorsAreNotTriedAgain(t *testing.T) {
	t.Parallel()
	w := newWorld(t, setting{})
	r := New(w.options())
	header := nats.NewMsg("webhooks.deliveries.default.acme.crm")
	header.Header.Set("X-Large", fmt.Sprintf("%070000d", 1))
	payload := nats.NewMsg(header.Subject)
	payload.Data = make([]byte, w.nc.MaxPayload()+1)
	for name, m := range map[string]*nats.Msg{"header over 64 KiB": header, "payload over the maximum": payload} {
		if err := r.publish(w.ctx, m); err == nil {
			t.Errorf("%s: stored", name)
		}
		if err := r.publishLetter(w.ctx, m); err == nil {
			t.Errorf("%s: stored", name)
		}
	}
	if w.ctx.Err() != nil || r.storing.lasted()+r.burying.lasted() != 0 {
		t.Error("tried again what can never go well")
	}
}

// A full stream of dead letters loses nothing, keeps no slot and harms no other
// endpoint; what was dead stays dead, with its reason, and is stored as soon as
// there is space.
func TestDeadLettersAreFull(t *testing.T) {
	t.Parallel()
	w := newWorld(t, setting{})
	const slots, n = 4, 20
	w.endpoint("bad", func(d *endpoint.Document) { d.Events = []string{"order.bad"} })
	w.endpoint("good", func(d *endpoint.Document) { d.Events = []string{"order.good"} })
	w.answer(func(_ context.Context, c call) delivery.Result {
		if c.endpoint == "bad" {
			return delivery.Result{Status: 400}
		}
		return delivery.Result{Status: 200}
	})
	w.bound(w.names.DeadLetters(), 1)
	w.run(slots, time.Second, func(worker *Worker) { worker.patience = 200 * time.Millisecond })
	w.publishMany("order.bad", "evt_", n)
	w.until("the dead wait among the deliveries", func() bool {
		return w.state(w.names.Deliveries()).Msgs == n && w.fanout().NumAckPending == 0
	})
	w.publish("order.good", "evt_good", "{}")
	w.until("the good endpoint has its event", func() bool { return len(w.sender.calls) == n+1 })
	for range n + 1 {
		w.next()
	}
	// Their time comes, and still there is no space.
	m := w.stored("webhooks.deliveries.default.acme.bad")
	d, err := delivery.Decode("acme", "bad", m.Header, m.Data)
	w.must(err)
	if d.State.Dead != delivery.Rejected || len(d.State.History) != 1 || time.Until(d.State.Due) < unavailableFor/2 {
		t.Errorf("waits as %+v, want rejected with its history, later", d.State)
	}
	d.State.Due = time.Time{}
	before := w.state(w.names.Deliveries()).LastSeq // more than n where some were held before, for lack of slots
	w.put(d)
	w.until("it waits again", func() bool { return w.state(w.names.Deliveries()).LastSeq >= before+2 })
	w.bound(w.names.DeadLetters(), 0)
	w.remove("bad") // says nothing about why it died
	w.put(d)
	l := w.dead(1)[0]
	if l.Reason != delivery.Rejected || l.Attempts != 1 || l.LastStatus != 400 {
		t.Errorf("dead letter %+v, want rejected with 400 at the first attempt", l)
	}
	w.quiet()
}

// Within its patience a dead letter is stored as soon as there is space.
func TestDeadLetterWaitsForSpace(t *testing.T) {
	t.Parallel()
	w := newWorld(t, setting{})
	w.endpoint("crm")
	w.answer(status(400))
	w.bound(w.names.DeadLetters(), 1)
	r := w.run(4, time.Second)
	w.publish("order.created", "evt_1", "{}")
	w.until("there is no space", func() bool { return r.burying.lasted() > 0 })
	w.bound(w.names.DeadLetters(), 0)
	if l := w.dead(1)[0]; l.Reason != delivery.Rejected {
		t.Errorf("dead letter %+v", l)
	}
	w.settled()
	if got := w.state(w.names.Deliveries()).LastSeq; got != 0 {
		t.Errorf("%d deliveries were stored, want none", got)
	}
}

// Acks of an asynchronous publish that never come do not hold up the others.
func TestAnswersThatNeverCome(t *testing.T) {
	t.Parallel()
	w := newWorld(t, setting{})
	for i := range direct + 1 {
		w.endpoint(fmt.Sprintf("ep%d", i))
	}
	w.run(8, time.Second, func(worker *Worker) { worker.js = silentJS{w.js} })
	w.publish("order.created", "evt_1", "{}")
	for range direct + 1 {
		w.next()
	}
	w.settled()
}

// silentJS never answers an asynchronous publish.
type silentJS struct{ jetstream.JetStream }

func (silentJS) PublishMsgAsync(m *nats.Msg, _ ...jetstream.PublishOpt) (jetstream.PubAckFuture, error) {
	return silent{m}, nil
}

type silent struct{ m *nats.Msg }

func (silent) Ok() <-chan *jetstream.PubAck { return nil }
func (silent) Err() <-chan error            { return nil }
func (s silent) Msg() *nats.Msg             { return s.m }
