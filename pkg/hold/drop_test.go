package hold

import (
	"testing"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"jethook/streams"
)

// neighbours have names that are like acme/crm.
var neighbours = []string{"acme/crm-2", "acme/crm2", "acme/cr", "acme2/crm", "acm/crm", "crm/acme"}

func (w *world) besides() {
	w.Helper()
	for _, name := range neighbours {
		w.hold(given(name, "a"), streams.HeldNew)
		w.hold(given(name, "b"), streams.HeldLate)
		w.queue(name)
	}
}

// queue stores a delivery for an endpoint that waits in each lane and a schedule.
func (w *world) queue(name string) {
	w.Helper()
	d := given(name, "q")
	for _, subject := range []string{
		w.names.Delivery("default", d.Event.Tenant, d.Endpoint),
		w.names.Delivery("fast", d.Event.Tenant, d.Endpoint),
		w.names.Scheduled(d.Event.Tenant, d.Endpoint, "q", "e7"),
	} {
		m, err := d.Encode(subject, w.nc.MaxPayload())
		w.must(err)
		if subject == w.names.Scheduled(d.Event.Tenant, d.Endpoint, "q", "e7") {
			m.Header.Set("Nats-Schedule", "@at "+time.Now().Add(time.Hour).Format(time.RFC3339Nano))
			m.Header.Set("Nats-Schedule-Target", w.names.Delivery("default", d.Event.Tenant, d.Endpoint))
		}
		_, err = w.js.PublishMsg(w.ctx, m)
		w.must(err)
	}
}

// untouched fails unless all that besides stored is there.
func (w *world) untouched() {
	w.Helper()
	for _, name := range neighbours {
		w.waiting(name, Waiting{New: 1, Late: 1})
	}
	w.messages("webhooks.deliveries.>", 2*len(neighbours))
	w.messages("webhooks.scheduled.>", len(neighbours))
}

// messages fails unless as many messages lie under a subject.
func (w *world) messages(subject string, want int) {
	w.Helper()
	stream, err := w.js.Stream(w.ctx, w.names.Deliveries())
	w.must(err)
	info, err := stream.Info(w.ctx, jetstream.WithSubjectFilter(subject))
	w.must(err)
	got := uint64(0)
	for _, n := range info.State.Subjects {
		got += n
	}
	if got != uint64(want) {
		w.Errorf("%d lie under %s, want %d", got, subject, want)
	}
}

func TestDropIsExact(t *testing.T) {
	w := newWorld(t)
	w.besides()
	var seqs []uint64
	for range 10 {
		seqs = append(seqs, w.hold(given("acme/crm", "a"), streams.HeldNew))
		w.hold(given("acme/crm", "b"), streams.HeldLate)
	}
	for _, c := range []struct {
		upTo uint64
		left uint64
	}{{0, 10}, {1, 10}, {seqs[0] - 1, 10}, {seqs[0], 9}, {seqs[0], 9}, {seqs[4], 5}, {seqs[9], 0}, {seqs[9] + 1000, 0}} {
		w.must(w.store.Drop(w.ctx, "acme", "crm", streams.HeldNew, c.upTo))
		w.waiting("acme/crm", Waiting{New: c.left, Late: 10})
	}
	w.untouched()
}

func TestDropOne(t *testing.T) {
	w := newWorld(t)
	w.besides()
	w.hold(given("acme/crm", "a"), streams.HeldLate)
	seq := w.hold(given("acme/crm", "b"), streams.HeldLate)
	for range 2 { // the second time it is gone
		w.must(w.store.DropOne(w.ctx, seq))
		w.waiting("acme/crm", Waiting{Late: 1})
	}
	w.must(w.store.DropOne(w.ctx, seq+1000))
	w.untouched()
	if got, ok, err := w.store.Head(w.ctx, "acme", "crm", streams.HeldLate); !ok || err != nil || got.Delivery.Event.ID != "a" {
		t.Errorf("Head is %+v, %v, %v; want a", got, ok, err)
	}
}

func TestDropOneSaysWhyItCannot(t *testing.T) {
	w := newWorld(t)
	w.must(w.js.DeleteStream(w.ctx, w.names.Deliveries()))
	if err := w.store.DropOne(w.ctx, 1); err == nil {
		t.Error("without a stream nothing can be dropped, and no error says so")
	}
}

func TestDiscardTakesAllThatWaits(t *testing.T) {
	w := newWorld(t)
	w.besides()
	for _, kind := range []streams.Kind{streams.HeldNew, streams.HeldNew, streams.HeldLate, streams.HeldProbe} {
		w.hold(given("acme/crm", "a"), kind)
	}
	w.queue("acme/crm")
	for _, beside := range []string{w.names.ReplayMark("x"), w.names.OrderedState("acme", "crm"), w.names.Unreadable()} {
		_, err := w.js.PublishMsg(w.ctx, nats.NewMsg(beside))
		w.must(err)
	}
	n, err := w.store.Discard(w.ctx, "acme", "crm")
	w.must(err)
	if n != 7 {
		t.Errorf("%d discarded, want 7", n)
	}
	w.waiting("acme/crm", Waiting{})
	w.untouched()
	w.messages("webhooks.held._ordered.>", 1)
	w.messages("webhooks.held._replay.>", 1)
	w.messages("webhooks.held._unreadable", 1)
	if n, err := w.store.Discard(w.ctx, "acme", "crm"); n != 0 || err != nil {
		t.Errorf("discarded again: %d, %v", n, err)
	}
}

// What a worker has in its hands when it is discarded does not count as waiting
// in the consumer for ever.
func TestDiscardSettlesTheConsumer(t *testing.T) {
	w := newWorld(t)
	w.queue("globex/other") // the stream begins elsewhere
	for range 3 {
		w.queue("acme/crm")
	}
	config, err := w.js.Consumer(w.ctx, w.names.Deliveries(), streams.Deliver)
	w.must(err)
	short := config.CachedInfo().Config
	short.AckWait = 300 * time.Millisecond
	c, err := w.js.UpdateConsumer(w.ctx, w.names.Deliveries(), short)
	w.must(err)
	batch, err := c.Fetch(2) // the other's and one of acme's
	w.must(err)
	for m := range batch.Messages() {
		if m.Subject() == w.names.Delivery("default", "globex", "other") {
			w.ack(m)
		}
	}
	_, err = w.store.Discard(w.ctx, "acme", "crm")
	w.must(err)
	w.until("nothing is pending", func() bool {
		batch, err := c.FetchNoWait(10)
		w.must(err)
		for m := range batch.Messages() {
			t.Fatalf("%s was handed out", m.Subject())
		}
		info, err := c.Info(w.ctx)
		w.must(err)
		return info.NumPending == 0 && info.NumAckPending == 0
	})
}
