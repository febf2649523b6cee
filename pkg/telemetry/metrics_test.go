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
	m.InFlight(func() int { return 0 }, 0)
	m.Replicas(func() int { return 0 })
	m.NATS(func() bool { return false }, func() uint64 { return 0 })
	m.Endpoints(func() int { return 0 }, func() int { return 0 })
	samples := gather(t, m)
	promised := []string{
		"jethook_events_total{result=matched}", "jethook_events_total{result=unmatched}",
		"jethook_events_total{result=stored}", "jethook_events_total{result=invalid}",
		"jethook_attempts_total{outcome=delivered,result=2xx}",
		"jethook_attempt_duration_seconds_count{outcome=delivered}", "jethook_attempt_duration_seconds_count{outcome=retry}",
		"jethook_attempt_duration_seconds_count{outcome=dead}", "jethook_attempt_duration_seconds_count{outcome=interrupted}",
		"jethook_event_to_delivery_seconds_count", "jethook_replayed_deliveries_total", "jethook_store_failures_total",
		"jethook_tenant_waits_total", "jethook_in_flight", "jethook_in_flight_limit", "jethook_endpoints", "jethook_endpoint_documents_broken",
		"jethook_attempts_total{outcome=retry,result=timeout}", "jethook_attempts_total{outcome=dead,result=4xx}",
		"jethook_attempts_total{outcome=dead,result=blocked_address}", "jethook_attempts_total{outcome=interrupted,result=interrupted}",
		"jethook_event_to_first_attempt_seconds_count", "jethook_gate_openings_total",
		"jethook_gates{state=open}", "jethook_gates{state=probing}", "jethook_gates{state=ramp}",
		"jethook_backlog{state=waiting}", "jethook_backlog{state=held}", "jethook_backlog{state=dead}",
		"jethook_oldest_waiting_age_seconds{state=event}", "jethook_oldest_waiting_age_seconds{state=delivery}",
		"jethook_oldest_waiting_age_seconds{state=held}", "jethook_oldest_waiting_age_seconds{state=ordered}",
		"jethook_replicas", "jethook_nats_connected", "jethook_nats_reconnects_total", "jethook_nats_round_trip_seconds",
		"jethook_collected_timestamp_seconds", "jethook_ordered_pending", "jethook_accounting_difference", "jethook_accounting_timestamp_seconds",
		"jethook_accounting_deliveries{state=matched}", "jethook_accounting_deliveries{state=delivered}",
		"jethook_accounting_deliveries{state=waiting}", "jethook_accounting_deliveries{state=held}",
		"jethook_accounting_deliveries{state=dead}", "jethook_accounting_deliveries{state=discarded}",
		"jethook_attempt_log_records_total", "jethook_attempt_log_lost_total",
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
	m.ProbeFailed(delivery.Result{Status: 503, Duration: 3 * time.Second})
	m.FirstAttempt(125 * time.Millisecond)
	m.Delivered(250*time.Millisecond, false)
	m.Delivered(time.Hour, true)
	m.DeadLetter(delivery.Rejected)
	m.StoreFailed()
	m.Consumer("fanout", 7, 3, 50_000)
	m.GateOpened()
	m.Gates(3, 1, 2)
	now := time.Now()
	m.Backlog(Held, 4)
	m.Ordered(8)
	m.Oldest(OldestEvent, now.Add(-time.Minute), now)
	m.Oldest(OldestHeld, now.Add(time.Minute), now) // by a clock that is ahead
	m.Stream("DLQ", 2, 500, 1000)
	m.Stream("EVENTS", 1, 100, -1)
	m.Storage(600, 5000)
	m.Lane("bulk", 2)
	m.Lane("gone", 1)
	m.NoLane("gone")
	m.RoundTrip(2 * time.Millisecond)
	m.Collected(time.UnixMilli(1500))
	m.Accounting(Accounts{Matched: 21, Delivered: 1, Waiting: 2, Held: 3, Dead: 4, Discarded: 5, Unaccounted: 6}, time.Unix(7, 0))
	m.AttemptsLogged(9)
	m.AttemptsLost(1)
	m.Replicas(func() int { return 3 })
	m.NATS(func() bool { return true }, func() uint64 { return 2 })
	m.EndpointAttempts("acme/crm", 2, 1)
	m.ShowEndpoint("acme/crm", EndpointState{GateOpen: true, Held: 6})
	m.ShowEndpoint("acme/gone", EndpointState{Disabled: true})
	m.HideEndpoint("acme/gone")
	inFlight := 5
	m.InFlight(func() int { return inFlight }, 8)
	m.Endpoints(func() int { return 100 }, func() int { return 2 })
	want := map[string]float64{
		"jethook_events_total{result=matched}": 2, "jethook_events_total{result=unmatched}": 1,
		"jethook_attempts_total{outcome=delivered,result=2xx}": 1, "jethook_attempts_total{outcome=retry,result=5xx}": 1,
		"jethook_attempts_total{outcome=retry,result=timeout}": 1, "jethook_attempts_total{outcome=dead,result=4xx}": 1,
		"jethook_attempt_duration_seconds_count{outcome=delivered}": 1, "jethook_attempt_duration_seconds_sum{outcome=delivered}": 1,
		"jethook_attempt_duration_seconds_count{outcome=retry}": 2, "jethook_attempt_duration_seconds_sum{outcome=retry}": 17,
		"jethook_attempts_total{outcome=probe,result=5xx}":      1,
		"jethook_attempt_duration_seconds_count{outcome=probe}": 1, "jethook_attempt_duration_seconds_sum{outcome=probe}": 3,
		"jethook_attempt_duration_seconds_count{outcome=dead}": 1, "jethook_attempt_duration_seconds_sum{outcome=dead}": 1,
		"jethook_event_to_delivery_seconds_count": 1, "jethook_event_to_delivery_seconds_sum": 0.25, // a replay's hour is no latency
		"jethook_replayed_deliveries_total": 1, "jethook_dead_letters_total{reason=rejected}": 1, "jethook_store_failures_total": 1,
		"jethook_consumer_pending{consumer=fanout}": 7, "jethook_consumer_ack_pending{consumer=fanout}": 3,
		"jethook_consumer_max_ack_pending{consumer=fanout}": 50_000, "jethook_in_flight_limit": 8,
		"jethook_event_to_first_attempt_seconds_count": 1, "jethook_event_to_first_attempt_seconds_sum": 0.125,
		"jethook_gate_openings_total": 1, "jethook_gates{state=open}": 3, "jethook_gates{state=probing}": 1, "jethook_gates{state=ramp}": 2,
		"jethook_backlog{state=held}": 4, "jethook_ordered_pending": 8, "jethook_oldest_waiting_age_seconds{state=event}": 60, "jethook_oldest_waiting_age_seconds{state=held}": 0,
		"jethook_stream_messages{stream=DLQ}": 2, "jethook_stream_bytes{stream=DLQ}": 500, "jethook_stream_limit_bytes{stream=DLQ}": 1000,
		"jethook_stream_messages{stream=EVENTS}": 1, "jethook_stream_bytes{stream=EVENTS}": 100, "jethook_stream_limit_bytes{stream=EVENTS}": 0,
		"jethook_storage_bytes": 600, "jethook_storage_limit_bytes": 5000, "jethook_lane_replicas{lane=bulk}": 2,
		"jethook_nats_round_trip_seconds": 0.002, "jethook_collected_timestamp_seconds": 1.5,
		"jethook_accounting_deliveries{state=matched}": 21, "jethook_accounting_deliveries{state=delivered}": 1,
		"jethook_accounting_deliveries{state=waiting}": 2, "jethook_accounting_deliveries{state=held}": 3,
		"jethook_accounting_deliveries{state=dead}": 4, "jethook_accounting_deliveries{state=discarded}": 5,
		"jethook_accounting_difference": 6, "jethook_accounting_timestamp_seconds": 7,
		"jethook_attempt_log_records_total": 9, "jethook_attempt_log_lost_total": 1,
		"jethook_replicas": 3, "jethook_nats_connected": 1, "jethook_nats_reconnects_total": 2,
		"jethook_endpoint_attempts_total{endpoint=acme/crm,result=delivered}": 2, "jethook_endpoint_attempts_total{endpoint=acme/crm,result=failed}": 1,
		"jethook_endpoint_gate_open{endpoint=acme/crm}": 1, "jethook_endpoint_disabled{endpoint=acme/crm}": 0, "jethook_endpoint_held{endpoint=acme/crm}": 6,
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
	if series > 35 {
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
