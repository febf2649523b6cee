// Package telemetry promises the figures of a replica under names that stay the
// same, with bounded labels.
package telemetry

import (
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/collectors"

	"jethook/pkg/delivery"
)

// Metrics are the counters of one replica.
type Metrics struct {
	Registry *prometheus.Registry

	events      *prometheus.CounterVec
	attempts    *prometheus.CounterVec
	duration    *prometheus.HistogramVec
	deadLetters *prometheus.CounterVec
	toDelivery  prometheus.Observer
	replayed    prometheus.Counter
	pending     *prometheus.GaugeVec
	ackPending  *prometheus.GaugeVec
	storeFailed prometheus.Counter
	held        prometheus.Counter
	tenantWaits prometheus.Counter
	holding     prometheus.Gauge
	logged      prometheus.Counter
	unlogged    prometheus.Counter
	delivered   prometheus.Counter // of attempts, resolved once for the common case
	matched     prometheus.Counter // of events, likewise
	succeeded   prometheus.Observer
}

// latency spans half a millisecond to the longest attempt and the first
// retries; what is slower waited for a retry.
var latency = []float64{.0005, .001, .0025, .005, .01, .025, .05, .1, .25, .5, 1, 2.5, 5, 10, 30, 60, 300, 1800, 7200, 86400}

// NewMetrics returns metrics in a registry of their own, each label pre-created
// at zero so that a rate is right from the first event on.
func NewMetrics(version string) *Metrics {
	r := prometheus.NewRegistry()
	r.MustRegister(collectors.NewGoCollector(), collectors.NewProcessCollector(collectors.ProcessCollectorOpts{}))
	counter := func(name, help string, labels ...string) *prometheus.CounterVec {
		c := prometheus.NewCounterVec(prometheus.CounterOpts{Name: name, Help: help}, labels)
		r.MustRegister(c)
		return c
	}
	gauge := func(name, help string, labels ...string) *prometheus.GaugeVec {
		g := prometheus.NewGaugeVec(prometheus.GaugeOpts{Name: name, Help: help}, labels)
		r.MustRegister(g)
		return g
	}
	histogram := func(name, help string, labels ...string) *prometheus.HistogramVec {
		h := prometheus.NewHistogramVec(prometheus.HistogramOpts{Name: name, Help: help, Buckets: latency}, labels)
		r.MustRegister(h)
		return h
	}
	gauge("jethook_build_info", "Always 1; the label tells the version.", "version").WithLabelValues(version).Set(1)
	m := &Metrics{
		Registry:    r,
		events:      counter("jethook_events_total", "Events handled: matched, unmatched, stored as deliveries first, left to ordered endpoints, or invalid.", "result"),
		attempts:    counter("jethook_attempts_total", "Attempts made, by outcome and by what came back.", "outcome", "result"),
		duration:    histogram("jethook_attempt_duration_seconds", "Time from the start of an attempt to its end.", "outcome"),
		deadLetters: counter("jethook_dead_letters_total", "Dead letters written.", "reason"),
		toDelivery:  histogram("jethook_event_to_delivery_seconds", "Time from the event's storage to its delivery, replays left out.").WithLabelValues(),
		replayed:    counter("jethook_replayed_deliveries_total", "Deliveries of replays.").WithLabelValues(),
		pending:     gauge("jethook_consumer_pending", "Messages that a consumer has not handed out yet.", "consumer"),
		ackPending:  gauge("jethook_consumer_ack_pending", "Messages that a consumer handed out and that are not acked.", "consumer"),
		storeFailed: counter("jethook_store_failures_total", "Times that NATS did not store a delivery or a dead letter; each is tried again.").WithLabelValues(),
	}
	m.held = counter("jethook_held_deliveries_total", "Deliveries held because their endpoint could not have them then.").WithLabelValues()
	m.tenantWaits = counter("jethook_tenant_waits_total", "Deliveries whose first attempt had to wait because their tenant was above its rate.").WithLabelValues()
	m.holding = gauge("jethook_holding", "Deliveries that are held in NATS, for all replicas, seconds ago.").WithLabelValues()
	m.logged = counter("jethook_attempt_log_records_total", "Lines of the attempt log and the ledger that were stored.").WithLabelValues()
	m.unlogged = counter("jethook_attempt_log_lost_total", "Lines of the attempt log and the ledger that NATS did not store in time; they are missing there.").WithLabelValues()
	m.precreate()
	return m
}

