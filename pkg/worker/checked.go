package worker

import (
	"context"
	"time"

	"jethook/pkg/delivery"
	"jethook/pkg/endpoint"
)

// checked makes no attempt with an event that no receiver can have: what its
// headers break is the delivery's error, and trying again would not mend it.
type checked struct{ Sender }

func (c checked) Attempt(ctx context.Context, d *delivery.Delivery, ep *endpoint.Endpoint) delivery.Result {
	if d.Event.Problem != "" {
		return delivery.Result{At: time.Now(), Fault: delivery.FaultInvalidRequest,
			Error: "the request cannot be sent: " + d.Event.Problem}
	}
	return c.Sender.Attempt(ctx, d, ep)
}
