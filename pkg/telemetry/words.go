package telemetry

import (
	"github.com/prometheus/client_golang/prometheus"

	"jethook/pkg/notify"
	"jethook/streams"
)

// Words are the counters of what endpoints' owners are told.
type Words struct {
	said    *prometheus.CounterVec
	brought *prometheus.CounterVec
}

// Words registers the counters of what owners are told, each label pre-created at
// zero.
func (m *Metrics) Words() *Words {
	w := &Words{
		said:    prometheus.NewCounterVec(prometheus.CounterOpts{Name: "jethook_words_total", Help: "Events of jethook's own about endpoints, published by this replica."}, []string{"type"}),
		brought: prometheus.NewCounterVec(prometheus.CounterOpts{Name: "jethook_contact_messages_total", Help: "Messages to endpoints' contacts, by way and by what became of them."}, []string{"by", "result"}),
	}
	m.Registry.MustRegister(w.said, w.brought)
	for _, t := range []string{streams.EndpointFailing, streams.EndpointRecovered, streams.EndpointDisabled, streams.DeliveryDead} {
		w.said.WithLabelValues(t)
	}
	for _, by := range []string{"email", "slack"} {
		for _, result := range []string{notify.Sent, notify.GivenUp, notify.TooMany} {
			w.brought.WithLabelValues(by, result)
		}
	}
	return w
}

// Said counts an event that was published.
func (w *Words) Said(eventType string) { w.said.WithLabelValues(eventType).Inc() }

// Brought counts a message by email or slack, and what became of it.
func (w *Words) Brought(by, result string) { w.brought.WithLabelValues(by, result).Inc() }
