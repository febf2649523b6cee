package worker

import (
	"context"
	"slices"
	"sync/atomic"
	"time"

	"github.com/nats-io/nats.go"

	"jethook/pkg/delivery"
	"jethook/pkg/endpoint"
	"jethook/pkg/event"
	"jethook/streams"
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
		e := event.New(event.Message{Header: m.Headers(), Seq: m.seq, Time: m.stored})
		w.attemptLog.Matched(&e, nil, nil)
		w.finish(m, true)
		return
	}
	if w.isElsewhere(m, tenant, eventType) {
		w.finish(m, true)
		return
	}
	matched := w.toOthers(m, tenant, eventType, w.endpoints.Match(tenant, eventType))
	endpoints := unordered(matched, m.seq)
	e := event.New(event.Message{Tenant: tenant, Type: eventType,
		Header: m.Headers(), Body: m.Data(), Seq: m.seq, Time: m.stored})
	w.logMatched(&e, m, matched)
	if len(endpoints) == 0 {
		result := "unmatched"
		if len(matched) > 0 {
			result = "ordered"
		}
		w.metrics.Event(result)
		w.finish(m, true)
		return
	}
	m.reading = w.trace.Event(&e, m.Subject())
	switch {
	case m.handed >= poisonous:
		w.finish(m, w.poisonEvent(e, endpoints))
	case len(endpoints) > direct || m.handed > 1:
		settled := w.storeEach(m.lane, e, endpoints)
		if settled {
			w.metrics.Event("stored")
		}
		w.finish(m, settled)
	default:
		w.metrics.Event("matched")
		here, elsewhere := w.split(m.lane, endpoints)
		stored := len(elsewhere) == 0 || w.storeEach(m.lane, e, elsewhere)
		if !stored || len(here) == 0 {
			w.finish(m, stored)
			return
		}
		w.deliverEach(m, e, here)
	}
}

// passesOver reports whether an event is one that another lane's consumer reads.
func (w *Worker) passesOver(m *message) bool {
	if !w.laned.Load() || !w.endpoints.InSync() {
		return false
	}
	tenant, eventType, err := w.names.ParseEvent(m.Subject())
	return err == nil && w.isElsewhere(m, tenant, eventType)
}

func (w *Worker) isElsewhere(m *message, tenant, eventType string) bool {
	lane := w.endpoints.LaneOf(tenant, eventType, m.seq)
	return lane != m.lane.name && !w.ending(m, lane)
}

// endingFor is for how long after its removal a lane still delivers what comes.
const endingFor = 10 * time.Second

// ending reports whether an event of the default lane came to another one that
// was only just removed. A replica that did not know of it yet may have passed
// it over in the default lane; twice is better than never.
func (w *Worker) ending(m *message, lane string) bool {
	return lane == streams.DefaultLane && slices.ContainsFunc(w.endpoints.Lanes(), func(l endpoint.Lane) bool {
		return l.ID == m.lane.name && l.Until != 0 && m.stored.Before(l.Removed.Add(endingFor))
	})
}

// unordered returns the endpoints without those that get the event at sequence
// seq in order, through consumers of their own.
func unordered(endpoints []*endpoint.Endpoint, seq uint64) []*endpoint.Endpoint {
	inOrder := func(ep *endpoint.Endpoint) bool { return isOrdered(ep, seq) }
	if !slices.ContainsFunc(endpoints, inOrder) {
		return endpoints
	}
	return slices.DeleteFunc(slices.Clone(endpoints), inOrder)
}

func isOrdered(ep *endpoint.Endpoint, seq uint64) bool { return ep.Ordered && seq >= ep.OrderedFrom }