func (m *Metrics) precreate() {
	for _, result := range []string{"matched", "unmatched", "stored", "ordered", "invalid"} {
		m.events.WithLabelValues(result)
	}
	for _, reason := range delivery.Reasons() {
		m.deadLetters.WithLabelValues(string(reason))
	}
	for _, o := range []delivery.Outcome{delivery.Delivered, delivery.Retry, delivery.Dead, delivery.Interrupted} {
		m.duration.WithLabelValues(string(o))
	}
	m.delivered = m.attempts.WithLabelValues(string(delivery.Delivered), "2xx")
	m.succeeded = m.duration.WithLabelValues(string(delivery.Delivered))
	m.matched = m.events.WithLabelValues("matched")
}

// Event counts an event by what was done with it.
func (m *Metrics) Event(result string) {
	if result == "matched" {
		m.matched.Inc()
		return
	}
	m.events.WithLabelValues(result).Inc()
}

// Attempt counts an attempt.
func (m *Metrics) Attempt(o delivery.Outcome, r delivery.Result) {
	if o == delivery.Delivered {
		m.delivered.Inc()
		m.succeeded.Observe(r.Duration.Seconds())
		return
	}
	m.attempts.WithLabelValues(string(o), r.Label()).Inc()
	m.duration.WithLabelValues(string(o)).Observe(r.Duration.Seconds())
}

// Delivered counts a delivery and how long after its event it came.
func (m *Metrics) Delivered(after time.Duration, replay bool) {
	if replay {
		m.replayed.Inc()
		return
	}
	m.toDelivery.Observe(after.Seconds())
}

// DeadLetter counts a dead letter.
func (m *Metrics) DeadLetter(reason delivery.Reason) {
	m.deadLetters.WithLabelValues(string(reason)).Inc()
}

// AttemptsLogged counts lines of the attempt log that were stored.
func (m *Metrics) AttemptsLogged(n int) { m.logged.Add(float64(n)) }

// AttemptsLost counts those that were not.
func (m *Metrics) AttemptsLost(n int) { m.unlogged.Add(float64(n)) }

// StoreFailed counts a publish that NATS did not take.
func (m *Metrics) StoreFailed() { m.storeFailed.Inc() }

// Held counts a delivery that was held.
func (m *Metrics) Held() { m.held.Inc() }

// TenantWaits counts a delivery that has to wait for its tenant's rate.
func (m *Metrics) TenantWaits() { m.tenantWaits.Inc() }

// Holding tells how many deliveries are held.
func (m *Metrics) Holding(n uint64) { m.holding.Set(float64(n)) }

// Gates registers how many gates are open.
func (m *Metrics) Gates(open func() int) {
	m.Registry.MustRegister(prometheus.NewGaugeFunc(prometheus.GaugeOpts{
		Name: "jethook_gates_open", Help: "Endpoints that get no attempts but probes because they fail.",
	}, func() float64 { return float64(open()) }))
}

// Consumer tells the state of a durable consumer.
func (m *Metrics) Consumer(durable string, pending uint64, ackPending int) {
	m.pending.WithLabelValues(durable).Set(float64(pending))
	m.ackPending.WithLabelValues(durable).Set(float64(ackPending))
}

// NoConsumer forgets a consumer that is gone.
func (m *Metrics) NoConsumer(durable string) {
	m.pending.DeleteLabelValues(durable)
	m.ackPending.DeleteLabelValues(durable)
}

// InFlight registers how many attempts are being made.
func (m *Metrics) InFlight(busy func() int) {
	m.Registry.MustRegister(prometheus.NewGaugeFunc(prometheus.GaugeOpts{
		Name: "jethook_in_flight", Help: "Slots that are working: on an attempt, or on storing what came of one.",
	}, func() float64 { return float64(busy()) }))
}

// Endpoints registers how many endpoints there are, and how many documents
// cannot be read.
func (m *Metrics) Endpoints(known, broken func() int) {
	m.Registry.MustRegister(prometheus.NewGaugeFunc(prometheus.GaugeOpts{
		Name: "jethook_endpoints", Help: "Endpoints known to this replica.",
	}, func() float64 { return float64(known()) }), prometheus.NewGaugeFunc(prometheus.GaugeOpts{
		Name: "jethook_endpoint_documents_broken", Help: "Documents in the bucket that cannot be read; the last good one of each stays in force.",
	}, func() float64 { return float64(broken()) }))
}
