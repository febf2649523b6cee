package hold

import (
	"testing"
	"time"

	"github.com/nats-io/nats.go/jetstream"

	"jethook/streams"
)

func TestKindOf(t *testing.T) {
	for first, want := range map[time.Time]streams.Kind{
		{}:                            streams.HeldNew,
		start.Add(time.Hour):          streams.HeldNew, // by another clock
		start:                         streams.HeldNew,
		start.Add(-2 * time.Second):   streams.HeldNew,
		start.Add(-2*time.Second - 1): streams.HeldLate,
		start.Add(-48 * time.Hour):    streams.HeldLate,
	} {
		d := given("acme/crm", "a")
		d.State.First = first
		if got := KindOf(d, time.Time{}, start); got != want {
			t.Errorf("first attempted or held at %s: %s, want %s", first, got, want)
		}
	}
	for began, want := range map[time.Duration]streams.Kind{0: streams.HeldNew, -2 * time.Second: streams.HeldNew, -2*time.Second - 1: streams.HeldLate, time.Hour: streams.HeldNew} {
		d := given("acme/crm", "a")
		d.State.First, d.State.Since = time.Time{}, start.Add(began)
		if got := KindOf(d, start, start.Add(time.Hour)); got != want {
			t.Errorf("begun %s after what is held: %s, want %s", began, got, want)
		}
	}
}

func TestHeldTwiceUnderOneIDLiesOnce(t *testing.T) {
	w := newWorld(t)
	for range 2 {
		m, err := w.store.Message(given("acme/crm", "a"), streams.HeldNew, "same")
		w.must(err)
		if got := m.Header.Get(jetstream.MsgIDHeader); got != "same" {
			t.Errorf("Nats-Msg-Id is %q", got)
		}
		_, err = w.js.PublishMsg(w.ctx, m)
		w.must(err)
	}
	w.waiting("acme/crm", Waiting{New: 1})
}
