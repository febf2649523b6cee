package telemetry

import (
	"time"

	"github.com/prometheus/client_golang/prometheus"
)

// audit are the figures of what was accounted for, and of the attempt log.
type audit struct {
	deliveries *prometheus.GaugeVec
	difference prometheus.Gauge
	missing    prometheus.Counter
	at         prometheus.Gauge
	records    prometheus.Counter
	lost       prometheus.Counter
}

// Accounts are where the deliveries of a window are. Matched is the sum of all
// others; what is Unaccounted is where it should not be, or nowhere.
type Accounts struct{ Matched, Delivered, Waiting, Held, Dead, Discarded, Unaccounted int }

func newAudit(f families) audit {
	a := audit{
		deliveries: f.gauge("jethook_accounting_deliveries", "Deliveries of the window that was audited last, by where they are; matched is all of them.", "state"),
		difference: f.gauge("jethook_accounting_difference", "Deliveries that matched, less those that are delivered, waiting, held, dead or discarded: 0 when all are accounted for.").WithLabelValues(),
		missing:    f.counter("jethook_accounting_missing_total", "Deliveries, and events that nobody matched, of which two audits in a row did not find out what became; each once.").WithLabelValues(),
		at:         f.gauge("jethook_accounting_timestamp_seconds", "When the last audit ended; 0 is never.").WithLabelValues(),
		records:    f.counter("jethook_attempt_log_records_total", "Lines of the attempt log and the ledger that were stored.").WithLabelValues(),
		lost:       f.counter("jethook_attempt_log_lost_total", "Lines of the attempt log and the ledger that NATS did not store in time; they are missing there.").WithLabelValues(),
	}
	a.set(Accounts{})
	return a
}

func (a audit) set(of Accounts) {
	for state, n := range map[string]int{"matched": of.Matched, "delivered": of.Delivered, "waiting": of.Waiting,
		"held": of.Held, "dead": of.Dead, "discarded": of.Discarded} {
		a.deliveries.WithLabelValues(state).Set(float64(n))
	}
	a.difference.Set(float64(of.Unaccounted))
}

// Accounting tells what an audit found that ended at a time, and with the zero time
// that another replica tells.
func (m *Metrics) Accounting(a Accounts, at time.Time) {
	m.audit.set(a)
	if at.IsZero() {
		m.audit.at.Set(0)
		return
	}
	m.audit.at.Set(float64(at.Unix()))
}

// Missing counts deliveries that two audits in a row did not find.
func (m *Metrics) Missing(n int) { m.audit.missing.Add(float64(n)) }

// AttemptsLogged counts lines of the attempt log that were stored.
func (m *Metrics) AttemptsLogged(n int) { m.audit.records.Add(float64(n)) }

// AttemptsLost counts those that were not.
func (m *Metrics) AttemptsLost(n int) { m.audit.lost.Add(float64(n)) }
