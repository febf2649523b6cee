package telemetry

import (
	"math"
	"strings"
	"testing"
	"time"

	dto "github.com/prometheus/client_model/go"
	"go.uber.org/goleak"

	"jethook/pkg/delivery"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// gather returns every sample by its name and labels; a histogram is its count
// under _count and its sum under _sum.
func gather(t *testing.T, m *Metrics) map[string]float64 {
	t.Helper()
	families, err := m.Registry.Gather()
	if err != nil {
		t.Fatal(err)
	}
	samples := map[string]float64{}
	for _, f := range families {
		for _, metric := range f.GetMetric() {
			labels := labelsOf(metric)
			switch {
			case metric.Histogram != nil:
				samples[f.GetName()+"_count"+labels] = float64(metric.Histogram.GetSampleCount())
				samples[f.GetName()+"_sum"+labels] = metric.Histogram.GetSampleSum()
			case metric.Counter != nil:
				samples[f.GetName()+labels] = metric.Counter.GetValue()
			default:
				samples[f.GetName()+labels] = metric.Gauge.GetValue()
			}
		}
	}
	return samples
}

func labelsOf(m *dto.Metric) string {
	var parts []string
	for _, l := range m.GetLabel() {
		parts = append(parts, l.GetName()+"="+l.GetValue())
	}
	if len(parts) == 0 {
		return ""
	}
	return "{" + strings.Join(parts, ",") + "}"
}

// What is promised is there before anything happened, so that a rate is right
// from the first event on and an alert does not wait for a series.
func TestPromisedAtZero(t *testing.T) {
	m := NewMetrics("v1.2.3")
	m.InFlight(func() int { return 0 })
	m.Endpoints(func() int { return 0 }, func() int { return 0 })
	samples := gather(t, m)
	promised := []string{
		"jethook_events_total{result=matched}", "jethook_events_total{result=unmatched}",
		"jethook_events_total{result=stored}", "jethook_events_total{result=invalid}",
		"jethook_attempts_total{outcome=delivered,result=2xx}",
		"jethook_attempt_duration_seconds_count{outcome=delivered}", "jethook_attempt_duration_seconds_count{outcome=retry}",
		"jethook_attempt_duration_seconds_count{outcome=dead}", "jethook_attempt_duration_seconds_count{outcome=interrupted}",
		"jethook_event_to_delivery_seconds_count", "jethook_replayed_deliveries_total", "jethook_store_failures_total",
		"jethook_tenant_waits_total", "jethook_in_flight", "jethook_endpoints", "jethook_endpoint_documents_broken",
	}
	for _, r := range delivery.Reasons() {
		promised = append(promised, "jethook_dead_letters_total{reason="+string(r)+"}")
	}
	for _, name := range promised {
		if value, found := samples[name]; !found || value != 0 {
			t.Errorf("%s is %v, there: %v; want 0", name, value, found)
		}
	}
	if samples["jethook_build_info{version=v1.2.3}"] != 1 {
		t.Error("the version is not told")
	}
	if _, found := samples["go_goroutines"]; !found {
		t.Error("the process is not told of")
	}
}

func TestCounters(t *testing.T) {
	m := NewMetrics("test")
	before := gather(t, m)
	m.Event("matched")
	m.Event("matched")
	m.Event("unmatched")
	m.Attempt(delivery.Delivered, delivery.Result{Status: 204, Duration: time.Second})
	m.Attempt(delivery.Retry, delivery.Result{Status: 503, Duration: 2 * time.Second})
	m.Attempt(delivery.Retry, delivery.Result{Fault: delivery.FaultTimeout, Duration: 15 * time.Second})
	m.Attempt(delivery.Dead, delivery.Result{Status: 404, Duration: time.Second})
	m.Delivered(250*time.Millisecond, false)
	m.Delivered(time.Hour, true)
	m.DeadLetter(delivery.Rejected)
	m.StoreFailed()
	m.Consumer("fanout", 7, 3)
	inFlight := 5
	m.InFlight(func() int { return inFlight })
	m.Endpoints(func() int { return 100 }, func() int { return 2 })
	want := map[string]float64{
		"jethook_events_total{result=matched}": 2, "jethook_events_total{result=unmatched}": 1,
		"jethook_attempts_total{outcome=delivered,result=2xx}": 1, "jethook_attempts_total{outcome=retry,result=5xx}": 1,
		"jethook_attempts_total{outcome=retry,result=timeout}": 1, "jethook_attempts_total{outcome=dead,result=4xx}": 1,
		"jethook_attempt_duration_seconds_count{outcome=delivered}": 1, "jethook_attempt_duration_seconds_sum{outcome=delivered}": 1,
		"jethook_attempt_duration_seconds_count{outcome=retry}": 2, "jethook_attempt_duration_seconds_sum{outcome=retry}": 17,
		"jethook_attempt_duration_seconds_count{outcome=dead}": 1, "jethook_attempt_duration_seconds_sum{outcome=dead}": 1,
		"jethook_event_to_delivery_seconds_count": 1, "jethook_event_to_delivery_seconds_sum": 0.25, // a replay's hour is no latency
		"jethook_replayed_deliveries_total": 1, "jethook_dead_letters_total{reason=rejected}": 1, "jethook_store_failures_total": 1,
		"jethook_consumer_pending{consumer=fanout}": 7, "jethook_consumer_ack_pending{consumer=fanout}": 3,
		"jethook_in_flight": 5, "jethook_endpoints": 100, "jethook_endpoint_documents_broken": 2,
	}
	after := gather(t, m)
	for name, value := range after {
		if strings.HasPrefix(name, "jethook_") && math.Abs(value-before[name]-want[name]) > 1e-9 {
			t.Errorf("%s grew by %v, want %v", name, value-before[name], want[name])
		}
	}
	for name := range want {
		if _, found := after[name]; !found {
			t.Errorf("%s is not there", name)
		}
	}
	inFlight = 6
	if got := gather(t, m)["jethook_in_flight"]; got != 6 {
		t.Errorf("jethook_in_flight is %v, want what it is now, 6", got)
	}
}

// Whatever receivers answer, there are few series.
func TestLabelsAreBounded(t *testing.T) {
	m := NewMetrics("test")
	for status := 100; status <= 599; status++ {
		for _, o := range []delivery.Outcome{delivery.Delivered, delivery.Retry, delivery.Dead} {
			m.Attempt(o, delivery.Result{Status: status})
		}
	}
	series := 0
	for name := range gather(t, m) {
		if strings.HasPrefix(name, "jethook_attempts_total") {
			series++
		}
	}
	if series > 11 {
		t.Errorf("%d series of attempts", series)
	}
}

// Two replicas in one process, as in tests, do not meet.
func TestRegistriesAreApart(t *testing.T) {
	a, b := NewMetrics("a"), NewMetrics("b")
	a.StoreFailed()
	if got := gather(t, b)["jethook_store_failures_total"]; got != 0 {
		t.Errorf("the other one counts %v", got)
	}
}
