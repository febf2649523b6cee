package worker

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"maps"
	"strconv"
	"sync/atomic"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"jethook/pkg/delivery"
	"jethook/pkg/endpoint"
	"jethook/pkg/event"
)

const (
	// direct is up to how many endpoints an event is delivered to straight from
	// the event. Beyond it, each delivery is stored first, so that a crash
	// repeats few of them.
	direct = 16
	// inTurnFor is how long deliveries of an event wait for those before them.
	inTurnFor = 250 * time.Millisecond
	// poisonous is how often a message may be handed out. Waits become
	// schedules long before; what comes back as often as this kills workers.
	poisonous = 20
	// waits is how many delayed naks a message gets before it is stored anew.
	waits = 10
)

// event handles a message of the stream of events.
func (w *Worker) event(m *message) {
	m.parts.Store(1)
	tenant, eventType, err := w.names.ParseEvent(m.Subject())
	if err != nil {
		// No endpoint can have such a name, so none matches.
		w.oddities.Warn().Err(err).Uint64("seq", m.seq).Msg("event under a subject that no endpoint can match")
		w.metrics.Event("invalid")
		w.finish(m, true)
		return
	}
	endpoints := w.endpoints.Match(tenant, eventType)
	if len(endpoints) == 0 {
		w.metrics.Event("unmatched")
		w.finish(m, true)
		return
	}
	e := event.New(event.Message{Tenant: tenant, Type: eventType,
		Header: m.Headers(), Body: m.Data(), Seq: m.seq, Time: m.stored})
	switch {
	case m.handed >= poisonous:
		w.finish(m, w.poisonEvent(e, endpoints))
	case len(endpoints) > direct || m.handed > 1:
		w.finish(m, w.storeEach(e, endpoints))
	default:
		w.metrics.Event("matched")
		w.deliverEach(m, e, endpoints)
	}
}

// deliverEach makes the first attempts of an event's deliveries, those that
// find a free slot at the same time.
func (w *Worker) deliverEach(m *message, e event.Event, endpoints []*endpoint.Endpoint) {
	m.parts.Store(int32(len(endpoints)))
	for len(endpoints) > 1 {
		ep := endpoints[0]
		if !w.pool.tryRun(work{m, func(m *message) { w.deliverFirst(m, e, ep) }}) {
			w.deliverInTurn(m, e, endpoints)
			return
		}
		endpoints = endpoints[1:]
	}
	w.deliverFirst(m, e, endpoints[0])
}

func (w *Worker) deliverFirst(m *message, e event.Event, ep *endpoint.Endpoint) {
	d := delivery.New(e, ep.ID)
	w.finish(m, w.deliverOne(&d, ep, d.MsgID()))
}

// deliverInTurn makes the attempts one after the other, because no slot is free
// for more. Those that would wait long for one before them are stored, for
// whoever has a slot.
func (w *Worker) deliverInTurn(m *message, e event.Event, endpoints []*endpoint.Endpoint) {
	var next atomic.Int32
	claim := func() *endpoint.Endpoint {
		if i := int(next.Add(1)) - 1; i < len(endpoints) {
			return endpoints[i]
		}
		return nil
	}
	w.pool.running.Add(1)
	timer := time.AfterFunc(inTurnFor, func() {
		defer w.pool.running.Done()
		for ep := claim(); ep != nil; ep = claim() {
			d := delivery.New(e, ep.ID)
			err := w.store(w.attempts, &d, ep.Lane, d.MsgID())
			w.finish(m, err == nil || w.unsettled(&d, err))
		}
	})
	for ep := claim(); ep != nil; ep = claim() {
		w.deliverFirst(m, e, ep)
	}
	if timer.Stop() {
		w.pool.running.Done()
	}
}

// storeEach stores the deliveries of an event for others to attempt.
func (w *Worker) storeEach(e event.Event, endpoints []*endpoint.Endpoint) bool {
	messages := make([]*nats.Msg, 0, len(endpoints))
	for _, ep := range endpoints {
		d := delivery.New(e, ep.ID)
		stored, err := w.stored(&d, ep.Lane, d.MsgID())
		if err != nil {
			return w.unsettled(&d, err)
		}
		messages = append(messages, stored)
	}
	if err := w.publishAll(w.attempts, messages); err != nil {
		d := delivery.New(e, endpoints[0].ID)
		return w.unsettled(&d, err)
	}
	w.metrics.Event("stored")
	return true
}

func (w *Worker) poisonEvent(e event.Event, endpoints []*endpoint.Endpoint) bool {
	for _, ep := range endpoints {
		d := delivery.New(e, ep.ID)
		if !w.bury(&d, ep, delivery.Poison, d.MsgID()) {
			return false
		}
	}
	return true
}

// delivery handles a message of the stream of deliveries.
func (w *Worker) delivery(m *message) {
	m.parts.Store(1)
	d, lane, err := w.read(m)
	ep := w.endpoints.Get(d.Event.Tenant, d.Endpoint)
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
	case reason != "" && (d.State.Dead == "" || !wait):
		w.finish(m, w.bury(&d, ep, reason, waitID))
	case wait:
		w.wait(m, &d, lane)
	default:
		w.finish(m, w.deliverOne(&d, ep, waitID))
	}
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
	again := &nats.Msg{Subject: m.Subject(), Header: maps.Clone(m.Headers()), Data: m.Data()}
	again.Header.Set(jetstream.MsgIDHeader, waitID)
	w.finish(m, w.publish(w.attempts, again) == nil)
}

// errUnreadable says that a message is not a delivery that jethook wrote.
var errUnreadable = errors.New("not a delivery")

// read reads a stored delivery, with its body from the event where it did not
// fit beside the state.
func (w *Worker) read(m *message) (d delivery.Delivery, lane string, err error) {
	lane, tenant, id, err := w.names.ParseDelivery(m.Subject())
	if err != nil {
		return delivery.Delivery{}, "", fmt.Errorf("%w: %w", errUnreadable, err)
	}
	d, bodyInEvent, err := delivery.Decode(tenant, id, m.Headers(), m.Data())
	if err != nil {
		return delivery.Delivery{}, "", fmt.Errorf("%w: %w", errUnreadable, err)
	}
	if !bodyInEvent {
		return d, lane, nil
	}
	ctx, cancel := context.WithTimeout(w.attempts, publishTimeout)
	defer cancel()
	d.Event.Body, err = event.Body(ctx, w.js, w.names.Events(), d.Event.Seq)
	return d, lane, err
}

// setAside stores a message that is no delivery where no consumer reads it, for
// an operator to look at.
func (w *Worker) setAside(m *message) bool {
	aside := nats.NewMsg(w.names.Unreadable())
	aside.Data = m.Data()
	if text := m.Headers().Get(delivery.Header); text != "" {
		aside.Header.Set(delivery.Header, text)
	}
	aside.Header.Set(jetstream.MsgIDHeader, "unreadable."+strconv.FormatUint(m.seq, 10))
	return w.publish(w.attempts, aside) == nil
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
