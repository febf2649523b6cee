package hold

import (
	"errors"
	"math"
	"testing"
	"time"

	"github.com/nats-io/nats.go"

	"jethook/pkg/delivery"
	"jethook/streams"
)

// Whatever lies among the held deliveries is either a delivery of the endpoint
// under whose subject it lies, or ErrUnreadable, and comes up to be looked at.
func FuzzStored(f *testing.F) {
	f.Add("webhooks.held.acme.crm.new", `{"event_id":"a","origin":"e1"}`, delivery.BodyHeader, delivery.BodyInEvent, []byte{})
	f.Add("webhooks.held.acme.crm.late", `{"event_id":"a","origin":"e1","first":"9999-12-31T23:59:59Z","since":"0001-01-01T00:00:00Z"}`, "ce-id", "x", []byte("{}"))
	f.Add("webhooks.held._replay.x", `{}`, "", "", []byte{})
	f.Add("webhooks.held.acme.crm.new", "", "", "", []byte("body"))
	names, err := streams.NewNames("")
	if err != nil {
		f.Fatal(err)
	}
	s := &Store{names: names}
	f.Fuzz(func(t *testing.T, subject, state, name, value string, body []byte) {
		m := s.decode(Stored{Subject: subject, Seq: 7, Time: time.Unix(1, 0), Header: nats.Header{delivery.Header: {state}, name: {value}}}, body)
		remembered := entry(&m)
		if m.Err != nil {
			if !errors.Is(m.Err, ErrUnreadable) || remembered != (late{seq: 7}) {
				t.Fatalf("%v is remembered as %+v", m.Err, remembered)
			}
			return
		}
		d := &m.Delivery
		if got := names.Held(d.Event.Tenant, d.Endpoint, ""); len(subject) < len(got) || subject[:len(got)] != got {
			t.Fatalf("a delivery for %s lay under %s", d.Name(), subject)
		}
		if remembered.first == math.MinInt64 {
			t.Fatalf("first attempted at %s is remembered as %d", d.State.First, remembered.first)
		}
	})
}
