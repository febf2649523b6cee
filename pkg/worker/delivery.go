package worker

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"maps"
	"strconv"
	"strings"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"jethook/pkg/delivery"
	"jethook/pkg/endpoint"
	"jethook/pkg/event"
	"jethook/streams"
)

// waits is how many delayed naks a message gets before it is stored anew.
const waits = 10

// delivery handles a message of the stream of deliveries.
func (w *Worker) delivery(m *message) {
	m.parts.Store(1)
	if !w.inSync() {
		w.finish(m, false)
		return
	}
	d, lane, err := w.read(m)
	ep, removed := w.recipient(&d)
	waitID := d.WaitMsgID(m.seq)
	reason := doomed(m, &d, ep)
	wait := time.Until(d.State.Due) > 0
	switch {
	case errors.Is(err, errUnreadable):
		w.log.Error().Err(err).Uint64("seq", m.seq).Msg("a stored delivery cannot be read; set aside")
		w.finish(m, w.setAside(m))
	case errors.Is(err, event.ErrGone): // its body was there only
		w.finish(m, w.bury(&d, ep, cmp.Or(d.State.Dead, delivery.Expired), waitID))
	case err != nil:
		w.oddities.Warn().Err(err).Str("event_id", d.Event.ID).Msg("cannot read the body of an event, trying later")
		w.later(m, waitID)
	case reason == delivery.EndpointDeleted && !removed && !w.deleted(&d):
		w.later(m, waitID)
	case reason != "" && (d.State.Dead == "" || !wait):
		w.finish(m, w.bury(&d, ep, reason, waitID))
	case wait:
		w.wait(m, &d, w.laneFor(ep, lane))
	default:
		w.finish(m, w.deliverOne(m.lane, &d, ep, waitID))
	}
}

// deleted reports whether the bucket has no endpoint for the delivery either: a
// replica may not have heard yet of one that was just made.
func (w *Worker) deleted(d *delivery.Delivery) bool {
	ctx, cancel := context.WithTimeout(w.attempts, publishTimeout)
	defer cancel()
	exists, err := w.documents.Exists(ctx, d.Name())
	if err != nil {
		w.oddities.Warn().Err(err).Str("endpoint", d.Name()).Msg("cannot ask whether an endpoint was removed, trying later")
	}
	return err == nil && !exists
}

// doomed returns why a stored delivery gets no further attempt, "" if it does.
func doomed(m *message, d *delivery.Delivery, ep *endpoint.Endpoint) delivery.Reason {
	switch {
	case d.State.Dead != "":
		return d.State.Dead
	case ep == nil:
		return delivery.EndpointDeleted
	case m.handed >= poisonous:
		return delivery.Poison
	}
	return ""
}

// later lets a delivery come back as it is. The event whose body it needs may
// be out of reach for long, which must not look like poison.
func (w *Worker) later(m *message, waitID string) {
	if m.handed < waits {
		w.naks.add(m, time.Now().Add(lastDelay))
		return
	}
	again := &nats.Msg{Subject: m.Subject(), Header: passedOn(m.Headers()), Data: m.Data()}
	again.Header.Set(jetstream.MsgIDHeader, waitID)
	w.finish(m, w.publish(w.attempts, again) == nil)
}

// passedOn returns the headers of a stored message that is stored anew, without
// those with which it told NATS what to do: of the batch of a replay, NATS would
// wait for the rest, and not take it.
func passedOn(stored nats.Header) nats.Header {
	header := maps.Clone(stored)
	maps.DeleteFunc(header, func(name string, _ []string) bool { return strings.HasPrefix(name, "Nats-") })
	if header == nil {
		header = nats.Header{}
	}
	return header
}

// errUnreadable says that a message is not a delivery that jethook wrote.
var errUnreadable = errors.New("not a delivery")

// read reads a stored delivery, with its body from the event where it did not
// fit beside the state.
func (w *Worker) read(m *message) (d delivery.Delivery, lane string, err error) {
	lane, tenant, id, err := w.address(m.Subject())
	if err != nil {
		return delivery.Delivery{}, "", fmt.Errorf("%w: %w", errUnreadable, err)
	}
	d, err = delivery.Decode(tenant, id, m.Headers(), m.Data())
	if err != nil {
		return delivery.Delivery{}, "", fmt.Errorf("%w: %w", errUnreadable, err)
	}
	if !d.BodyInEvent {
		return d, lane, nil
	}
	ctx, cancel := context.WithTimeout(w.attempts, publishTimeout)
	defer cancel()
	d.Event.Body, err = event.Body(ctx, w.js, w.names.Events(), d.Event.Seq)
	d.BodyInEvent = err != nil
	return d, lane, err
}

// address reads for whom a stored or held delivery is.
func (w *Worker) address(subject string) (lane, tenant, id string, err error) {
	if tenant, id, _, err = w.names.ParseHeld(subject); err == nil {
		return streams.DefaultLane, tenant, id, nil
	}
	return w.names.ParseDelivery(subject)
}

// setAside stores a message that is no delivery where no consumer reads it, for
// an operator to look at.
func (w *Worker) setAside(m *message) bool {
	return w.publish(w.attempts, w.aside(m.seq, m.Headers().Get(delivery.Header), m.Data())) == nil
}

// aside returns what is stored in the place of a message that is no delivery.
func (w *Worker) aside(seq uint64, state string, body []byte) *nats.Msg {
	m := nats.NewMsg(w.names.Unreadable())
	m.Data = body
	if state != "" {
		m.Header.Set(delivery.Header, state)
	}
	m.Header.Set(jetstream.MsgIDHeader, "unreadable."+strconv.FormatUint(seq, 10))
	return m
}

// wait lets a delivery come back when it is due, without keeping a slot.
func (w *Worker) wait(m *message, d *delivery.Delivery, lane string) {
	if m.handed < waits && !w.scheduled(time.Until(d.State.Due)) {
		w.naks.add(m, d.State.Due)
		return
	}
	err := w.store(w.attempts, d, lane, d.WaitMsgID(m.seq))
	w.finish(m, err == nil || w.unsettled(d, err))
}

// unsettled reports a delivery that could not be settled. It says false.
func (w *Worker) unsettled(d *delivery.Delivery, err error) bool {
	if w.attempts.Err() == nil {
		w.log.Error().Err(err).Str("endpoint", d.Name()).Str("event_id", d.Event.ID).
			Msg("a delivery cannot be stored; it stays where it is")
	}
	return false
}
