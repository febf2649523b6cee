package worker

import (
	"context"
	"time"

	"jethook/pkg/delivery"
	"jethook/pkg/endpoint"
	"jethook/pkg/event"
	"jethook/pkg/gate"
	"jethook/streams"
)

// head is the event that is an ordered endpoint's next. It stays in hand,
// whatever it waits for, because nothing may overtake it.
type head struct {
	*inOrder
	m       *message
	d       delivery.Delivery
	counted uint64 // of how often it was handed out, before an attempt was finished
	changed <-chan struct{}
	ticket  ticket // for its first attempt

	// failed is since when the endpoint was available when the event failed for
	// good. For as long as it still is since then, it is to be disabled because of
	// the event. disabled is what the endpoint was when that had been done.
	failed   time.Time
	disabled *endpoint.Endpoint

	// asked says that somebody enabled the endpoint, and nothing was attempted since.
	asked bool
}

// see sees an event through: it ends with the event acked, handed back or lost
// to another replica.
func (o *inOrder) see(ctx context.Context, m *message) {
	o.hand.Store(m)
	defer o.hand.Store(nil)
	// A server that was killed repeats the last tenth of a second of what was acked.
	if floor := o.all.floor(o.era.name()); m.seq <= floor.seq && !m.stored.After(floor.at) {
		o.w.complain(m.Ack(), "ack")
		return
	}
	h := &head{inOrder: o, m: m}
	defer func() { h.ticket.refund(h.ticket.n); h.m.reading.End(true) }()
	if !h.read() {
		h.done()
		return
	}
	if !h.recall(ctx) {
		o.w.handBack(m)
		return
	}
	for over := false; !over; {
		// What is not ours for certain is another's to attempt, if only soon.
		if !o.all.certain(m) {
			return
		}
		if ctx.Err() != nil || o.w.attempts.Err() != nil {
			h.release()
			return
		}
		over = h.step(ctx)
	}
}

// read reads the event. It reports false for one that no endpoint can have.
func (h *head) read() bool {
	tenant, eventType, err := h.w.names.ParseEvent(h.m.Subject())
	if err != nil {
		h.w.oddities.Warn().Err(err).Uint64("seq", h.m.seq).Msg("event under a subject that no endpoint can match")
		return false
	}
	h.d = delivery.New(event.New(event.Message{Tenant: tenant, Type: eventType,
		Header: h.m.Headers(), Body: h.m.Data(), Seq: h.m.seq, Time: h.m.stored}), h.id)
	h.m.reading = h.w.trace.Event(&h.d.Event, h.m.Subject())
	return true
}

// step does what is to be done now, and reports whether the event is over.
func (h *head) step(ctx context.Context) (over bool) {
	h.changed = h.w.endpoints.Changed()
	ep, now := h.endpoint(), time.Now()
	switch {
	case !h.w.endpoints.InSync():
		h.wait(ctx, now.Add(tendEvery))
		return false
	case ep == nil || !ep.Ordered || h.consumerOf(ep) != h.current:
		return h.release() // the era may end before it, by this replica or another
	case !h.era.has(h.m, h.d.Event.Type), isAbout(h.m, h.d.Event.Type, h.id):
		return h.done()
	case h.m.seq < ep.OrderedFrom:
		// From before the endpoint was made ordered anew, without anybody seeing
		// that it was not for a while.
		return h.settled(ctx, h.handOver(ep))
	case h.d.Expired(terms(ep), now):
		return h.settled(ctx, h.bury(ep, delivery.Expired))
	case h.blocked(ctx, ep, now):
		return false
	case h.m.handed >= h.counted+poisonous:
		return h.settled(ctx, h.bury(ep, delivery.Poison))
	}
	return h.pass(ctx, ep, now)
}

// blocked reports whether the endpoint or the event may not be attempted for
// now, after having waited for that.
func (h *head) blocked(ctx context.Context, ep *endpoint.Endpoint, now time.Time) bool {
	expiry := h.d.Expiry(terms(ep))
	_, unavailable := ep.Unavailable()
	switch {
	case unavailable, h.disabled == ep: // this replica has not heard of it yet
		h.idle()
		h.wait(ctx, expiry)
	case h.d.State.Dead != "" && h.failed.Equal(ep.AvailableSince):
		h.disableNow(ctx, ep)
	case h.d.State.Dead != "":
		// Somebody enabled the endpoint: this asks for another try.
		h.anew(now)
		h.asked = true
		return false
	case now.Before(h.d.State.Due) && !h.hurried(ep):
		h.idle()
		h.wait(ctx, earlier(h.d.State.Due, expiry))
	default:
		return false
	}
	return true
}

// hurried reports whether the event is to probe the endpoint before it is due: what
// it waits for may be what another address asked for.
func (h *head) hurried(ep *endpoint.Endpoint) bool {
	o, open := h.w.fleet.Get(h.name)
	return open && o.Precedes(ep.Revision)
}

