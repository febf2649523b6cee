package replica

import (
	"testing"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
	"github.com/rs/zerolog"

	"jethook/pkg/audit"
	"jethook/pkg/embedded"
	"jethook/pkg/telemetry"
	"jethook/streams"
)

// What is missing shows in the metrics of the replica that ranks first, and in no
// other's.
func TestAccounting(t *testing.T) {
	s, err := embedded.Start(embedded.Options{DataDir: t.TempDir(), Listen: "127.0.0.1:0", Sync: time.Minute, Logger: zerolog.Nop()})
	must(t, err)
	t.Cleanup(func() { must(t, s.Stop()) })
	nc, err := nats.Connect(s.URL())
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
	// An event that was acked, and of which nobody said anything.
	_, err = js.Publish(t.Context(), "webhooks.events.acme.x", nil)
	must(t, err)
	fanout, err := js.Consumer(t.Context(), names.Events(), streams.Fanout)
	must(t, err)
	m, err := fanout.Next()
	must(t, err)
	must(t, m.DoubleAck(t.Context()))

	first := true
	metrics := telemetry.NewMetrics("test")
	a := &accounting{auditor: audit.New(js, names), first: func() bool { return first }, metrics: metrics,
		failed: func(err error) { t.Error(err) }}
	now := time.Now()
	a.once(t.Context(), now.Add(accountAfter+time.Second))
	if got := gauge(t, metrics, "jethook_accounting_difference"); got != 1 {
		t.Errorf("the difference is %v, want 1", got)
	}
	if got := gauge(t, metrics, "jethook_accounting_timestamp_seconds"); got < float64(now.Unix()) {
		t.Errorf("accounted at %v, which is before %v", got, now.Unix())
	}
	a.once(t.Context(), now.Add(accountFor+time.Minute)) // by then it is no news
	if got := gauge(t, metrics, "jethook_accounting_difference"); got != 0 {
		t.Errorf("the difference of later events is %v", got)
	}
	first = false
	a.once(t.Context(), now.Add(accountAfter+time.Second))
	if got := gauge(t, metrics, "jethook_accounting_timestamp_seconds"); got != 0 {
		t.Errorf("one that does not rank first accounted at %v", got)
	}
}

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

func gauge(t *testing.T, m *telemetry.Metrics, name string) float64 {
	t.Helper()
	families, err := m.Registry.Gather()
	must(t, err)
	for _, f := range families {
		if f.GetName() == name {
			return f.GetMetric()[0].GetGauge().GetValue()
		}
	}
	t.Fatalf("no metric %s", name)
	return 0
}
