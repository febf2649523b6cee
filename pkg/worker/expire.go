package worker

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/nats-io/nats.go"

	"jethook/pkg/delivery"
	"jethook/pkg/endpoint"
	"jethook/pkg/gate"
	"jethook/pkg/hold"
	"jethook/streams"
)

// giveUpBatch is how many deliveries become dead letters at a time.
const giveUpBatch = 256

// removalTime is how long NATS has to remove a delivery once it counts it as
// acknowledged: that is not one step, and in a cluster the servers agree on the
// removal afterwards. So nobody being at a delivery that is there is not enough to say
// that none of its attempts succeeded.
const removalTime = time.Second

// quiet is a moment in which no other replica was at anything held for an endpoint,
// and what this one was at. What was over by then, and is there removalTime later, has
// not been delivered.
type quiet struct {
	at     time.Time
	inHand map[uint64]bool
}

// limit is when held deliveries are given up, and why.
type limit struct {
	// of says so of one. Nil: the endpoint can have its deliveries.
	of func(d *delivery.Delivery) (time.Time, delivery.Reason)
	by situation
}

// situation is what a limit follows from.
type situation struct {
	ep   *endpoint.Endpoint
	open time.Time // since when its gate is; zero where it is unavailable
}

// limitOf returns the limit of what is held for an endpoint now. ep is nil for an
// endpoint that is gone. Of what was for another one of its name, the time is over.
func (w *Worker) limitOf(ep *endpoint.Endpoint) limit {
	l := w.limitOfOwn(ep)
	if own := l.of; own != nil && ep != nil {
		l.of = func(d *delivery.Delivery) (time.Time, delivery.Reason) {
			if w.removedSince(d.State.EndpointMade, ep) {
				return time.Time{}, delivery.EndpointDeleted
			}
			return own(d)
		}
	}
	return l
}

func (w *Worker) limitOfOwn(ep *endpoint.Endpoint) limit {
	if ep == nil {
		return limit{of: func(*delivery.Delivery) (time.Time, delivery.Reason) { return time.Time{}, delivery.EndpointDeleted }}
	}
	t := terms(ep)
	if _, unavailable := ep.Unavailable(); unavailable {
		return limit{func(d *delivery.Delivery) (time.Time, delivery.Reason) { return d.Expiry(t), delivery.Expired }, situation{ep: ep}}
	}
	o, open := w.fleet.Get(ep.Name())
	if !open {
		return limit{}
	}
	return limit{func(d *delivery.Delivery) (time.Time, delivery.Reason) {
		if down := w.down(d, t, o.Since); down.Before(d.Expiry(t)) {
			return down, delivery.EndpointDown
		}
		return d.Expiry(t), delivery.Expired
	}, situation{ep, o.Since}}
}

// end is what of says of a delivery of which these times are known.
func (l limit) end(first, since, made time.Time) time.Time {
	end, _ := l.of(&delivery.Delivery{State: delivery.State{First: first, Since: since, EndpointMade: made}})
	return end
}

// down returns when a delivery is given up if its endpoint's gate, open since then,
// stays open. Of one that was not attempted yet, the time in which it only waited for
// its tenant's rate is not the endpoint's.
func (w *Worker) down(d *delivery.Delivery, t delivery.Terms, open time.Time) time.Time {
	down := d.Down(t)
	if w.tenantRate > 0 && d.State.Attempts == 0 {
		down = later(down, open.Add(t.Retry.Window()))
	}
	return down
}

// giveUp turns what waited too long for an endpoint into dead letters. One
// replica does, the one that ranks first.
func (k *keeper) giveUp(ctx context.Context, h *holding) (next time.Time) {
	w := k.w
	ep := k.endpointOf(h)
	if w.rank(h.name) != 0 {
		h.late, h.quiet = nil, quiet{}
		return time.Now().Add(time.Minute) // should the one that is to do it change unnoticed
	}
	if ep == nil {
		if exists, err := w.documents.Exists(ctx, h.name); err != nil || exists {
			return time.Now().Add(time.Second) // this replica has not heard of it yet
		}
	}
	if w.limitOf(ep).of == nil {
		h.late, h.quiet = nil, quiet{} // a feed sees to those whose time is over
		return whenever()
	}
	k.look(&h.giving, false)
	for _, do := range []func(context.Context, *holding) (time.Time, error){k.giveUpNew, k.giveUpLate, k.giveUpProbe} {
		at, err := do(ctx, h)
		if err != nil {
			return k.troubled(ctx, h, err, "could not give up what waited too long, trying again")
		}
		if !at.IsZero() && (next.IsZero() || at.Before(next)) {
			next = at
		}
	}
	if time.Since(h.quiet.at) >= removalTime {
		h.quiet = quiet{} // what is over since needs another
	}
	if next.IsZero() {
		return whenever()
	}
	k.look(&h.giving, true)
	return next
}

