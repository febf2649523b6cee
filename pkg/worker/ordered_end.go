package worker

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/nats-io/nats.go/jetstream"

	"jethook/pkg/delivery"
	"jethook/pkg/endpoint"
	"jethook/streams"
)

// errNotYet says that an end has to wait for replicas to know of it.
var errNotYet = errors.New("not every replica knows yet that the endpoint is not ordered any more")

// end settles what an endpoint that was removed, or is not ordered any more, has
// not had yet, and removes its consumer. Of one that was removed it becomes dead
// letters. For one that is not ordered any more it is stored as deliveries, which
// go the way of all others, out of order as these. From when the switch is known to
// a replica, its fanout delivers what comes to it, and until then it passes that
// over. So the end is the last event there was when all replicas knew: nothing
// is lost, and what was published in the moment between may arrive twice.
func (o *inOrder) end(ctx context.Context, js jetstream.Consumer) error {
	config := js.CachedInfo().Config
	until, ends := streams.OrderedEnd(config)
	if !ends {
		var err error
		if until, err = o.last(ctx); err != nil {
			return err
		}
		// Where the end is must survive this replica: one that was found later
		// would repeat all that was delivered in between.
		if js, err = o.w.js.UpdateConsumer(ctx, o.w.names.Events(), streams.EndOrdered(config, until)); err != nil {
			return fmt.Errorf("end consumer %s: %w", o.durable, err)
		}
		o.log.Info().Uint64("until", until).Msg("an endpoint is not ordered any more")
	}
	o.stated = true
	for ctx.Err() == nil {
		m, err := o.fetch(js)
		if err != nil {
			return err
		}
		over, err := o.drain(ctx, js, m, until)
		if err != nil {
			return err
		}
		if over {
			return o.remove(ctx)
		}
	}
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

// drain settles one event, nil if none came, and reports whether it was the last.
func (o *inOrder) drain(ctx context.Context, js jetstream.Consumer, m *message, until uint64) (over bool, err error) {
	if m == nil {
		info, err := js.Info(ctx)
		if err != nil {
			return false, fmt.Errorf("look up consumer %s: %w", o.durable, err)
		}
		return info.NumAckPending == 0 && (info.NumPending == 0 || info.AckFloor.Stream >= until), nil
	}
	ep := o.endpoint()
	if m.seq > until || ep != nil && ep.Ordered && m.seq >= ep.OrderedFrom {
		o.w.handBack(m)
		return true, nil // for the consumer that comes after this one, if one does
	}
	o.hand.Store(m)
	defer o.hand.Store(nil)
	h := &head{inOrder: o, m: m, changed: o.w.endpoints.Changed()}
	unwanted := !h.read() || !streams.OrderedWants(js.CachedInfo().Config, h.d.Event.Type) || isAbout(m, h.d.Event.Type, h.id)
	if unwanted || o.w.endpoints.InSync() && h.recall(ctx) && h.dispose(ep) {
		h.done()
		return false, nil
	}
	h.wait(ctx, time.Now().Add(tendEvery)) // it will hardly go better at once
	h.release()
	return false, nil
}

// dispose stores the event where it goes now.
func (h *head) dispose(ep *endpoint.Endpoint) bool {
	if ep == nil {
		return h.bury(nil, delivery.EndpointDeleted)
	}
	return h.handOver(ep)
}

// remove deletes the consumer and the state.
func (o *inOrder) remove(ctx context.Context) error {
	err := o.w.js.DeleteConsumer(ctx, o.w.names.Events(), o.durable)
	if err != nil && !gone(err) {
		return fmt.Errorf("delete consumer %s: %w", o.durable, err)
	}
	// Where it was is no place to begin from if it is ordered anew.
	o.all.reached(o.name, position{})
	if err := o.purge(ctx); err != nil {
		o.log.Warn().Err(err).Msg("the state of an endpoint that is not ordered any more stays; it harms nobody")
	}
	o.log.Info().Msg("nothing is left of an endpoint that was ordered")
	return nil
}
