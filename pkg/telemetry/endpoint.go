package telemetry

import "github.com/prometheus/client_golang/prometheus"

// byEndpoint are the series of single endpoints. Whoever shows them bounds how
// many there are.
type byEndpoint struct {
	attempts *prometheus.CounterVec
	open     *prometheus.GaugeVec
	disabled *prometheus.GaugeVec
	held     *prometheus.GaugeVec
}

const (
	endpointDelivered = "delivered"
	endpointFailed    = "failed"
)

func newByEndpoint(f families) byEndpoint {
	const which = " Only of the busiest endpoints of this replica and of those in trouble."
	return byEndpoint{
		attempts: f.counter("jethook_endpoint_attempts_total", "Attempts that this replica made at an endpoint since it shows it, probes left out."+which, "endpoint", "result"),
		open:     f.gauge("jethook_endpoint_gate_open", "1 while the endpoint's gate is open."+which, "endpoint"),
		disabled: f.gauge("jethook_endpoint_disabled", "1 while the endpoint is disabled."+which, "endpoint"),
		held:     f.gauge("jethook_endpoint_held", "Deliveries that are held for the endpoint, for all replicas."+which, "endpoint"),
	}
}

// EndpointState is how an endpoint is.
type EndpointState struct {
	GateOpen, Disabled bool
	Held               uint64 // deliveries
}

// ShowEndpoint tells how the endpoint TENANT/ENDPOINT is. From the first time on
// its attempts are shown, too, beginning at zero.
func (m *Metrics) ShowEndpoint(name string, s EndpointState) {
	m.EndpointAttempts(name, 0, 0)
	m.endpoint.open.WithLabelValues(name).Set(oneIf(s.GateOpen))
	m.endpoint.disabled.WithLabelValues(name).Set(oneIf(s.Disabled))
	m.endpoint.held.WithLabelValues(name).Set(float64(s.Held))
}

// EndpointAttempts counts attempts at an endpoint that is shown.
func (m *Metrics) EndpointAttempts(name string, delivered, failed uint32) {
	m.endpoint.attempts.WithLabelValues(name, endpointDelivered).Add(float64(delivered))
	m.endpoint.attempts.WithLabelValues(name, endpointFailed).Add(float64(failed))
}

// HideEndpoint ends the series of an endpoint.
func (m *Metrics) HideEndpoint(name string) {
	m.endpoint.attempts.DeleteLabelValues(name, endpointDelivered)
	m.endpoint.attempts.DeleteLabelValues(name, endpointFailed)
	for _, g := range []*prometheus.GaugeVec{m.endpoint.open, m.endpoint.disabled, m.endpoint.held} {
		g.DeleteLabelValues(name)
	}
}

func oneIf(yes bool) float64 {
	if yes {
		return 1
	}
	return 0
}