// isLeased reports whether somebody probes an endpoint.
func isLeased(o gate.Opened) bool { return o.Prober != "" && time.Now().Before(o.LeaseEnds) }

// giveUpNew gives up those that were held first, from the oldest on. They lie
// in the order in which their time runs out.
func (k *keeper) giveUpNew(ctx context.Context, h *holding) (time.Time, error) {
	return k.giveUpHead(ctx, h, streams.HeldNew)
}

// giveUpProbe gives up the one that the endpoint is probed with.
func (k *keeper) giveUpProbe(ctx context.Context, h *holding) (time.Time, error) {
	return k.giveUpHead(ctx, h, streams.HeldProbe)
}

func (k *keeper) giveUpHead(ctx context.Context, h *holding, kind streams.Kind) (next time.Time, err error) {
	size, since := 1, quiet{at: time.Now()} // one shows whether there is anything to give up
	for from := uint64(1); ctx.Err() == nil; size = giveUpBatch {
		// The endpoint may be well again before a million are given up.
		ep := k.endpointOf(h)
		l := k.w.limitOf(ep)
		if l.of == nil || !k.w.endpoints.InSync() {
			return time.Now().Add(tendEvery), nil
		}
		batch, err := k.w.held.Batch(ctx, h.tenant, h.id, kind, from, size)
		if err != nil {
			return time.Time{}, err
		}
		over, next := k.splitOver(h, batch, l, since)
		if len(over) > 0 && size == 1 {
			if at, err := k.undisturbed(ctx, h); err != nil || !at.IsZero() {
				return at, err
			}
			since = h.quiet // what was read may have been delivered: it is read once more
			continue
		}
		if err := k.w.buryHeld(ctx, ep, l, over); err != nil {
			return time.Time{}, err
		}
		if len(over) > 0 {
			from = over[len(over)-1].Seq + 1
			if err := k.w.held.Drop(ctx, h.tenant, h.id, kind, from-1); err != nil {
				return time.Time{}, err
			}
		}
		if len(over) < len(batch) {
			return next, nil
		}
		if len(batch) < size {
			return time.Time{}, nil
		}
	}
	return time.Time{}, nil
}

// splitOver returns the first of a batch whose time was over in a moment, and when to
// look at the next.
func (k *keeper) splitOver(h *holding, batch []hold.Stored, l limit, since quiet) (over []hold.Stored, next time.Time) {
	inHand := k.inHand(h)
	for i := range batch {
		if seq := batch[i].Seq; inHand[seq] || since.inHand[seq] {
			return batch[:i], time.Now().Add(time.Second) // its attempt decides
		}
		if at, _ := l.of(&batch[i].Delivery); since.at.Before(at) {
			return batch[:i], at
		}
	}
	return batch, time.Time{}
}

// giveUpLate gives up those that had been attempted before they were held. They
// lie in any order.
func (k *keeper) giveUpLate(ctx context.Context, h *holding) (time.Time, error) {
	if h.late == nil {
		h.late = k.w.held.Late(h.tenant, h.id)
	}
	if err := h.late.Refresh(ctx); err != nil {
		return time.Time{}, err
	}
	for ctx.Err() == nil {
		ep := k.endpointOf(h)
		l := k.w.limitOf(ep)
		if l.of == nil {
			return time.Now().Add(time.Second), nil
		}
		h.late.Order(l.by, l.end)
		seq, end, ok := h.late.Next()
		if !ok {
			break
		}
		if !k.w.endpoints.InSync() || k.inHand(h)[seq] {
			return time.Now().Add(time.Second), nil
		}
		if time.Now().Before(end) {
			return end, nil
		}
		if at, err := k.undisturbed(ctx, h); err != nil || !at.IsZero() {
			return at, err
		}
		if h.quiet.inHand[seq] || h.quiet.at.Before(end) {
			return time.Now().Add(removalTime), nil
		}
		if err := k.giveUpOne(ctx, ep, l, seq); err != nil {
			return time.Time{}, err
		}
		h.late.Pop()
	}
	return time.Time{}, nil
}

