package worker

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"time"

	"jethook/pkg/delivery"
	"jethook/pkg/endpoint"
	"jethook/pkg/gate"
	"jethook/pkg/hold"
	"jethook/streams"
)

// leaseBeyond is for how much longer than the attempt's timeout a probe's lease
// lasts: what came of it must be stored within.
const leaseBeyond = 5 * time.Second

// probe tries an endpoint whose gate is open with the oldest delivery that is
// held for it, if no other replica does.
func (k *keeper) probe(ctx context.Context, h *holding) (next time.Time) {
	w := k.w
	ep := k.endpointOf(h)
	if ep == nil {
		return whenever()
	}
	k.look(&h.serving, false)
	c, found, err := k.candidate(ctx, h)
	if err != nil {
		return k.troubled(ctx, h, err, "could not read what is held, trying again")
	}
	if !found {
		return whenever() // when something is held for it, it will be heard of
	}
	k.look(&h.serving, true)
	if ep, _ = w.recipient(&c.Delivery); ep == nil {
		return time.Now().Add(time.Second) // it is being given up, or not for this replica to judge yet
	}
	end := w.down(&c.Delivery, terms(ep), w.openSince(ep, time.Now()))
	if expiry := c.Delivery.Expiry(terms(ep)); expiry.Before(end) {
		end = expiry
	}
	if over := time.Since(end); over >= 0 && over < giveUpWithin {
		return time.Now().Add(time.Second) // it is being given up
	}
	if !w.endpoints.InSync() {
		return time.Now().Add(tendEvery)
	}
	k.setProbed(h, c.Seq)
	defer k.setProbed(h, 0)
	lease, got, err := w.fleet.Claim(ctx, h.name, ep.Revision, time.Duration(ep.Timeout)+leaseBeyond)
	if err != nil {
		return k.troubled(ctx, h, err, "could not ask for the lease of a probe, trying again")
	}
	if !got {
		return time.Now().Add(tendEvery)
	}
	if err := w.probeWith(ep, lease, c); err != nil {
		// The lease ends by itself.
		return k.troubled(ctx, h, err, "could not store what came of a probe, trying again")
	}
	return time.Time{}
}

// giveUpWithin is how long a delivery whose time is over is left to be given
// up. Where that cannot be, because dead letters cannot be stored, it serves to
// find out that the endpoint works again.
const giveUpWithin = 3 * time.Second

func (k *keeper) setProbed(h *holding, seq uint64) {
	k.mu.Lock()
	defer k.mu.Unlock()
	h.probed = seq
}

// candidate is a delivery to probe with, and among what it lies if that fails.
type candidate struct {
	hold.Stored
	kind streams.Kind
}

// candidate returns the delivery to probe with: by turns the one that was it before and
// the oldest of the others. One that the receiver answers with a failure whatever
// becomes of it would keep the gate open for all others if it were always the same; were
// it always another, each probe would put one behind all others.
func (k *keeper) candidate(ctx context.Context, h *holding) (c candidate, found bool, err error) {
	inHand := k.inHand(h)
	last, kept, err := k.w.held.Head(ctx, h.tenant, h.id, streams.HeldProbe)
	if err != nil && !kept {
		return candidate{}, false, err
	}
	c.kind = streams.HeldProbe
	if kept {
		c.kind = streams.HeldLate
	}
	for _, kind := range []streams.Kind{streams.HeldNew, streams.HeldLate} {
		s, ok, err := k.w.held.Head(ctx, h.tenant, h.id, kind)
		if err != nil && !ok {
			return candidate{}, false, err
		}
		if err != nil || !ok || inHand[s.Seq] {
			continue // what is not whole cannot be sent; the feed will see to it
		}
		if !found || s.Seq < c.Seq {
			c.Stored, found = s, true
		}
	}
	opened, _ := k.w.fleet.Get(h.name)
	itsTurn := !found || opened.Probes%2 == 0
	if kept && err == nil && !inHand[last.Seq] && itsTurn {
		return candidate{last, streams.HeldProbe}, true, nil
	}
	return c, found, nil
}

