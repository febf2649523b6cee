package hold

import (
	"errors"
	"reflect"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/nats-io/nats.go"

	"jethook/pkg/delivery"
	"jethook/pkg/event"
	"jethook/streams"
)

func TestHeadIsTheOldestOfItsKind(t *testing.T) {
	w := newWorld(t)
	w.hold(given("acme/crm-2", "other"), streams.HeldNew)
	w.hold(given("acme/crm", "late"), streams.HeldLate)
	d := given("acme/crm", "oldest")
	d.State.Attempts, d.State.First, d.State.Replay = 3, start.Add(time.Minute), true
	d.State.History = []delivery.Attempt{{Attempt: 3, At: start, Status: 503, Error: "down", DurationMS: 1.5}}
	d.Event.Fields = []event.Field{{Name: "content-type", Value: "text/plain"}}
	before := time.Now()
	seq := w.hold(d, streams.HeldNew)
	w.hold(given("acme/crm", "younger"), streams.HeldNew)
	got, ok, err := w.store.Head(w.ctx, "acme", "crm", streams.HeldNew)
	w.must(err)
	if !ok || got.Seq != seq || !reflect.DeepEqual(got.Delivery, *d) {
		t.Errorf("Head is %+v, %v; want %+v under %d", got, ok, *d, seq)
	}
	if held := got.Time; held.Before(before.Add(-time.Second)) || held.After(time.Now().Add(time.Second)) {
		t.Errorf("held at %s, it was %s", held, before)
	}
	if _, ok, err := w.store.Head(w.ctx, "acme", "crm", streams.HeldProbe); ok || err != nil {
		t.Errorf("Head of no probe: %v, %v", ok, err)
	}
	if byGet, ok, err := w.store.Get(w.ctx, seq); !ok || err != nil || !reflect.DeepEqual(byGet, got) {
		t.Errorf("Get is %+v, %v, %v; want what Head is", byGet, ok, err)
	}
}

func TestGetFindsOnlyWhatIsHeld(t *testing.T) {
	w := newWorld(t)
	seq := w.hold(given("acme/crm", "a"), streams.HeldNew)
	w.must(w.store.DropOne(w.ctx, seq))
	ack, err := w.js.PublishMsg(w.ctx, nats.NewMsg(w.names.ReplayMark("x")))
	w.must(err)
	for _, seq := range []uint64{seq, ack.Sequence, ack.Sequence + 1} {
		if _, ok, err := w.store.Get(w.ctx, seq); ok || err != nil {
			t.Errorf("Get(%d): %v, %v; want that there is none", seq, ok, err)
		}
	}
}

// A body that does not fit beside the state is in the event, while that lasts.
func TestBodyInEvent(t *testing.T) {
	w := newWorld(t)
	body := []byte(strings.Repeat("x", 500_000))
	m := nats.NewMsg("webhooks.events.acme.order.created")
	m.Data = body
	ack, err := w.js.PublishMsg(w.ctx, m)
	w.must(err)
	d := given("acme/crm", "a")
	d.Event.Seq, d.Event.Body, d.BodyInEvent = ack.Sequence, nil, true
	w.hold(d, streams.HeldNew)
	got, ok, err := w.store.Head(w.ctx, "acme", "crm", streams.HeldNew)
	w.must(err)
	if !ok || string(got.Delivery.Event.Body) != string(body) || got.Delivery.BodyInEvent {
		t.Errorf("ok %v, a body of %d, in the event only: %v", ok, len(got.Delivery.Event.Body), got.Delivery.BodyInEvent)
	}
	batch, err := w.store.Batch(w.ctx, "acme", "crm", streams.HeldNew, 1, 10)
	w.must(err)
	if len(batch) != 1 || !batch[0].Delivery.BodyInEvent || batch[0].Err != nil {
		t.Errorf("Batch is %+v, want one whose body is in the event", batch)
	}
	events, err := w.js.Stream(w.ctx, w.names.Events())
	w.must(err)
	w.must(events.Purge(w.ctx))
	got, ok, err = w.store.Head(w.ctx, "acme", "crm", streams.HeldNew)
	if !ok || !errors.Is(err, event.ErrGone) || !got.Delivery.BodyInEvent || got.Delivery.Event.ID != "a" {
		t.Errorf("with the event gone: %+v, %v, %v", got, ok, err)
	}
}

func TestUnreadable(t *testing.T) {
	w := newWorld(t)
	m := nats.NewMsg(w.names.Held("acme", "crm", streams.HeldNew))
	m.Data = []byte("hello")
	ack, err := w.js.PublishMsg(w.ctx, m)
	w.must(err)
	w.hold(given("acme/crm", "a"), streams.HeldNew)
	got, ok, err := w.store.Head(w.ctx, "acme", "crm", streams.HeldNew)
	if !ok || got.Seq != ack.Sequence || !errors.Is(err, ErrUnreadable) || !errors.Is(got.Err, ErrUnreadable) {
		t.Errorf("Head is %+v, %v, %v", got, ok, err)
	}
	batch, err := w.store.Batch(w.ctx, "acme", "crm", streams.HeldNew, 1, 10)
	w.must(err)
	if len(batch) != 2 || !errors.Is(batch[0].Err, ErrUnreadable) || batch[1].Err != nil {
		t.Errorf("Batch is %+v", batch)
	}
}

func TestBatchGoesOnWhereItEnded(t *testing.T) {
	w := newWorld(t)
	var want []uint64
	for i := range 25 {
		want = append(want, w.hold(given("acme/crm", strconv.Itoa(i)), streams.HeldNew))
		w.hold(given("acme/crm", strconv.Itoa(i)), streams.HeldLate)
		w.hold(given("acme/crm-2", strconv.Itoa(i)), streams.HeldNew)
	}
	var got []uint64
	for from := uint64(0); ; {
		batch, err := w.store.Batch(w.ctx, "acme", "crm", streams.HeldNew, from, 10)
		w.must(err)
		if len(batch) == 0 {
			break
		}
		if len(batch) > 10 {
			t.Fatalf("a batch of %d, want 10 at most", len(batch))
		}
		for _, m := range batch {
			w.must(m.Err)
			got = append(got, m.Seq)
			from = m.Seq + 1
		}
	}
	if !slices.Equal(got, want) {
		t.Errorf("batches have %v, want %v", got, want)
	}
}
