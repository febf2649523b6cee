package worker

import (
	"context"
	"errors"
	"math/rand/v2"
	"time"

	"jethook/pkg/delivery"
	"jethook/pkg/endpoint"
	"jethook/pkg/gate"
	"jethook/streams"
)

// unavailableFor is how long a delivery waits before it looks again whether
// dead letters can be stored.
const unavailableFor = time.Minute

// soon returns when to look again, spread so that what waits for the same does
// not come at once.
func soon() time.Time { return time.Now().Add(unavailableFor - rand.N(unavailableFor/4)) }

// terms returns what an endpoint asks for.
func terms(ep *endpoint.Endpoint) delivery.Terms {
	return delivery.Terms{Retry: ep.Retry, RetryOn: ep.RetryOn, ExpireAfter: time.Duration(ep.ExpireAfter), AvailableSince: ep.AvailableSince}
}

// deliverOne makes one attempt, if the endpoint can have it now, and settles
// what came of it. It reports whether the delivery is settled: what must be
// remembered is stored. waitID is the message id under which the unchanged
// state may be stored.
func (w *Worker) deliverOne(l *lane, d *delivery.Delivery, ep *endpoint.Endpoint, waitID string) bool {
	now := time.Now()
	if d.Expired(terms(ep), now) {
		return w.bury(d, ep, delivery.Expired, waitID)
	}
	if _, unavailable := ep.Unavailable(); unavailable || w.isAnothers(ep) {
		return w.hold(d, waitID)
	}
	from, paid := w.pay(d, ep)
	if !paid {
		return w.hold(d, waitID)
	}
	g, leave := w.enter(ep)
	if leave != gate.Go {
		from.refund(1)
	}
	switch {
	case leave == gate.Go:
		return w.attempt(entry{l, g, ep}, d, waitID)
	case leave == gate.Open && d.State.Begun() && !now.Before(w.down(d, terms(ep), w.openSince(ep, now))):
		return w.bury(d, ep, delivery.EndpointDown, waitID)
	default:
		return w.hold(d, waitID)
	}
}

// openSince returns since when an endpoint's gate is open, now if that is only being
// told.
func (w *Worker) openSince(ep *endpoint.Endpoint, now time.Time) time.Time {
	if o, open := w.fleet.Get(ep.Name()); open {
		return o.Since
	}
	return now
}

// entry is an endpoint whose gate let an attempt through.
type entry struct {
	lane *lane
	gate *gate.Gate
	ep   *endpoint.Endpoint
}

// attempt makes an attempt that the gate let through, and settles what came of
// it, as deliverOne does.
func (w *Worker) attempt(e entry, d *delivery.Delivery, waitID string) bool {
	ctx, cancel := context.WithTimeout(w.attempts, time.Duration(e.ep.Timeout))
	defer cancel()
	ctx, span := w.trace.Attempt(ctx, d, e.ep)
	result := w.sender.Attempt(ctx, d, e.ep)
	if e.gate.Done(vital(result, e.ep.RetryOn)) {
		w.opened(e.ep, e.gate.Why(), result)
	}
	verdict, state := d.After(result, terms(e.ep), rand.Float64)
	w.attempted(made{d, result, verdict, state, false, span})
	d.State = state
	if verdict.Disable {
		w.disableAsked(e.ep, result)
	}
	return w.settle(e, d, verdict, waitID)
}

// settle stores what an outcome must leave behind.
func (w *Worker) settle(e entry, d *delivery.Delivery, v delivery.Verdict, waitID string) bool {
	switch v.Outcome {
	case delivery.Delivered:
		w.metrics.Delivered(time.Since(d.Event.Time), d.State.Replay)
		return true
	case delivery.Retry:
		// Stored, it would wait until it is due before somebody sees that nobody wants it.
		if ep, _ := w.recipient(d); ep == nil && w.endpoints.InSync() {
			return w.bury(d, e.ep, delivery.EndpointDeleted, waitID)
		}
		err := w.store(w.attempts, d, w.laneFor(e.ep, e.lane.name), d.MsgID())
		return err == nil || w.unsettled(d, err)
	case delivery.Dead:
		return w.bury(d, e.ep, v.Reason, waitID)
	default: // interrupted: the message goes back as it came
		return false
	}
}

// bury writes the dead letter of a delivery. ep is nil for one that is gone.
// While NATS takes no dead letters, the delivery waits as one that was given
// up: no attempt is made again, and no slot is kept.
func (w *Worker) bury(d *delivery.Delivery, ep *endpoint.Endpoint, reason delivery.Reason, waitID string) bool {
	w.trace.Dead(d, reason)
	url, lane := "", streams.DefaultLane
	if ep != nil {
		url, lane = ep.RedactedURL(), w.laneFor(ep, lane)
	}
	d.State.Dead, d.State.Due = "", time.Time{}
	m, err := w.letters.Letter(d, url, reason, time.Now())
	if err == nil {
		err = w.publishLetter(w.attempts, m)
	}
	if errors.Is(err, errNotNow) {
		d.State.Dead, d.State.Due = reason, soon()
		err = w.store(w.attempts, d, lane, waitID)
		return err == nil || w.unsettled(d, err)
	}
	if err != nil {
		return w.unsettled(d, err)
	}
	w.died(d, reason)
	return true
}

// disableAsked disables an endpoint whose receiver asked for it.
func (w *Worker) disableAsked(ep *endpoint.Endpoint, r delivery.Result) {
	why := "the receiver asked for it (webhook-delivery: disable)"
	if !r.Disable {
		why = "the receiver answered 410 Gone"
	}
	w.disable(ep, why)
}

// disable stores that the endpoint gets no more attempts.
func (w *Worker) disable(ep *endpoint.Endpoint, why string) {
	ctx, cancel := context.WithTimeout(w.attempts, publishTimeout)
	defer cancel()
	changed, err := w.documents.Disable(ctx, ep.Name(), why)
	switch {
	case err != nil:
		// The next such answer tries again; meanwhile attempts go on.
		w.oddities.Error().Err(err).Str("endpoint", ep.Name()).Msg("could not disable an endpoint")
	case changed:
		w.log.Warn().Str("endpoint", ep.Name()).Str("reason", why).Msg("endpoint disabled")
	}
}
