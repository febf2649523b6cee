package worker

import (
	"cmp"

	"github.com/rs/zerolog"

	"jethook/pkg/delivery"
	"jethook/pkg/tracing"
)

// eachPerSecond is how many attempts the log tells of in a second, at the debug
// level. How many there were is a metric.
const eachPerSecond = 20

// observe ends the span of an attempt and tells the log of it. d is still as the
// attempt found it.
func (w *Worker) observe(span tracing.Attempt, d *delivery.Delivery, v delivery.Verdict, r delivery.Result) {
	span.End(v, r)
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
	line.Str("event_id", d.Event.ID).Str("tenant", d.Event.Tenant).Str("endpoint", d.Name()).Int("attempt", d.Number()).
		Str("outcome", string(v.Outcome)).Str("reason", cmp.Or(string(v.Reason), string(r.Fault))).
		Int("status", r.Status).Dur("duration", r.Duration).Msg("attempt")
}
