package replica

import (
	"context"
	"testing"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
	"github.com/rs/zerolog"

	"jethook/pkg/attempt"
	"jethook/pkg/audit"
	"jethook/pkg/embedded"
	"jethook/pkg/event"
	"jethook/pkg/telemetry"
	"jethook/streams"
)

// What is missing shows in the metrics of the replica that ranks first, and in no
// other's.
func TestAccounting(t *testing.T) {
	s, err := embedded.Start(embedded.Options{DataDir: t.TempDir(), Listen: "127.0.0.1:0", Sync: time.Minute, Logger: zerolog.Nop()})
	must(t, err)
	t.Cleanup(func() { must(t, s.Stop()) })
	nc, err := nats.Connect(s.URL(), nats.Timeout(testTimeout))
	must(t, err)
	t.Cleanup(nc.Close)
	js, err := jetstream.New(nc)
	must(t, err)
	names, err := streams.NewNames("")
	must(t, err)
	topology, err := streams.NewTopology(streams.Options{Names: names})
	must(t, err)
	_, err = topology.Ensure(t.Context(), js)
	must(t, err)
	acked(t, js, names)

	first, now := true, time.Now()
	metrics := telemetry.NewMetrics("test")
	auditor := audit.New(js, names)
	a := &accounting{auditor: auditor, first: func() bool { return first }, metrics: metrics,
		now:    func(context.Context) (time.Time, error) { return now, nil },
		failed: func(err error) { t.Error(err) }}
	expect := func(difference, missing float64) {
		t.Helper()
		a.once(t.Context())
		if got := value(t, metrics, "jethook_accounting_difference"); got != difference {
			t.Errorf("the difference is %v, want %v", got, difference)
		}
		if got := value(t, metrics, "jethook_accounting_missing_total"); got != missing {
			t.Errorf("%v are missing, want %v", got, missing)
		}
	}
	expect(0, 0) // it is too young
	now = time.Now().Add(accountAfter + time.Second)
	expect(1, 0) // it may be on its way
	if got := value(t, metrics, "jethook_accounting_timestamp_seconds"); got < float64(now.Add(-time.Minute).Unix()) {
		t.Errorf("accounted at %v, which is before %v", got, now.Unix())
	}
	expect(1, 1)
	expect(1, 1) // it is counted once
	// Another is found when it is looked for again, and a third is not, although it
	// is not among the newest any more by then.
	late, lost := acked(t, js, names), acked(t, js, names)
	now = time.Now().Add(accountAfter + time.Second)
	expect(3, 1)
	ended, stop := context.WithCancel(t.Context())
	stop()
	for tries := 0; tries < 10 && value(t, metrics, "jethook_attempt_log_records_total") == 0; tries++ {
		log := attempt.NewWriter(attempt.Options{JetStream: js, Names: names, Counter: metrics, Logger: zerolog.Nop()})
		log.Matched(&event.Event{ID: "late", Seq: late, Tenant: "acme"}, nil, nil)
		log.Run(ended) // which stores what there is, if that takes no longer than a stop has time
	}
	now = now.Add(accountFor + time.Minute)
	expect(0, 2)
	expect(0, 2)
	if d := (audit.Difference{EventSeq: lost}); a.counted[d].IsZero() {
		t.Errorf("what was counted is %v", a.counted)
	}
	now = now.Add(countedFor + time.Second)
	expect(0, 2)
	if len(a.counted) != 0 {
		t.Errorf("it is remembered for ever: %v", a.counted)
	}
	first = false
	a.once(t.Context())
	if got := value(t, metrics, "jethook_accounting_timestamp_seconds"); got != 0 {
		t.Errorf("one that does not rank first accounted at %v", got)
	}
	if at, err := auditor.Now(t.Context()); err != nil || at.IsZero() {
		t.Errorf("the server's clock says %s, %v", at, err)
	}
}

// acked publishes an event that is acked, and of which nobody says anything.
func acked(t *testing.T, js jetstream.JetStream, names streams.Names) (seq uint64) {
	t.Helper()
	ack, err := js.Publish(t.Context(), "webhooks.events.acme.x", nil)
	must(t, err)
	fanout, err := js.Consumer(t.Context(), names.Events(), streams.Fanout)
	must(t, err)
	m, err := fanout.Next()
	must(t, err)
	must(t, m.DoubleAck(t.Context()))
	return ack.Sequence
}

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

func value(t *testing.T, m *telemetry.Metrics, name string) float64 {
	t.Helper()
	families, err := m.Registry.Gather()
	must(t, err)
	for _, f := range families {
		if f.GetName() == name {
			m := f.GetMetric()[0]
			return m.GetGauge().GetValue() + m.GetCounter().GetValue()
		}
	}
	t.Fatalf("no metric %s", name)
	return 0
}