// anew begins a new round of attempts.
func (h *head) anew(now time.Time) {
	s := h.d.State
	h.d.State = delivery.State{Origin: s.Origin, Since: now.UTC(), First: now.UTC(), Replay: s.Replay, Trace: s.Trace, History: s.History}
}

// pass attempts the event when the endpoint's gate lets it through.
func (h *head) pass(ctx context.Context, ep *endpoint.Endpoint, now time.Time) (over bool) {
	w := h.w
	if w.home(ep) == nil {
		h.wait(ctx, now.Add(tendEvery))
		return false
	}
	if opened, open := w.fleet.Get(h.name); open {
		return h.knock(ctx, ep, opened)
	}
	if !h.tenantsTurn(ctx, ep, now) {
		return false
	}
	g := w.gateOf(ep)
	short, cancel := context.WithTimeout(ctx, rankEvery) // then look again whether all is as it was
	defer cancel()
	switch {
	case g.IsOpen():
		h.wait(ctx, now.Add(tendEvery)) // the others are being told
		return false
	case g.Take(short, 1) == 0:
		return false
	case h.endpoint() != ep || !h.all.certain(h.m) || ctx.Err() != nil:
		g.Untake(1)
		return false
	}
	h.ticket = ticket{}
	return h.attempt(ctx, ep, g)
}

// knock waits for an open gate, or probes it when it is time for that.
func (h *head) knock(ctx context.Context, ep *endpoint.Endpoint, o gate.Opened) (over bool) {
	// An event that was not attempted has waited here for as long as the gate
	// was open, if only behind others.
	h.d.State.Begin(later(h.d.Event.Time, o.Since))
	now, down, due := time.Now(), h.d.Down(terms(ep)), o.Due(ep.Revision)
	if h.asked { // for an attempt: it gets that, whenever it can have it
		down = later(down, later(due, now).Add(tendEvery))
	}
	switch {
	case !now.Before(down):
		return h.fail(ctx, ep, delivery.EndpointDown)
	case now.Before(due):
		if o.Prober == "" { // who holds a lease may have died of this event
			h.idle()
		}
		// Others may probe it with a replay, so look now and then.
		h.wait(ctx, earlier(now.Add(tendEvery), earlier(due, down)))
		return false
	}
	return h.probe(ctx, ep)
}

// idle notes, if need be, that the event only waits, so that replicas that die
// meanwhile do not make it look like poison.
func (h *head) idle() {
	if h.m.handed >= h.counted+poisonous/2 && h.w.attempts.Err() == nil {
		h.save()
	}
}

// wait waits until a time, or until the endpoints change, or ctx ends.
func (h *head) wait(ctx context.Context, until time.Time) {
	// What is lost to another replica must be noticed.
	timer := time.NewTimer(min(time.Until(until), h.all.ackWait))
	defer timer.Stop()
	select {
	case <-ctx.Done():
	case <-h.changed:
	case <-timer.C:
	}
}

// bury stores the event as a dead letter, and that it is one in the attempt log,
// and reports whether it is stored: without that line the audit would count what was
// acked in order as delivered. Of one that was delivered the log may come after the
// ack: to wait for it costs an endpoint that gets one event at a time more than half
// of its throughput.
func (h *head) bury(ep *endpoint.Endpoint, reason delivery.Reason) bool {
	stored := h.w.bury(&h.d, ep, reason, h.d.MsgID())
	if stored {
		h.w.attemptLog.Flush(h.w.attempts)
	}
	return stored
}

// settled acks the event if what must be remembered of it is stored, and
// otherwise waits before that is tried again.
func (h *head) settled(ctx context.Context, stored bool) bool {
	if stored {
		return h.done()
	}
	h.wait(ctx, time.Now().Add(lastDelay))
	return false
}

// done acks the event: the one place where that is decided. What had to be
// remembered is stored by then.
func (h *head) done() bool {
	h.clear()
	h.all.reached(h.era.name(), position{h.m.seq, h.m.stored})
	h.w.complain(h.m.Ack(), "ack")
	return true
}

// release hands the event back as it is known, for whoever ranks first now.
func (h *head) release() bool {
	h.idle()
	h.w.handBack(h.m)
	return true
}

// handOver stores the event as a delivery like those of other endpoints. If it was
// stored before the endpoint was made, it was for another one of that name, which was
// removed, and becomes a dead letter.
func (h *head) handOver(ep *endpoint.Endpoint) bool {
	if h.w.removedSince(h.m.stored, ep) {
		return h.bury(nil, delivery.EndpointDeleted)
	}
	h.d.State.EndpointMade = ep.MadeAt
	if h.d.State.Dead != "" {
		h.anew(time.Now())
	}
	if h.w.barred(ep) {
		return h.w.hold(&h.d, h.d.MsgID())
	}
	err := h.w.store(h.w.attempts, &h.d, h.w.laneFor(ep, streams.DefaultLane), h.d.MsgID())
	return err == nil || h.w.unsettled(&h.d, err)
}

func earlier(a, b time.Time) time.Time {
	if a.Before(b) {
		return a
	}
	return b
}

func later(a, b time.Time) time.Time {
	if a.After(b) {
		return a
	}
	return b
}
