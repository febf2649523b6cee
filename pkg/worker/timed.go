package worker

import (
	"context"

	"jethook/pkg/delivery"
	"jethook/pkg/endpoint"
	"jethook/pkg/telemetry"
)

// timed tells how long after its event the first attempt of each delivery began.
type timed struct {
	Sender
	metrics *telemetry.Metrics
}

func (t timed) Attempt(ctx context.Context, d *delivery.Delivery, ep *endpoint.Endpoint) delivery.Result {
	first := len(d.State.History) == 0 && !d.State.Replay
	r := t.Sender.Attempt(ctx, d, ep)
	if first && r.Fault != delivery.FaultInterrupted {
		// The server's clock may be ahead of ours.
		t.metrics.FirstAttempt(max(0, r.At.Sub(d.Event.Time)))
	}
	return r
}
