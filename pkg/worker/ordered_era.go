package worker

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"slices"

	"github.com/nats-io/nats.go/jetstream"

	"jethook/pkg/endpoint"
	"jethook/streams"
)

// era is what an ordered endpoint gets from one change of its patterns to the next,
// with a consumer of its own. The next era begins with the event that the document
// says, whatever was handed out by then, so that no event that only the new patterns
// match is passed by because a replica had not heard of them.
type era struct {
	jetstream.Consumer
	config jetstream.ConsumerConfig
	ends   bool
	until  uint64 // its last event, if it ends and that is known
}

func (e *era) name() string { return e.config.Durable }

func (e *era) from() uint64 { return streams.OrderedFrom(e.config) }

// endBy ends an era behind an event, if it does not end before.
func (e *era) endBy(until uint64) {
	if !e.ends || until < e.until {
		e.ends, e.until = true, until
	}
}

// over reports whether an era that ends has nothing left, and up to where its
// consumer has read: that may be beyond the end, while replicas had not heard of it.
// Of what is stored, one server of a cluster may know a moment later than others.
// So that nothing is pending counts for one that was waited for in vain.
func (e *era) over(ctx context.Context, waited bool) (over bool, had uint64, err error) {
	info, err := e.Info(ctx)
	if err != nil {
		return false, 0, fmt.Errorf("look up consumer %s: %w", e.name(), err)
	}
	had = info.AckFloor.Stream
	return info.NumAckPending == 0 && (had >= e.until || waited && info.NumPending == 0), had, nil
}

// errBehind says that another replica knows more.
var errBehind = errors.New("a consumer is there for a later document than this replica has heard of; " +
	"if the documents were restored from before that, change the endpoint's events, or remove the endpoint and apply it again")

// find returns the eras whose consumers are there, the oldest first, and the one
// of the document in force last, whose consumer it makes.
func (o *inOrder) find(ctx context.Context, ep *endpoint.Endpoint) ([]*era, error) {
	stream, err := o.events(ctx)
	if err != nil {
		return nil, err
	}
	eras, err := o.eras(ctx, stream)
	if err != nil {
		return nil, err
	}
	if ep == nil || !ep.Ordered {
		if len(eras) == 0 {
			return nil, errOver
		}
		return bounded(eras), nil
	}
	start, name := max(ep.OrderedFrom, ep.EventsFrom), o.consumerOf(ep)
	var current *era
	if i := slices.IndexFunc(eras, func(e *era) bool { return e.name() == name }); i >= 0 {
		current = eras[i]
		eras = slices.Delete(eras, i, i+1)
	}
	switch {
	case slices.ContainsFunc(eras, func(e *era) bool { return e.from() > start }):
		return nil, errBehind
	case current == nil:
		current, err = o.create(ctx, ep, stream.CachedInfo())
	case current.ends:
		current.endBy(start - 1) // it was ended, and comes again
	default:
		err = o.revise(ctx, ep, stream, current)
	}
	if err != nil {
		return nil, err
	}
	return bounded(append(eras, current)), nil
}

// bounded ends each era where the next begins.
func bounded(eras []*era) []*era {
	for i, e := range eras[1:] {
		eras[i].endBy(e.from() - 1)
	}
	return eras
}

func (o *inOrder) events(ctx context.Context) (jetstream.Stream, error) {
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
	return stream, nil
}

