package worker

import (
	"context"
	"errors"
	"math/rand/v2"
	"time"

	"jethook/pkg/delivery"
	"jethook/pkg/endpoint"
)

// unavailableFor is how long a delivery waits before it looks again whether its
// endpoint is still paused or disabled, or whether dead letters can be stored.
const unavailableFor = time.Minute

// soon returns when to look again, spread so that what waits for the same does
// not come at once.
func soon() time.Time { return time.Now().Add(unavailableFor - rand.N(unavailableFor/4)) }

// deliverOne makes one attempt and settles what came of it. It reports whether
// the delivery is settled: what must be remembered is stored. waitID is the
// message id under which the unchanged state may be stored.
func (w *Worker) deliverOne(d *delivery.Delivery, ep *endpoint.Endpoint, waitID string) bool {
	terms := delivery.Terms{Retry: ep.Retry, RetryOn: ep.RetryOn, ExpireAfter: time.Duration(ep.ExpireAfter)}
	if d.Expired(terms, time.Now()) {
		return w.bury(d, ep, delivery.Expired, waitID)
	}
	if _, unavailable := ep.Unavailable(); unavailable {
		d.State.Due = soon()
		err := w.store(w.attempts, d, ep.Lane, waitID)
		return err == nil || w.unsettled(d, err)
	}
	ctx, cancel := context.WithTimeout(w.attempts, time.Duration(ep.Timeout))
	defer cancel()
	result := w.sender.Attempt(ctx, d, ep)
	verdict, state := d.After(result, terms, rand.Float64)
	w.metrics.Attempt(verdict.Outcome, result)
	d.State = state
	if verdict.Disable {
		w.disable(ep, result)
	}
	return w.settle(d, ep, verdict, waitID)
}

// settle stores what an outcome must leave behind.
func (w *Worker) settle(d *delivery.Delivery, ep *endpoint.Endpoint, v delivery.Verdict, waitID string) bool {
	switch v.Outcome {
	case delivery.Delivered:
		w.metrics.Delivered(time.Since(d.Event.Time), d.State.Replay)
		return true
	case delivery.Retry:
		err := w.store(w.attempts, d, ep.Lane, d.MsgID())
		return err == nil || w.unsettled(d, err)
	case delivery.Dead:
		return w.bury(d, ep, v.Reason, waitID)
	default: // interrupted: the message goes back as it came
		return false
	}
}

// bury writes the dead letter of a delivery. ep is nil for one that is gone.
// While NATS takes no dead letters, the delivery waits as one that was given
// up: no attempt is made again, and no slot is kept.
func (w *Worker) bury(d *delivery.Delivery, ep *endpoint.Endpoint, reason delivery.Reason, waitID string) bool {
	url, lane := "", endpoint.DefaultLane
	if ep != nil {
		url, lane = ep.RedactedURL(), ep.Lane
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
	w.metrics.DeadLetter(reason)
	return true
}

// disable stores that the endpoint asked for no more.
func (w *Worker) disable(ep *endpoint.Endpoint, r delivery.Result) {
	why := "the receiver asked for it (webhook-delivery: disable)"
	if !r.Disable {
		why = "the receiver answered 410 Gone"
	}
	ctx, cancel := context.WithTimeout(w.attempts, publishTimeout)
	defer cancel()
	changed, err := w.documents.Disable(ctx, ep.Name(), why)
	switch {
	case err != nil:
		// The next such answer tries again; meanwhile attempts go on.
		w.oddities.Error().Err(err).Str("endpoint", ep.Name()).Msg("could not disable an endpoint")
	case changed:
		w.log.Warn().Str("endpoint", ep.Name()).Str("why", why).Msg("endpoint disabled")
	}
}
