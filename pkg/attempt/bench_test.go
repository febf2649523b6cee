package attempt

import (
	"testing"
	"time"

	"jethook/pkg/delivery"
	"jethook/pkg/event"
	"jethook/streams"
)

// example is an attempt as most are.
func example() *Made {
	now := time.Date(2026, 11, 27, 3, 4, 5, 678901234, time.UTC)
	d := delivery.New(event.Event{ID: "evt_2v8x0b1q3k5m", Tenant: "acme", Type: "order.created", Time: now, Seq: 123456789}, "crm")
	return &Made{
		Delivery: &d,
		Result: delivery.Result{At: now, Duration: 1234567, Status: 200, Parts: delivery.Parts{FirstByte: 1100000},
			Response: map[string]string{"server": "nginx"}},
		Verdict: delivery.Verdict{Outcome: delivery.Delivered},
	}
}

// What the log costs in the goroutine that made an attempt.
func BenchmarkWriter(b *testing.B) {
	names, err := streams.NewNames("")
	if err != nil {
		b.Fatal(err)
	}
	w := NewWriter(Options{Names: names, Replica: "7Xv1Q0uJmY2mYb3vUq8t9K"})
	m := example()
	matched := []string{"crm"}
	done := func() {}
	b.ReportAllocs()
	n := 0
	for b.Loop() {
		w.Matched(&m.Delivery.Event, matched, nil)
		w.Attempt(m)
		w.After(done)
		if n++; n%1000 == 0 {
			full := w.take()
			full.reset()
			w.spare = full
		}
	}
	b.ReportMetric(float64(len(appendRecord(nil, m, w.o.Replica))), "B/record")
	b.ReportMetric(float64(len(appendOutcome(appendMatched(nil, &m.Delivery.Event, matched, nil, false), m))), "B/ledger")
}
