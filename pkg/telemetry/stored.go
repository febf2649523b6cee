package telemetry

import (
	"time"

	"github.com/prometheus/client_golang/prometheus"
)

// stored are the figures of what NATS stores for all replicas: each that
// collects them tells the same, seconds old.
type stored struct {
	backlog   *prometheus.GaugeVec
	ordered   prometheus.Gauge
	oldest    *prometheus.GaugeVec
	messages  *prometheus.GaugeVec
	bytes     *prometheus.GaugeVec
	limit     *prometheus.GaugeVec
	storage   prometheus.Gauge
	most      prometheus.Gauge
	roundTrip prometheus.Gauge
	collected prometheus.Gauge
}

// The states of what is not settled. They are labels.
const (
	Waiting = "waiting" // events that are not fanned out, deliveries about to be attempted or scheduled
	Held    = "held"    // deliveries that their endpoint cannot have now
	Dead    = "dead"    // dead letters
)

// What the age of the oldest is told of. They are labels.
const (
	OldestEvent    = "event"    // that a fanout consumer has not acked
	OldestDelivery = "delivery" // that waits for its next attempt, schedules left out
	OldestHeld     = "held"     // delivery
	OldestOrdered  = "ordered"  // event in the hand of this replica, of an ordered endpoint
)

func newStored(f families) stored {
	s := stored{
		backlog: f.gauge("jethook_backlog", "What is not settled, for all replicas: waiting (events that are not fanned out, those for ordered endpoints left out, and deliveries to be attempted or scheduled), held (deliveries), dead (dead letters).", "state"),
		ordered: f.gauge("jethook_ordered_pending", "Events that wait for the ordered endpoints that this replica serves, those in hand included, half a minute old.").WithLabelValues(),
		oldest: f.gauge("jethook_oldest_waiting_age_seconds", "Age of the oldest event that its consumer has not acked, of the oldest delivery stored for its next attempt (schedules left out), "+
			"of the oldest held delivery since it was first attempted or held, and of the oldest event that this replica has in hand for an ordered endpoint; 0 when there is none.", "state"),
		messages:  f.gauge("jethook_stream_messages", "Messages in a stream.", "stream"),
		bytes:     f.gauge("jethook_stream_bytes", "Size of a stream.", "stream"),
		limit:     f.gauge("jethook_stream_limit_bytes", "Size that a stream may have; 0 is no limit of its own.", "stream"),
		storage:   f.gauge("jethook_storage_bytes", "What the NATS account's streams take on disk, those of others included.").WithLabelValues(),
		most:      f.gauge("jethook_storage_limit_bytes", "What they may take, by the account's limit, or that of the server inside; 0 is unknown.").WithLabelValues(),
		roundTrip: f.gauge("jethook_nats_round_trip_seconds", "Time that NATS last took to answer a PING.").WithLabelValues(),
		collected: f.gauge("jethook_collected_timestamp_seconds", "When this replica last learned what NATS stores; 0 is never.").WithLabelValues(),
	}
	for _, state := range []string{Waiting, Held, Dead} {
		s.backlog.WithLabelValues(state)
	}
	for _, state := range []string{OldestEvent, OldestDelivery, OldestHeld, OldestOrdered} {
		s.oldest.WithLabelValues(state)
	}
	return s
}

// Backlog tells how much is in a state: Waiting, Held or Dead.
func (m *Metrics) Backlog(state string, n uint64) {
	m.stored.backlog.WithLabelValues(state).Set(float64(n))
}

// Ordered tells how many events wait for the ordered endpoints that are served
// here.
func (m *Metrics) Ordered(pending uint64) { m.stored.ordered.Set(float64(pending)) }

// Oldest tells since when the oldest of a kind waits; the zero time says that
// there is none. A time in the future, by a clock that is ahead, is now.
func (m *Metrics) Oldest(kind string, since, now time.Time) {
	age := 0.0
	if !since.IsZero() {
		age = max(0, now.Sub(since).Seconds())
	}
	m.stored.oldest.WithLabelValues(kind).Set(age)
}

// Stream tells how full a stream is. A limit below 0 is none.
func (m *Metrics) Stream(name string, messages, bytes uint64, limit int64) {
	m.stored.messages.WithLabelValues(name).Set(float64(messages))
	m.stored.bytes.WithLabelValues(name).Set(float64(bytes))
	m.stored.limit.WithLabelValues(name).Set(float64(max(limit, 0)))
}

// Storage tells what the account's streams take on disk, and what they may. A limit
// below 0 is none.
func (m *Metrics) Storage(used uint64, limit int64) {
	m.stored.storage.Set(float64(used))
	m.stored.most.Set(float64(max(limit, 0)))
}

// RoundTrip tells how long NATS took to answer.
func (m *Metrics) RoundTrip(took time.Duration) { m.stored.roundTrip.Set(took.Seconds()) }

// Collected tells when all that NATS stores was last known.
func (m *Metrics) Collected(at time.Time) {
	m.stored.collected.Set(float64(at.UnixMilli()) / 1000)
}
