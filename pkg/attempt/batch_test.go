package attempt

import (
	"fmt"
	"math/rand/v2"
	"strings"
	"testing"
	"time"

	"jethook/pkg/delivery"
	"jethook/streams"
)

// Whatever the order in which attempts come, a batch has one message for each
// endpoint with its lines in that order, and so has the next one in its place.
func TestABatchIsDividedByEndpoint(t *testing.T) {
	names, err := streams.NewNames("")
	if err != nil {
		t.Fatal(err)
	}
	random := rand.New(rand.NewPCG(1, 2)) //nolint:gosec // the same each time
	b := new(batch)
	for round := range 20 {
		want := make(map[string]string)
		for i := range random.IntN(200) {
			d := &delivery.Delivery{Endpoint: fmt.Sprintf("e%d", random.IntN(4))}
			d.Event.Tenant, d.Event.ID = fmt.Sprintf("t%d", random.IntN(4)), fmt.Sprintf("evt-%d-%d", round, i)
			d.Event.Time = time.Now()
			m := &Made{Delivery: d, Verdict: delivery.Verdict{Outcome: delivery.Delivered}}
			b.record(m, "r1")
			want[names.Attempt(d.Event.Tenant, d.Endpoint)] += string(appendRecord(nil, m, "r1"))
			b.note(d.Event.ID, func(part []byte) []byte { return appendOutcome(part, m) })
		}
		lines := 0
		for _, m := range b.messages(names) {
			lines += strings.Count(string(m.data), "\n")
			if strings.HasPrefix(m.subject, "webhooks.ledger.") {
				continue
			}
			if string(m.data) != want[m.subject] {
				t.Fatalf("round %d: %s has\n%swant\n%s", round, m.subject, m.data, want[m.subject])
			}
			delete(want, m.subject)
		}
		if len(want) > 0 || lines != b.lines {
			t.Fatalf("round %d: %d endpoints have no message; %d lines, want %d", round, len(want), lines, b.lines)
		}
		b.reset()
	}
}

// A batch that grew large, as while NATS was away, keeps none of the room for its lines.
func TestABatchForgetsWhatItHadToHold(t *testing.T) {
	b := new(batch)
	d := &delivery.Delivery{Endpoint: "e"}
	d.Event.Tenant, d.Event.ID = "t", "evt"
	m := &Made{Delivery: d, Result: delivery.Result{Body: strings.Repeat("x", 1<<10)}}
	for b.bytes < 2*mostKept {
		b.record(m, "")
	}
	names, err := streams.NewNames("")
	if err != nil {
		t.Fatal(err)
	}
	b.messages(names)
	b.reset()
	if cap(b.records) > 0 || cap(b.sorted) > 0 || b.lines != 0 || len(b.of) != 0 {
		t.Errorf("%d and %d bytes are kept, %d records, %d lines", cap(b.records), cap(b.sorted), len(b.of), b.lines)
	}
}
