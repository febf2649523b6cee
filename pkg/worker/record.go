package worker

import (
	"cmp"
	"context"
	"maps"
	"sync"
	"time"

	"github.com/rs/zerolog"

	"jethook/pkg/attempt"
	"jethook/pkg/delivery"
	"jethook/pkg/endpoint"
	"jethook/pkg/event"
	"jethook/pkg/tracing"
)

// made is an attempt that was made, and what it makes of the delivery.
type made struct {
	d       *delivery.Delivery // as it was attempted
	result  delivery.Result
	verdict delivery.Verdict
	next    delivery.State
	probe   bool
	span    tracing.Attempt
}

// eachPerSecond is how many attempts the log tells of in a second, at the debug
// level. How many there were is a metric.
const eachPerSecond = 20

// attempted tells of an attempt all who want to know: the one place where that is
// done. The delivery is still as the attempt found it.
func (w *Worker) attempted(a made) {
	if a.probe && a.verdict.Outcome == delivery.Retry {
		w.metrics.ProbeFailed(a.result)
	} else {
		w.metrics.Attempt(a.verdict.Outcome, a.result)
	}
	a.span.End(a.verdict, a.result)
	w.logAttempt(&a)
	if a.verdict.Outcome == delivery.Interrupted && len(a.result.Request) == 0 {
		return // nothing was sent
	}
	w.attemptLog.Attempt(&attempt.Made{Delivery: a.d, Result: a.result, Verdict: a.verdict, NextAt: a.next.Due, Probe: a.probe})
}

func (w *Worker) logAttempt(a *made) {
	line := w.log.Debug()
	if line == nil {
		return
	}
	if !w.each.Sample(zerolog.DebugLevel) {
		line.Discard()
		line.Send() // writes nothing, and gives its buffer back
		return
	}
	// Not the error, which quotes what the receiver answered.
	line.Str("event_id", a.d.Event.ID).Str("tenant", a.d.Event.Tenant).Str("endpoint", a.d.Name()).Int("attempt", a.d.Number()).
		Str("outcome", string(a.verdict.Outcome)).Str("reason", cmp.Or(string(a.verdict.Reason), string(a.result.Fault))).
		Int("status", a.result.Status).Dur("duration", a.result.Duration).Msg("attempt")
}

// died tells of a dead letter that was stored.
func (w *Worker) died(d *delivery.Delivery, reason delivery.Reason) {
	w.metrics.DeadLetter(reason)
	w.attemptLog.Dead(d, reason)
	w.words.Buried(d, reason)
}

// logMatched keeps for whom an event is.
func (w *Worker) logMatched(e *event.Event, m *message, matched []*endpoint.Endpoint) {
	if w.attemptLog == nil {
		return
	}
	ids := make([]string, 0, len(matched))
	var ordered []string
	for _, ep := range matched {
		if isOrdered(ep, m.seq) {
			if m.seq >= ep.EventsFrom { // what came before did not go by these patterns
				ordered = append(ordered, ep.ID)
			}
		} else {
			ids = append(ids, ep.ID)
		}
	}
	w.attemptLog.Matched(e, ids, ordered)
}

// ack acks a message once what was logged of it is stored.
func (w *Worker) ack(m *message) {
	if w.attemptLog == nil {
		w.ackNow(m)
		return
	}
	if m.fed {
		w.unlogged.add(m.seq)
	}
	w.attemptLog.After(func() {
		w.ackNow(m)
		if m.fed {
			w.unlogged.remove(m.seq)
		}
	})
}

// ackTime bounds how long a stop waits for NATS to take an ack.
const ackTime = time.Second

// ackNow acks a message. The last acks before a stop are waited for: a server inside
// this process stops next, and forgets those that it has received and not worked off.
// Where one is not answered, no other is waited for.
func (w *Worker) ackNow(m *message) {
	if !w.stopping.Load() || w.unheard.Load() {
		w.complain(m.Ack(), "ack")
		return
	}
	ctx, cancel := context.WithTimeout(context.Background(), ackTime)
	defer cancel()
	if err := m.DoubleAck(ctx); err != nil {
		w.unheard.Store(true)
		w.complain(err, "ack")
	}
}

// unlogged are the held deliveries that were attempted and await their ack: they
// are in hand still.
type unlogged struct {
	mu   sync.Mutex
	seqs map[uint64]bool
}

func (u *unlogged) add(seq uint64) {
	u.mu.Lock()
	defer u.mu.Unlock()
	if u.seqs == nil {
		u.seqs = make(map[uint64]bool)
	}
	u.seqs[seq] = true
}

func (u *unlogged) remove(seq uint64) {
	u.mu.Lock()
	defer u.mu.Unlock()
	delete(u.seqs, seq)
}

// addTo adds them to a set.
func (u *unlogged) addTo(set map[uint64]bool) {
	u.mu.Lock()
	defer u.mu.Unlock()
	maps.Copy(set, u.seqs)
}
