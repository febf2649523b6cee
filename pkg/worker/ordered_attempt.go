package worker

import (
	"cmp"
	"context"
	"fmt"
	"math/rand/v2"
	"strconv"
	"strings"
	"time"

	"jethook/pkg/delivery"
	"jethook/pkg/endpoint"
	"jethook/pkg/gate"
	"jethook/pkg/tracing"
)

// attempt makes an attempt that the gate let through, and reports whether the
// event is over.
func (h *head) attempt(ctx context.Context, ep *endpoint.Endpoint, g *gate.Gate) (over bool) {
	result, span := h.send(ep)
	if g.Done(vital(result, ep.RetryOn)) {
		h.w.opened(ep, g.Why(), result)
	}
	verdict, state := h.d.After(result, terms(ep), rand.Float64)
	h.w.attempted(made{&h.d, result, verdict, state, false, span})
	return h.conclude(ctx, ep, verdict, state, result)
}

func (h *head) send(ep *endpoint.Endpoint) (delivery.Result, tracing.Attempt) {
	h.asked = false
	ctx, cancel := context.WithTimeout(h.w.attempts, time.Duration(ep.Timeout))
	defer cancel()
	ctx, span := h.w.trace.Attempt(ctx, &h.d, ep)
	return h.w.sender.Attempt(ctx, &h.d, ep), span
}

// conclude stores what came of an attempt, and reports whether the event is over.
func (h *head) conclude(ctx context.Context, ep *endpoint.Endpoint, v delivery.Verdict, next delivery.State, r delivery.Result) (over bool) {
	if v.Outcome == delivery.Interrupted {
		h.w.cutOff.Add(1)
		return h.release()
	}
	h.d.State = next
	if v.Disable {
		h.w.disableAsked(ep, r)
	}
	switch v.Outcome {
	case delivery.Delivered:
		h.w.metrics.Delivered(time.Since(h.d.Event.Time), h.d.State.Replay)
		return h.done()
	case delivery.Retry:
		h.save()
		return false
	default:
		return h.fail(ctx, ep, v.Reason)
	}
}

// fail does with an event that failed for good what the endpoint asks for. What
// waited too long never holds up what is behind it: that is what expire_after
// says.
func (h *head) fail(ctx context.Context, ep *endpoint.Endpoint, reason delivery.Reason) (over bool) {
	if ep.OnFailure == endpoint.OnFailureSkip || reason == delivery.Expired {
		return h.settled(ctx, h.bury(ep, reason))
	}
	h.d.State.Dead, h.d.State.Due, h.failed = reason, time.Time{}, ep.AvailableSince
	h.save() // before the endpoint is disabled: that somebody enabled it must mean this event
	return false
}

// disableNow disables the endpoint because of the event, which stays first.
func (h *head) disableNow(ctx context.Context, ep *endpoint.Endpoint) {
	store, cancel := context.WithTimeout(h.w.attempts, publishTimeout)
	defer cancel()
	if _, err := h.w.documents.Disable(store, h.name, h.why()); err != nil {
		h.again.wait(ctx, h.log, err, "cannot disable an ordered endpoint, trying until it is")
		return
	}
	h.disabled = ep
	// Not why in words, which quote what the receiver answered.
	h.log.Warn().Str("event_id", h.d.Event.ID).Str("reason", string(h.d.State.Dead)).Int("attempts", h.d.State.Attempts).
		Msg("ordered endpoint disabled: its event could not be delivered and holds those behind it")
}

// why says why the event holds up those behind it, and what helps.
func (h *head) why() string {
	last := ""
	if n := len(h.d.State.History); n > 0 {
		const most = 200
		if last = h.d.State.History[n-1].Error; len(last) > most {
			last = strings.ToValidUTF8(last[:most], "")
		}
		last = endpoint.Quote + cmp.Or(last, strconv.Itoa(h.d.State.History[n-1].Status))
	}
	return fmt.Sprintf("event %s could not be delivered (%s after %d attempts%s) and holds those behind it; `jethook endpoint enable %s` tries it again",
		h.d.Event.ID, h.d.State.Dead, h.d.State.Attempts, last, h.name)
}

// probe attempts the event to find out whether an endpoint whose gate is open
// works again, if no other replica does.
func (h *head) probe(ctx context.Context, ep *endpoint.Endpoint) (over bool) {
	w := h.w
	lease, got, err := w.fleet.Claim(w.attempts, h.name, ep.Revision, time.Duration(ep.Timeout)+leaseBeyond)
	if err != nil {
		w.oddities.Warn().Err(err).Str("endpoint", h.name).Msg("could not ask for the lease of a probe, trying again")
	}
	if !got || !h.all.certain(h.m) {
		h.wait(ctx, time.Now().Add(tendEvery))
		return false
	}
	result, span := h.send(ep)
	verdict, next := h.d.After(result, terms(ep), rand.Float64)
	// Asked without the endpoint's patience: a failed probe does not count, so
	// that it is never the last attempt.
	if vital(result, ep.RetryOn).Failed() && delivery.Classify(result, ep.RetryOn).Outcome == delivery.Retry {
		verdict = delivery.Verdict{Outcome: delivery.Retry, Disable: verdict.Disable}
		next = h.d.AfterProbe(result)
	}
	w.attempted(made{&h.d, result, verdict, next, true, span})
	over = h.conclude(ctx, ep, verdict, next, result)
	store, cancel := context.WithTimeout(context.WithoutCancel(w.attempts), leaseBeyond)
	defer cancel()
	if err := h.tell(store, ep, lease, result); err != nil {
		// The lease ends by itself.
		w.oddities.Warn().Err(err).Str("endpoint", h.name).Msg("could not tell what came of a probe")
	}
	return over
}

// tell tells all replicas what came of a probe.
func (h *head) tell(ctx context.Context, ep *endpoint.Endpoint, lease gate.Lease, r delivery.Result) error {
	v := vital(r, ep.RetryOn)
	switch {
	case r.Fault == delivery.FaultInterrupted, r.Fault == delivery.FaultInvalidRequest: // nothing was found out
		return h.w.fleet.Release(ctx, lease)
	case v.Fault == gate.Alive && !v.Failed():
		h.log.Info().Int("probes", lease.Opened.Probes+1).Dur("duration", time.Since(lease.Opened.Since)).
			Msg("gate closed: a probe succeeded")
		return h.w.fleet.Close(ctx, h.name)
	}
	return h.w.fleet.Failed(ctx, lease, h.w.stillFailing(ep, lease, r))
}
