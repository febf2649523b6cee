// Package telemetry promises the figures of a replica under names that stay the
// same, with bounded labels.
package telemetry

import (
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/collectors"

	"jethook/pkg/delivery"
)

// Metrics are the figures of one replica.
type Metrics struct {
	Registry *prometheus.Registry

	events        *prometheus.CounterVec
	attempts      *prometheus.CounterVec
	duration      *prometheus.HistogramVec
	deadLetters   *prometheus.CounterVec
	toFirst       prometheus.Observer
	toDelivery    prometheus.Observer
	replayed      prometheus.Counter
	laneReplicas  *prometheus.GaugeVec
	pending       *prometheus.GaugeVec
	ackPending    *prometheus.GaugeVec
	maxAckPending *prometheus.GaugeVec
	storeFailed   prometheus.Counter
	held          prometheus.Counter
	tenantWaits   prometheus.Counter
	gates         *prometheus.GaugeVec
	openings      prometheus.Counter
	delivered     prometheus.Counter // of attempts, resolved once for the common case
	matched       prometheus.Counter // of events, likewise
	succeeded     prometheus.Observer
	stored        stored
	endpoint      byEndpoint
	audit         audit
}

// latency spans half a millisecond to the longest attempt and the first
// retries; what is slower waited for a retry.
var latency = []float64{.0005, .001, .0025, .005, .01, .025, .05, .1, .25, .5, 1, 2.5, 5, 10, 30, 60, 300, 1800, 7200, 86400}

// NewMetrics returns metrics in a registry of their own, each label pre-created
// at zero so that a rate is right from the first event on.
func NewMetrics(version string) *Metrics {
	r := prometheus.NewRegistry()
	r.MustRegister(collectors.NewGoCollector(), collectors.NewProcessCollector(collectors.ProcessCollectorOpts{}))
	f := families{r}
	f.gauge("jethook_build_info", "Always 1; the label tells the version.", "version").WithLabelValues(version).Set(1)
	m := &Metrics{
		Registry:      r,
		events:        f.counter("jethook_events_total", "Events handled: matched, unmatched, stored as deliveries first, left to ordered endpoints, or invalid.", "result"),
		attempts:      f.counter("jethook_attempts_total", "Attempts made, by outcome (probe is one that failed) and by what came back.", "outcome", "result"),
		duration:      f.histogram("jethook_attempt_duration_seconds", "Time from the start of an attempt to its end.", "outcome"),
		deadLetters:   f.counter("jethook_dead_letters_total", "Dead letters written.", "reason"),
		toFirst:       f.histogram("jethook_event_to_first_attempt_seconds", "Time from the event's storage to the beginning of the first attempt of a delivery, replays left out.").WithLabelValues(),
		toDelivery:    f.histogram("jethook_event_to_delivery_seconds", "Time from the event's storage to its delivery, replays left out.").WithLabelValues(),
		replayed:      f.counter("jethook_replayed_deliveries_total", "Deliveries of replays.").WithLabelValues(),
		laneReplicas:  f.gauge("jethook_lane_replicas", "Live replicas that serve a lane: with 0 nobody makes its attempts.", "lane"),
		pending:       f.gauge("jethook_consumer_pending", "Messages that a consumer has not handed out yet.", "consumer"),
		ackPending:    f.gauge("jethook_consumer_ack_pending", "Messages that a consumer handed out and that are not acked.", "consumer"),
		maxAckPending: f.gauge("jethook_consumer_max_ack_pending", "How many a consumer hands out at most before some are acked: with so many its lane stands still.", "consumer"),
		storeFailed:   f.counter("jethook_store_failures_total", "Times that NATS did not store a delivery or a dead letter; each is tried again.").WithLabelValues(),
	}
	m.held = f.counter("jethook_held_deliveries_total", "Deliveries held because their endpoint could not have them then.").WithLabelValues()
	m.tenantWaits = f.counter("jethook_tenant_waits_total", "Deliveries whose first attempt had to wait because their tenant was above its rate.").WithLabelValues()
	m.gates = f.gauge("jethook_gates", "Endpoints whose gate is open (no attempts but probes, for all replicas), of these probing now, and those on the ramp (closed a moment ago, in this replica).", "state")
	m.openings = f.counter("jethook_gate_openings_total", "Gates that this replica opened because their endpoint failed.").WithLabelValues()
	m.stored, m.endpoint, m.audit = newStored(f), newByEndpoint(f), newAudit(f)
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
	for outcome, results := range attempted() {
		m.duration.WithLabelValues(string(outcome))
		for _, result := range results {
			m.attempts.WithLabelValues(string(outcome), result)
		}
	}
	m.Gates(0, 0, 0)
	m.delivered = m.attempts.WithLabelValues(string(delivery.Delivered), "2xx")
	m.succeeded = m.duration.WithLabelValues(string(delivery.Delivered))
	m.matched = m.events.WithLabelValues("matched")
}

