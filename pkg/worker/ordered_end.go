package worker

import (
	"context"
	"errors"
	"fmt"
	"time"

	"jethook/pkg/delivery"
	"jethook/pkg/endpoint"
	"jethook/streams"
)

// errNotYet says that an end has to wait for replicas to know of it.
var errNotYet = errors.New("not every replica knows yet that the endpoint is not ordered any more")

// end settles what an endpoint that was removed, or is not ordered any more, has
// not had yet, and removes its consumers. Of one that was removed it becomes dead
// letters. For one that is not ordered any more it is stored as deliveries, which
// go the way of all others, out of order as these. From when the switch is known to
// a replica, its fanout delivers what comes to it, and until then it passes that
// over. So the end is the last event there was when all replicas knew: nothing
// is lost, and what was published in the moment between may arrive twice.
func (o *inOrder) end(ctx context.Context, ep *endpoint.Endpoint, eras []*era) error {
	if !o.era.ends {
		until, err := o.last(ctx)
		if err != nil {
			return err
		}
		// Where the end is must survive this replica: one that was found later
		// would repeat all that was delivered in between.
		js, err := o.w.js.UpdateConsumer(ctx, o.w.names.Events(), streams.EndOrdered(o.era.config, until))
		if err != nil {
			return fmt.Errorf("end consumer %s: %w", o.era.name(), err)
		}
		o.era.Consumer = js
		o.era.endBy(until)
		o.log.Info().Uint64("until", until).Msg("an endpoint is not ordered any more")
	}
	done, err := o.finish(ctx, ep, eras)
	if !done || err != nil || len(eras) > 1 {
		return err
	}
	if err := o.purge(ctx); err != nil {
		o.log.Warn().Err(err).Msg("the state of an endpoint that is not ordered any more stays; it harms nobody")
	}
	o.log.Info().Msg("nothing is left of an endpoint that was ordered")
	return nil
}

// last returns the last event there is, once every replica knows that the
// endpoint is not ordered any more.
func (o *inOrder) last(ctx context.Context) (uint64, error) {
	w := o.w
	revision := w.endpoints.Revision()
	ep := o.endpoint()
	if ep == nil {
		exists, err := w.documents.Exists(ctx, o.name)
		if err != nil {
			return 0, fmt.Errorf("ask whether %s was removed: %w", o.name, err)
		}
		if exists {
			return 0, errNotYet // this replica has not heard of it
		}
	}
	for _, member := range w.replicas.Live() {
		if member.Endpoints < revision {
			return 0, errNotYet
		}
	}
	last, err := streams.NewEventLog(w.js, w.names).Last(ctx)
	if err == nil && (!w.endpoints.InSync() || o.endpoint() != ep) {
		return 0, errNotYet // it may be ordered again
	}
	return last, err
}

// dispose stores an event where it goes now that it does not go in order.
func (o *inOrder) dispose(ctx context.Context, m *message) {
	ep := o.endpoint()
	if ep != nil && ep.Ordered { // again
		o.w.handBack(m)
		return
	}
	o.hand.Store(m)
	defer o.hand.Store(nil)
	h := &head{inOrder: o, m: m, changed: o.w.endpoints.Changed()}
	unwanted := !h.read() || !o.era.has(m, h.d.Event.Type) || isAbout(m, h.d.Event.Type, h.id)
	if unwanted || o.w.endpoints.InSync() && h.recall(ctx) && h.goes(ep) {
		h.done()
		return
	}
	h.wait(ctx, time.Now().Add(tendEvery)) // it will hardly go better at once
	h.release()
}

// goes reports whether the event is stored where it goes.
func (h *head) goes(ep *endpoint.Endpoint) bool {
	if ep == nil {
		return h.bury(nil, delivery.EndpointDeleted)
	}
	return h.handOver(ep)
}