// probeWith makes the attempt and stores what came of it: for the endpoint, and
// for the delivery.
func (w *Worker) probeWith(ep *endpoint.Endpoint, lease gate.Lease, c candidate) error {
	ctx, cancel := context.WithTimeout(w.attempts, time.Duration(ep.Timeout))
	defer cancel()
	d := c.Delivery
	ctx, span := w.trace.Attempt(ctx, &d, ep)
	result := w.sender.Attempt(ctx, &d, ep)
	verdict, state := d.After(result, terms(ep), rand.Float64)
	v := vital(result, ep.RetryOn)
	// Asked without the endpoint's patience: a failed probe does not count, so
	// that it is never the last attempt.
	again := v.Failed() && delivery.Classify(result, ep.RetryOn).Outcome == delivery.Retry
	if again {
		verdict, state = delivery.Verdict{Outcome: delivery.Retry, Disable: verdict.Disable}, d.AfterProbe(result)
	}
	w.attempted(made{&d, result, verdict, state, true, span})
	store, cancel := context.WithTimeout(w.attempts, leaseBeyond)
	defer cancel()
	if verdict.Outcome == delivery.Interrupted {
		return w.fleet.Release(context.WithoutCancel(store), lease)
	}
	d.State = state
	if again {
		return w.probeFailed(store, ep, lease, c, &d, result)
	}
	if verdict.Disable {
		w.disableAsked(ep, result)
	}
	if !w.settle(entry{w.home(ep), nil, ep}, &d, verdict, d.WaitMsgID(c.Seq)) {
		return errors.Join(errUnsettled, w.fleet.Release(store, lease))
	}
	w.attemptLog.Flush(store)
	if err := w.held.DropOne(store, c.Seq); err != nil {
		return fmt.Errorf("remove the delivery of a probe: %w", err)
	}
	switch {
	case result.Fault == delivery.FaultInvalidRequest:
		return w.fleet.Release(store, lease) // nothing was sent, so that the next one is to find out
	case v.Failed() || v.Fault == gate.Neutral:
		return w.fleet.Failed(store, lease, w.nextProbe(lease, result, ep)) // that delivery is over, the trouble is not
	}
	w.log.Info().Str("endpoint", ep.Name()).Int("probes", lease.Opened.Probes+1).Dur("duration", time.Since(lease.Opened.Since)).
		Msg("gate closed: a probe succeeded")
	return w.fleet.Close(store, ep.Name())
}

var errUnsettled = errors.New("what came of the attempt could not be stored")

// probeFailed keeps the delivery, with this probe in its history, and says when the
// next one is.
func (w *Worker) probeFailed(ctx context.Context, ep *endpoint.Endpoint, lease gate.Lease, c candidate, d *delivery.Delivery, r delivery.Result) error {
	m, err := w.held.Message(d, c.kind, d.WaitMsgID(c.Seq))
	if err != nil {
		return fmt.Errorf("encode the delivery of a probe: %w", err)
	}
	if err := w.publish(ctx, m); err != nil {
		return err
	}
	w.keeper.nudge(ep.Name(), c.kind)
	if err := w.held.DropOne(ctx, c.Seq); err != nil {
		return fmt.Errorf("remove the delivery of a probe: %w", err)
	}
	return w.fleet.Failed(ctx, lease, w.stillFailing(ep, lease, r))
}

// stillFailing returns what an open gate's record says after a probe that
// failed, and disables the endpoint when that has lasted for long. Resumed or
// enabled again, it has as long once more.
func (w *Worker) stillFailing(ep *endpoint.Endpoint, lease gate.Lease, r delivery.Result) gate.Opened {
	next := w.nextProbe(lease, r, ep)
	if time.Since(later(next.FailingSince, ep.AvailableSince)) >= time.Duration(ep.DisableAfter) {
		w.disable(ep, fmt.Sprintf("nothing but failures for %s (disable_after)", ep.DisableAfter))
	}
	return next
}

// nextProbe returns what an open gate's record says after a probe that failed.
func (w *Worker) nextProbe(lease gate.Lease, r delivery.Result, ep *endpoint.Endpoint) gate.Opened {
	next := lease.Opened
	next.Probes++
	next.Document = ep.Revision
	next.LastError, next.LastStatus, next.LastClass = r.Error, r.Status, r.Label()
	next.NextProbe = time.Now().Add(gate.Interval(next.Probes, min(r.RetryAfter, ep.Retry.Longest()), w.random))
	return next
}