// attempted returns what attempts come to, beside what no receiver should answer.
func attempted() map[delivery.Outcome][]string {
	again := []string{"3xx", "4xx", "5xx", string(delivery.FaultTimeout), string(delivery.FaultDNS), string(delivery.FaultConnect),
		string(delivery.FaultTLS), string(delivery.FaultClosed), string(delivery.FaultProtocol)}
	return map[delivery.Outcome][]string{
		delivery.Delivered: {"2xx"},
		delivery.Retry:     again,
		probe:              again,
		// Each of those, too, if it was the last that the endpoint's policy allows.
		delivery.Dead:        append([]string{string(delivery.FaultBlockedAddress), string(delivery.FaultInvalidRequest)}, again...),
		delivery.Interrupted: {string(delivery.FaultInterrupted)},
	}
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

// probe is the outcome of a failed probe: no attempt of the delivery's own, and no
// news of its endpoint.
const probe delivery.Outcome = "probe"

// ProbeFailed counts a probe that failed.
func (m *Metrics) ProbeFailed(r delivery.Result) { m.Attempt(probe, r) }

// FirstAttempt tells how long after its event the first attempt of a delivery
// began.
func (m *Metrics) FirstAttempt(after time.Duration) { m.toFirst.Observe(after.Seconds()) }

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

// StoreFailed counts a publish that NATS did not take.
func (m *Metrics) StoreFailed() { m.storeFailed.Inc() }

// Held counts a delivery that was held.
func (m *Metrics) Held() { m.held.Inc() }

// TenantWaits counts a delivery that has to wait for its tenant's rate.
func (m *Metrics) TenantWaits() { m.tenantWaits.Inc() }

// Gates tells how many gates are open, of these being probed, and on the ramp.
func (m *Metrics) Gates(open, probing, ramp int) {
	m.gates.WithLabelValues("open").Set(float64(open))
	m.gates.WithLabelValues("probing").Set(float64(probing))
	m.gates.WithLabelValues("ramp").Set(float64(ramp))
}

// GateOpened counts a gate that this replica opened.
func (m *Metrics) GateOpened() { m.openings.Inc() }

// Consumer tells the state of a durable consumer, and how many messages it hands
// out at most.
func (m *Metrics) Consumer(durable string, pending uint64, ackPending, maxAckPending int) {
	m.pending.WithLabelValues(durable).Set(float64(pending))
	m.ackPending.WithLabelValues(durable).Set(float64(ackPending))
	m.maxAckPending.WithLabelValues(durable).Set(float64(max(maxAckPending, 0)))
}

// NoConsumer forgets a consumer that is gone.
func (m *Metrics) NoConsumer(durable string) {
	for _, g := range []*prometheus.GaugeVec{m.pending, m.ackPending, m.maxAckPending} {
		g.DeleteLabelValues(durable)
	}
}

// Lane tells how many live replicas serve a lane.
func (m *Metrics) Lane(name string, replicas int) {
	m.laneReplicas.WithLabelValues(name).Set(float64(replicas))
}

// NoLane forgets a lane that is gone.
func (m *Metrics) NoLane(name string) { m.laneReplicas.DeleteLabelValues(name) }

// InFlight registers how many attempts are being made, and how many can be.
func (m *Metrics) InFlight(busy func() int, limit int) {
	families{m.Registry}.gaugeFunc("jethook_in_flight", "Slots that are working: on an attempt, or on storing what came of one.", busy)
	families{m.Registry}.gaugeFunc("jethook_in_flight_limit", "Slots that this replica has.", func() int { return limit })
}

// Endpoints registers how many endpoints there are, and how many documents
// cannot be read.
func (m *Metrics) Endpoints(known, broken func() int) {
	families{m.Registry}.gaugeFunc("jethook_endpoints", "Endpoints known to this replica.", known)
	families{m.Registry}.gaugeFunc("jethook_endpoint_documents_broken", "Documents in the bucket that cannot be read; the last good one of each stays in force.", broken)
}

// Replicas registers how many replicas are alive.
func (m *Metrics) Replicas(alive func() int) {
	families{m.Registry}.gaugeFunc("jethook_replicas", "Replicas that are alive, as far as this one knows, itself included.", alive)
}

// NATS registers whether there is a connection, and how often it was made again.
func (m *Metrics) NATS(connected func() bool, reconnects func() uint64) {
	families{m.Registry}.gaugeFunc("jethook_nats_connected", "1 while this replica is connected to NATS.", func() int { return int(oneIf(connected())) })
	m.Registry.MustRegister(prometheus.NewCounterFunc(prometheus.CounterOpts{
		Name: "jethook_nats_reconnects_total", Help: "Times that the connection to NATS was lost and made again.",
	}, func() float64 { return float64(reconnects()) }))
}
