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
)

// inOrder is an ordered endpoint that is served.
type inOrder struct {
	w                *Worker
	all              *ordered
	name, tenant, id string
	stop             context.CancelFunc
	log              zerolog.Logger
	again            trouble

	durables []string // its consumers; guarded by the mutex of all
	era      *era     // that is served
	current  string   // the consumer of the document by which it is

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

// serve sees to the oldest era, one event after the other, until that is over, or
// the consumers have to be looked at anew, because of the endpoint or of trouble.
func (o *inOrder) serve(ctx context.Context) error {
	ep := o.endpoint()
	eras, err := o.find(ctx, ep)
	if err != nil {
		return err
	}
	o.take(eras, ep)
	if ep == nil || !ep.Ordered {
		return o.end(ctx, ep, eras)
	}
	if o.era.ends {
		_, err := o.finish(ctx, ep, eras)
		return err
	}
	for ctx.Err() == nil && o.endpoint() == ep {
		m, err := o.fetch()
		if err != nil {
			return err
		}
		if m != nil {
			o.see(ctx, m)
		}
	}
	return nil
}

// take notes what is served from now on.
func (o *inOrder) take(eras []*era, ep *endpoint.Endpoint) {
	o.era, o.current, o.stated = eras[0], "", true // a state, by whoever served it before
	if ep != nil {
		o.current = o.consumerOf(ep)
	}
	durables := make([]string, len(eras))
	for i, e := range eras {
		durables[i] = e.name()
	}
	o.all.mu.Lock()
	defer o.all.mu.Unlock()
	o.durables = durables
}

// finish sees to what an era that ends has left, removes its consumer, and reports
// whether it came so far. The next era waits for that.
func (o *inOrder) finish(ctx context.Context, ep *endpoint.Endpoint, eras []*era) (done bool, err error) {
	over, had, err := o.era.over(ctx, false)
	for err == nil && !over {
		if ctx.Err() != nil || o.endpoint() != ep {
			return false, nil
		}
		var m *message
		if m, err = o.fetch(); err != nil {
			break
		}
		switch {
		case m == nil:
			over, had, err = o.era.over(ctx, true)
		case m.seq > o.era.until:
			o.w.handBack(m)
			_, had, err = o.era.over(ctx, true)
			over = true // while this one is handed out, no other is
		case ep != nil && ep.Ordered:
			o.see(ctx, m)
		default:
			o.dispose(ctx, m)
		}
	}
	if err != nil {
		return false, err
	}
	var next *era
	if len(eras) > 1 {
		next = eras[1]
	}
	return true, o.forget(ctx, o.era, next, had)
}

// fetch waits a while for the next event. It returns nil when none came.
func (o *inOrder) fetch() (*message, error) {
	// The event is ours from when the server sent it, which was not before.
	asked := time.Now()
	batch, err := o.era.Fetch(1, jetstream.FetchMaxWait(o.w.fetchFor))
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
	o.again.over(o.log, "ordered endpoint is served again")
	return m, nil
}