// giveUpOne gives up the delivery under a sequence, if it is there still.
func (k *keeper) giveUpOne(ctx context.Context, ep *endpoint.Endpoint, l limit, seq uint64) error {
	s, found, err := k.w.held.Get(ctx, seq)
	if !found {
		return err
	}
	if err := k.w.buryHeld(ctx, ep, l, []hold.Stored{s}); err != nil {
		return err
	}
	return k.w.held.DropOne(ctx, seq)
}

// inHand returns the sequences of held deliveries that this replica attempts
// now: by a feed, or as a probe.
func (k *keeper) inHand(h *holding) map[uint64]bool {
	inHand := map[uint64]bool{}
	k.w.unlogged.addTo(inHand)
	for _, l := range k.w.everyLane() {
		l.pool.each(func(m *message) {
			if m.fed {
				inHand[m.seq] = true
			}
		})
	}
	k.mu.Lock()
	defer k.mu.Unlock()
	if h.probed != 0 {
		inHand[h.probed] = true
	}
	return inHand
}

// undisturbed returns zero once what was over in h.quiet, and not in hand then, can be
// given up, if it is there still; otherwise when to ask again.
func (k *keeper) undisturbed(ctx context.Context, h *holding) (time.Time, error) {
	if elsewhere, err := k.elsewhere(ctx, h); err != nil || elsewhere {
		h.quiet = quiet{}
		return time.Now().Add(time.Second), err
	}
	// One of long ago says little: endpoints change.
	if time.Since(h.quiet.at) > 10*removalTime {
		h.quiet = quiet{inHand: k.inHand(h)}
		h.quiet.at = time.Now()
	}
	if ripe := h.quiet.at.Add(removalTime); time.Now().Before(ripe) {
		return ripe, nil
	}
	return time.Time{}, nil
}

// elsewhere reports whether another replica may be attempting some of what is held
// for an endpoint: what it had of a feed, or as a probe. Then that decides first.
func (k *keeper) elsewhere(ctx context.Context, h *holding) (bool, error) {
	if k.w.replicas.Count() == 1 {
		return false, nil
	}
	k.mu.Lock()
	here := h.probed != 0
	k.mu.Unlock()
	if o, _ := k.w.fleet.Get(h.name); isLeased(o) && !here {
		return true, nil
	}
	return k.w.held.Handed(ctx, h.tenant, h.id)
}

// buryHeld stores the dead letters of held deliveries whose time is over. Doing
// so again changes nothing.
func (w *Worker) buryHeld(ctx context.Context, ep *endpoint.Endpoint, l limit, over []hold.Stored) error {
	if len(over) == 0 {
		return nil
	}
	messages := make([]*nats.Msg, len(over))
	for i := range over {
		if errors.Is(over[i].Err, hold.ErrUnreadable) {
			messages[i] = w.aside(over[i].Seq, over[i].Header.Get(delivery.Header), nil)
			continue
		}
		d := &over[i].Delivery
		_, reason := l.of(d)
		url := ""
		if ep != nil && reason != delivery.EndpointDeleted {
			url = ep.RedactedURL()
		}
		w.trace.Dead(d, reason)
		d.State.Due = time.Time{}
		var err error
		if messages[i], err = w.letters.Letter(d, url, reason, time.Now()); err != nil {
			return fmt.Errorf("dead letter of event %s for %s: %w", d.Event.ID, d.Name(), err)
		}
	}
	if refused := w.flight(ctx, messages); len(refused) > 0 {
		w.metrics.StoreFailed()
		return fmt.Errorf("NATS did not store %d of %d dead letters", len(refused), len(messages))
	}
	for i := range over {
		if errors.Is(over[i].Err, hold.ErrUnreadable) {
			w.log.Error().Err(over[i].Err).Msg("a held delivery cannot be read; set aside")
			continue
		}
		_, reason := l.of(&over[i].Delivery)
		w.died(&over[i].Delivery, reason)
	}
	w.attemptLog.Flush(ctx) // before they are removed from where they were held
	return nil
}
