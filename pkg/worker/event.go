package worker

import (
	"context"
	"sync/atomic"
	"time"

	"github.com/nats-io/nats.go"

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
	// leaveFor bounds what a stop waits for each delivery that it cut off.
	leaveFor = 2 * time.Second
	// poisonous is how often a message may be handed out. Waits become
	// schedules long before; what comes back as often as this kills workers.
	poisonous = 20
)

// event handles a message of the stream of events.
func (w *Worker) event(m *message) {
	m.parts.Store(1)
	if !w.inSync() {
		w.finish(m, false)
		return
	}
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
	m.shared = len(endpoints) > 1
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
	settled := w.deliverOne(&d, ep, d.MsgID())
	if !settled && m.shared && w.attempts.Err() != nil {
		settled = w.leave(&d, ep)
	}
	w.finish(m, settled)
}

// leave stores a delivery that was cut off by a stop. Were the event handed back
// for its sake, those endpoints that have it would get it again.
func (w *Worker) leave(d *delivery.Delivery, ep *endpoint.Endpoint) bool {
	ctx, cancel := context.WithTimeout(context.Background(), leaveFor)
	defer cancel()
	if w.store(ctx, d, ep.Lane, d.MsgID()) != nil {
		return false // then the event is handed back after all
	}
	w.cutOff.Add(1)
	return true
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