// eras returns the eras whose consumers are there, the oldest first.
func (o *inOrder) eras(ctx context.Context, stream jetstream.Stream) (all []*era, err error) {
	names := stream.ConsumerNames(ctx)
	for name := range names.Name() {
		if tenant, id, ok := streams.ParseOrdered(name); !ok || tenant != o.tenant || id != o.id {
			continue
		}
		js, err := stream.Consumer(ctx, name)
		if gone(err) {
			continue
		}
		if err != nil {
			return nil, fmt.Errorf("look up consumer %s: %w", name, err)
		}
		info, created := js.CachedInfo(), stream.CachedInfo().Created
		if floor := o.all.floor(name); floor.at.Before(created) || floor.seq < info.AckFloor.Stream {
			o.all.reached(name, position{info.AckFloor.Stream, created})
		}
		e := &era{Consumer: js, config: info.Config}
		e.until, e.ends = streams.OrderedEnd(info.Config)
		all = append(all, e)
	}
	if err := names.Err(); err != nil {
		return nil, fmt.Errorf("list the consumers of %s: %w", o.w.names.Events(), err)
	}
	slices.SortStableFunc(all, func(a, b *era) int { return cmp.Compare(a.from(), b.from()) })
	return all, nil
}

// consumerOf returns the name of the consumer that hands out what an endpoint is
// to get by its document.
func (o *inOrder) consumerOf(ep *endpoint.Endpoint) string {
	return streams.OrderedSince(o.tenant, o.id, ep.Events, ep.EventsFrom)
}

func (o *inOrder) definition(ep *endpoint.Endpoint, from uint64) jetstream.ConsumerConfig {
	c := streams.Ordered(o.w.names, o.tenant, o.id, ep.Events, from).Config
	c.Name = o.consumerOf(ep)
	c.Durable, c.AckWait = c.Name, o.all.ackWait
	return c
}

// create makes the consumer of the era in force: from the event on with which that
// begins, or from where this replica knows that it was.
func (o *inOrder) create(ctx context.Context, ep *endpoint.Endpoint, stream *jetstream.StreamInfo) (*era, error) {
	from := max(ep.OrderedFrom, ep.EventsFrom)
	if from > stream.State.LastSeq+1 {
		from = ep.OrderedFrom // the stream was made anew, and no era was before this one
	}
	config := o.definition(ep, from)
	if floor := o.all.floor(config.Durable); !floor.at.Before(stream.Created) {
		config.OptStartSeq = max(config.OptStartSeq, floor.seq+1)
	}
	js, err := o.w.js.CreateConsumer(ctx, o.w.names.Events(), config)
	if err != nil {
		return nil, fmt.Errorf("make consumer %s: %w", config.Durable, err)
	}
	o.log.Info().Strs("events", ep.Events).Uint64("from", config.OptStartSeq).Msg("serving an ordered endpoint")
	return &era{Consumer: js, config: js.CachedInfo().Config}, nil
}

// revise makes the consumer of the era in force what it should be.
func (o *inOrder) revise(ctx context.Context, ep *endpoint.Endpoint, stream jetstream.Stream, e *era) error {
	next, changed := streams.ReviseOrdered(e.config, streams.Consumer{Config: o.definition(ep, 0)})
	if !changed {
		return nil
	}
	js, err := stream.UpdateConsumer(ctx, next)
	if err != nil {
		return fmt.Errorf("update consumer %s: %w", e.name(), err)
	}
	e.Consumer, e.config = js, js.CachedInfo().Config
	return nil
}

// forget removes the consumer of an era that is over. What it handed out beyond its
// end, before every replica knew of that, the next one does not hand out again.
func (o *inOrder) forget(ctx context.Context, e, next *era, had uint64) error {
	if next != nil && had > e.until {
		if _, err := o.w.js.UpdateConsumer(ctx, o.w.names.Events(), streams.AfterOrdered(next.config, e.config, had)); err != nil {
			return fmt.Errorf("update consumer %s: %w", next.name(), err)
		}
	}
	err := o.w.js.DeleteConsumer(ctx, o.w.names.Events(), e.name())
	if err != nil && !gone(err) {
		return fmt.Errorf("delete consumer %s: %w", e.name(), err)
	}
	// Where it was is no place to begin from if it is made anew.
	o.all.forget(e.name())
	return nil
}

// has reports whether an event is one that the era is for, and that the one before
// it did not have.
func (e *era) has(m *message, eventType string) bool {
	return streams.OrderedWants(e.config, eventType) && !streams.OrderedHad(e.config, m.seq, eventType)
}