// split tells endpoints whose deliveries are attempted in this lane from those
// that are in another.
func (w *Worker) split(l *lane, endpoints []*endpoint.Endpoint) (here, elsewhere []*endpoint.Endpoint) {
	isHere := func(ep *endpoint.Endpoint) bool { return w.laneFor(ep, l.name) == l.name }
	for i, ep := range endpoints {
		if isHere(ep) {
			continue
		}
		here = slices.Clone(endpoints[:i])
		for _, ep := range endpoints[i:] {
			if isHere(ep) {
				here = append(here, ep)
			} else {
				elsewhere = append(elsewhere, ep)
			}
		}
		return here, elsewhere
	}
	return endpoints, nil
}

// deliverEach makes the first attempts of an event's deliveries, those that
// find a free slot at the same time.
func (w *Worker) deliverEach(m *message, e event.Event, endpoints []*endpoint.Endpoint) {
	m.parts.Store(int32(len(endpoints)))
	m.shared = len(endpoints) > 1
	for len(endpoints) > 1 {
		ep := endpoints[0]
		if !m.lane.pool.tryRun(work{m, func(m *message) { w.deliverFirst(m, e, ep) }}) {
			w.deliverInTurn(m, e, endpoints)
			return
		}
		endpoints = endpoints[1:]
	}
	w.deliverFirst(m, e, endpoints[0])
}

func (w *Worker) deliverFirst(m *message, e event.Event, ep *endpoint.Endpoint) {
	d := deliveryOf(e, ep)
	settled := w.deliverOne(m.lane, &d, ep, d.MsgID())
	if !settled && m.shared && w.attempts.Err() != nil {
		settled = w.leave(m.lane, &d, ep)
	}
	w.finish(m, settled)
}

// leave stores a delivery that was cut off by a stop. Were the event handed back
// for its sake, those endpoints that have it would get it again.
func (w *Worker) leave(l *lane, d *delivery.Delivery, ep *endpoint.Endpoint) bool {
	ctx, cancel := context.WithTimeout(context.Background(), leaveFor)
	defer cancel()
	if w.store(ctx, d, w.laneFor(ep, l.name), d.MsgID()) != nil {
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
	m.lane.pool.running.Add(1)
	timer := time.AfterFunc(inTurnFor, func() {
		defer m.lane.pool.running.Done()
		for ep := claim(); ep != nil; ep = claim() {
			d := deliveryOf(e, ep)
			err := w.store(w.attempts, &d, w.laneFor(ep, m.lane.name), d.MsgID())
			w.finish(m, err == nil || w.unsettled(&d, err))
		}
	})
	for ep := claim(); ep != nil; ep = claim() {
		w.deliverFirst(m, e, ep)
	}
	if timer.Stop() {
		m.lane.pool.running.Done()
	}
}

// storeEach stores the deliveries of an event for others to attempt.
func (w *Worker) storeEach(l *lane, e event.Event, endpoints []*endpoint.Endpoint) bool {
	messages := make([]*nats.Msg, 0, len(endpoints))
	held := map[string]streams.Kind{}
	for _, ep := range endpoints {
		d := deliveryOf(e, ep)
		var m *nats.Msg
		var err error
		if w.barred(ep) || w.queues(ep) {
			m, held[ep.Name()], err = w.toHold(&d, d.MsgID())
		} else {
			m, err = w.stored(&d, w.laneFor(ep, l.name), d.MsgID())
		}
		if err != nil {
			return w.unsettled(&d, err)
		}
		messages = append(messages, m)
	}
	if err := w.publishAll(w.attempts, messages); err != nil {
		d := deliveryOf(e, endpoints[0])
		return w.unsettled(&d, err)
	}
	for name, kind := range held {
		w.metrics.Held()
		w.keeper.nudge(name, kind)
	}
	return true
}

func (w *Worker) poisonEvent(e event.Event, endpoints []*endpoint.Endpoint) bool {
	for _, ep := range endpoints {
		d := deliveryOf(e, ep)
		if !w.bury(&d, ep, delivery.Poison, d.MsgID()) {
			return false
		}
	}
	return true
}
