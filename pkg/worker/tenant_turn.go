package worker

import (
	"context"
	"time"

	"jethook/pkg/delivery"
	"jethook/pkg/endpoint"
)

const (
	// inPlace is how long a feed waits for its tenant's rate, or its gate, without
	// leaving.
	inPlace = 250 * time.Millisecond
	// tenantFeeds is how many endpoints of a tenant that has a rate are fed at a
	// time, in a replica: what it can have is little, and others need places, too.
	tenantFeeds = 16
)

// pay takes the token of a delivery's first attempt, and reports whether it may
// go. Further attempts cost nothing: what a tenant publishes is what counts, not
// how its receivers answer.
func (w *Worker) pay(d *delivery.Delivery, ep *endpoint.Endpoint) (from *bucket, ok bool) {
	if d.State.Attempts > 0 {
		return nil, true
	}
	from = w.tenantOf(ep)
	if ok = from.allow(); !ok {
		w.metrics.TenantWaits()
	}
	return from, ok
}

// queues reports whether an endpoint's deliveries have to wait for its tenant's
// rate.
func (w *Worker) queues(ep *endpoint.Endpoint) bool {
	if !w.tenantOf(ep).lacks() {
		return false
	}
	w.metrics.TenantWaits()
	return true
}

// turn waits until the tenant's rate lets a feed attempt up to size deliveries.
// Where that takes long it returns none, and when to come back: the tokens are
// the endpoint's by then.
func (k *keeper) turn(ctx context.Context, h *holding, size int) (t ticket, next time.Time) {
	ep := k.endpointOf(h)
	if ep == nil {
		return ticket{}, time.Time{}
	}
	t, h.ticket = h.ticket, ticket{}
	if t.n == 0 {
		t = k.w.tenantOf(ep).reserve(size)
	}
	switch wait := time.Until(t.due); {
	case wait > inPlace:
		k.look(&h.serving, true) // what is held meanwhile is no reason to come earlier
		h.ticket = t
		return ticket{}, t.due
	case wait > 0:
		pause(ctx, wait)
	}
	return t, time.Time{}
}

// leave gives back what is kept for a feed that will not come. The caller holds
// the mutex.
func (h *holding) leave() {
	h.ticket.refund(h.ticket.n)
	h.ticket = ticket{}
}

// tenantsTurn waits until the tenant's rate lets the event have its first
// attempt, and reports false where that is to be looked at anew. The event keeps
// its place until it is attempted or let go of.
func (h *head) tenantsTurn(ctx context.Context, ep *endpoint.Endpoint, now time.Time) bool {
	if h.d.State.Attempts > 0 {
		return true
	}
	if h.ticket.n == 0 {
		if h.ticket = h.w.tenantOf(ep).reserve(1); now.Before(h.ticket.due) {
			h.w.metrics.TenantWaits()
		}
	}
	if now.Before(h.ticket.due) {
		h.wait(ctx, earlier(h.ticket.due, h.d.Expiry(terms(ep))))
		return false
	}
	return true
}
