package worker

import (
	"context"
	"errors"
	"fmt"
	"sync/atomic"
	"time"

	"github.com/nats-io/nats.go/jetstream"
	"github.com/rs/zerolog"

	"jethook/pkg/endpoint"
	"jethook/streams"
)

// inOrder is an ordered endpoint that is served.
type inOrder struct {
	w                         *Worker
	all                       *ordered
	name, tenant, id, durable string
	stop                      context.CancelFunc
	log                       zerolog.Logger
	again                     trouble

	hand   atomic.Pointer[message] // the event that is being seen to
	stated bool                    // a state may be stored
}

// errOver says that nothing is left to be served.
var errOver = errors.New("no ordered endpoint")

// run serves until ctx ends, or the endpoint is not ordered any more and has all
// that it was to get in order.
func (o *inOrder) run(ctx context.Context) {
	for ctx.Err() == nil {
		switch err := o.serve(ctx); {
		case errors.Is(err, errOver):
			return
		case errors.Is(err, errNotYet):
			pause(ctx, tendEvery)
		case err != nil && ctx.Err() == nil:
			o.again.wait(ctx, o.log, err, "cannot serve an ordered endpoint, trying again")
		}
	}
}

func (o *inOrder) endpoint() *endpoint.Endpoint { return o.w.endpoints.Get(o.tenant, o.id) }

// serve sees to one event after the other until the consumer has to be looked at
// anew, because of its endpoint or of trouble.
func (o *inOrder) serve(ctx context.Context) error {
	ep := o.endpoint()
	js, err := o.find(ctx, ep)
	if err != nil {
		return err
	}
	config := js.CachedInfo().Config
	if _, ends := streams.OrderedEnd(config); ends || ep == nil || !ep.Ordered {
		return o.end(ctx, js)
	}
	o.stated = true // by whoever served it before
	for ctx.Err() == nil && o.endpoint() == ep {
		m, err := o.fetch(js)
		if err != nil {
			return err
		}
		o.again.over(o.log, "ordered endpoint is served again")
		if m != nil {
			o.see(ctx, m)
		}
	}
	return nil
}

// find looks the endpoint's consumer up, and makes it what it should be.
func (o *inOrder) find(ctx context.Context, ep *endpoint.Endpoint) (jetstream.Consumer, error) {
	w := o.w
	stream, err := w.js.Stream(ctx, w.names.Events())
	if errors.Is(err, jetstream.ErrStreamNotFound) {
		err = w.mend(ctx)
		if err == nil {
			stream, err = w.js.Stream(ctx, w.names.Events())
		}
	}
	if err != nil {
		return nil, fmt.Errorf("look up stream %s: %w", w.names.Events(), err)
	}
	js, err := stream.Consumer(ctx, o.durable)
	created := stream.CachedInfo().Created
	switch {
	case errors.Is(err, jetstream.ErrConsumerNotFound):
		return o.create(ctx, ep, created)
	case err != nil:
		return nil, fmt.Errorf("look up consumer %s: %w", o.durable, err)
	}
	info := js.CachedInfo()
	if floor := o.all.floor(o.name); floor.at.Before(created) || floor.seq < info.AckFloor.Stream {
		o.all.reached(o.name, position{info.AckFloor.Stream, created})
	}
	if _, ends := streams.OrderedEnd(info.Config); ends || ep == nil || !ep.Ordered {
		return js, nil
	}
	if next, changed := streams.ReviseOrdered(info.Config, o.definition(ep, 0)); changed {
		o.log.Info().Strs("events", ep.Events).Msg("an ordered endpoint wants other events")
		if js, err = stream.UpdateConsumer(ctx, next); err != nil {
			return nil, fmt.Errorf("update consumer %s: %w", o.durable, err)
		}
	}
	return js, nil
}

func (o *inOrder) definition(ep *endpoint.Endpoint, from uint64) streams.Consumer {
	c := streams.Ordered(o.w.names, o.tenant, o.id, ep.Events, from)
	c.Config.AckWait = o.all.ackWait
	return c
}

// create makes the consumer: from the event on from which the endpoint is
// ordered, or from where this replica knows that it was.
func (o *inOrder) create(ctx context.Context, ep *endpoint.Endpoint, created time.Time) (jetstream.Consumer, error) {
	if ep == nil || !ep.Ordered {
		return nil, errOver
	}
	from := ep.OrderedFrom
	if floor := o.all.floor(o.name); !floor.at.Before(created) {
		from = max(from, floor.seq+1)
	}
	want := o.definition(ep, from)
	js, err := o.w.js.CreateConsumer(ctx, want.Stream, want.Config)
	if err != nil {
		return nil, fmt.Errorf("make consumer %s: %w", o.durable, err)
	}
	o.log.Info().Uint64("from", from).Msg("serving an ordered endpoint")
	return js, nil
}

// fetch waits a while for the next event. It returns nil when none came.
func (o *inOrder) fetch(js jetstream.Consumer) (*message, error) {
	// The event is ours from when the server sent it, which was not before.
	asked := time.Now()
	batch, err := js.Fetch(1, jetstream.FetchMaxWait(o.w.fetchFor))
	if err != nil {
		return nil, fmt.Errorf("fetch: %w", err)
	}
	var m *message
	for raw := range batch.Messages() {
		if m, err = newMessage(raw, nil, asked); err != nil {
			return nil, err
		}
	}
	if err := batch.Error(); err != nil && m == nil {
		return nil, fmt.Errorf("fetch: %w", err)
	}
	return m, nil
}
