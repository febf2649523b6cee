package worker

import (
	"time"

	"jethook/pkg/delivery"
	"jethook/pkg/endpoint"
	"jethook/pkg/event"
)

// deliveryOf returns the delivery of an event to an endpoint that it matches.
func deliveryOf(e event.Event, ep *endpoint.Endpoint) delivery.Delivery {
	d := delivery.New(e, ep.ID)
	d.State.EndpointMade = ep.MadeAt
	return d
}

// heardOf is within what time a replica that is in sync has heard of an endpoint.
const heardOf = time.Minute

// recipient returns the endpoint that a delivery is for, nil when this replica knows
// of none: it was removed, which removed says if another has its name since, or is
// not heard of yet.
func (w *Worker) recipient(d *delivery.Delivery) (ep *endpoint.Endpoint, removed bool) {
	ep = w.endpoints.Get(d.Event.Tenant, d.Endpoint)
	if ep == nil {
		return nil, false
	}
	made := &d.State.EndpointMade
	if w.removedSince(*made, ep) {
		return nil, true
	}
	if made.After(ep.MadeAt) && !ep.MadeAt.IsZero() && time.Since(*made) < heardOf {
		return nil, false
	}
	// It may have been made for whichever there is, or for one that an older copy of
	// the bucket has the place of: from now on it is for this one.
	*made = ep.MadeAt
	return ep, false
}

// removedSince reports whether an endpoint that was there at a time was removed before
// this one of the same name was made. Zero is any time; and of what was removed before
// the bucket was made nobody knows.
func (w *Worker) removedSince(at time.Time, ep *endpoint.Endpoint) bool {
	return !at.IsZero() && at.Before(ep.MadeAt) && !at.Before(w.endpoints.BucketMade())
}
