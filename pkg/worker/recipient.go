package worker

import (
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

// recipient returns the endpoint that a delivery is for, nil when this replica knows
// of none: it was removed, which removed says if another has its name since, or is
// not heard of yet.
func (w *Worker) recipient(d *delivery.Delivery) (ep *endpoint.Endpoint, removed bool) {
	ep = w.endpoints.Get(d.Event.Tenant, d.Endpoint)
	if ep == nil {
		return nil, false
	}
	switch made := &d.State.EndpointMade; {
	case made.IsZero():
		*made = ep.MadeAt // it is for whichever there is, and from now on for this one
	case isRemoved(d, ep):
		return nil, true
	case made.After(ep.MadeAt) && !ep.MadeAt.IsZero():
		return nil, false
	}
	return ep, false
}

// isRemoved reports whether the endpoint that a delivery is for was removed before
// this one of the same name was made.
func isRemoved(d *delivery.Delivery, ep *endpoint.Endpoint) bool {
	return !d.State.EndpointMade.IsZero() && d.State.EndpointMade.Before(ep.MadeAt)
}
