package worker

import (
	"math"
	"testing"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/rs/zerolog"

	"jethook/pkg/delivery"
)

// Whatever lies where an ordered endpoint's state should be, the event in hand
// stays the one that is attempted, and only its own state is taken over.
func FuzzOrderedState(f *testing.F) {
	const state = `{"event_id":"a","event_seq":7,"event_time":"2026-01-02T03:04:05Z","origin":"e7","attempts":3}`
	f.Add(delivery.Header, state, "2")
	f.Add(delivery.Header, state, "18446744073709551615")
	f.Add(delivery.Header, `{"event_id":"b","event_seq":8,"origin":"e8","attempts":99}`, "-1")
	f.Add(delivery.Header, `{`, "")
	f.Add("X", "", "x")
	stored := time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)
	f.Fuzz(func(t *testing.T, name, text, handed string) {
		w := &Worker{oddities: zerolog.Nop()}
		h := &head{inOrder: &inOrder{w: w, tenant: "acme", id: "crm", name: "acme/crm"}, m: &message{seq: 7, handed: 5, stored: stored}}
		h.d.Event.ID, h.d.Event.Seq = "in-hand", 7
		h.remember(&storedState{nats.Header{name: {text}, handedHeader: {handed}}})
		switch {
		case !h.stated || h.d.Event.ID != "in-hand" || h.d.Event.Seq != 7:
			t.Fatalf("the event in hand is %s at %d", h.d.Event.ID, h.d.Event.Seq)
		case h.counted >= h.m.handed:
			t.Fatalf("handed out %d times, %d of them counted", h.m.handed, h.counted)
		case h.d.State.Attempts < 0 || h.d.State.Attempts > math.MaxInt32:
			t.Fatalf("%d attempts", h.d.State.Attempts)
		}
	})
}
