package telemetry

import "github.com/prometheus/client_golang/prometheus"

// families makes metrics and registers them at once. A name that is there
// already is a mistake of the program and panics.
type families struct{ *prometheus.Registry }

func (f families) counter(name, help string, labels ...string) *prometheus.CounterVec {
	c := prometheus.NewCounterVec(prometheus.CounterOpts{Name: name, Help: help}, labels)
	f.MustRegister(c)
	return c
}

func (f families) gauge(name, help string, labels ...string) *prometheus.GaugeVec {
	g := prometheus.NewGaugeVec(prometheus.GaugeOpts{Name: name, Help: help}, labels)
	f.MustRegister(g)
	return g
}

func (f families) histogram(name, help string, labels ...string) *prometheus.HistogramVec {
	h := prometheus.NewHistogramVec(prometheus.HistogramOpts{Name: name, Help: help, Buckets: latency}, labels)
	f.MustRegister(h)
	return h
}

// gaugeFunc registers a gauge that is asked for at each scrape, so value must
// answer at once.
func (f families) gaugeFunc(name, help string, value func() int) {
	f.MustRegister(prometheus.NewGaugeFunc(prometheus.GaugeOpts{Name: name, Help: help}, func() float64 { return float64(value()) }))
}
