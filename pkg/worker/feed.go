package worker

import (
	"context"
	"errors"
	"time"

	"github.com/nats-io/nats.go/jetstream"

	"jethook/pkg/delivery"
	"jethook/pkg/event"
	"jethook/pkg/gate"
	"jethook/pkg/hold"
	"jethook/streams"
)

const (
	// handful is how many held messages one fetch brings at most.
	handful = 512
	// handfulFor is how long those of one fetch may take until all have begun:
	// well below AckWait, so that no other replica gets them meanwhile.
	handfulFor = 4 * time.Second
	// feedAgain is when to look again whether another replica has finished.
	feedAgain = 200 * time.Millisecond
	// rankDelay is how much later each further replica joins in feeding, so that
	// a few deliveries do not bring all of them.
	rankDelay = 250 * time.Millisecond
)

// feed makes the attempts of what is held for an endpoint, in order, as fast as
// its gate lets them through, and straight from the messages that hold them:
// nothing is stored twice, and what was not attempted stays where it is.
func (k *keeper) feed(ctx context.Context, h *holding) (next time.Time) {
	if k.w.rank(h.name) > 0 {
		k.look(&h.serving, false)
		if waiting, err := k.w.held.Of(ctx, h.tenant, h.id); err == nil && waiting.Total() == 0 {
			return whenever()
		}
	}
	var f *hold.Feed
	size, until := 1, time.Now().Add(turn)
	for ctx.Err() == nil && (time.Now().Before(until) || !k.contended.Load()) {
		if size == 1 && !k.mayGo(ctx, h) {
			return time.Time{}
		}
		t, next := k.turn(ctx, h, size)
		if t.n == 0 {
			return next
		}
		if f == nil { // only now, because the server has consumers for a thousand
			var err error
			if f, err = k.w.held.Feed(ctx, h.tenant, h.id); err != nil {
				t.refund(t.n)
				return k.troubled(ctx, h, err, "could not begin to feed back what is held, trying again")
			}
		}
		began := time.Now()
		k.look(&h.serving, false)
		messages, err := f.Fetch(ctx, t.n, 0)
		t.refund(t.n - len(messages))
		if err != nil {
			k.handBack(messages)
			t.refund(len(messages))
			return k.troubled(ctx, h, err, "could not fetch what is held, trying again")
		}
		if len(messages) == 0 {
			size = 1
			done, err := f.Finish(ctx)
			if err != nil {
				return k.troubled(ctx, h, err, "could not finish feeding, trying again")
			}
			if done {
				return whenever()
			}
			pause(ctx, feedAgain)
			continue
		}
		k.look(&h.serving, true)
		if !k.feedEach(ctx, h, messages, t) {
			return time.Time{} // whatever stopped it decides what comes next
		}
		// What a fetch brings comes at once, ahead of what others wait for on the
		// same connection: no more than is begun in a moment.
		switch took := time.Since(began); {
		case took < 20*time.Millisecond && len(messages) == size:
			size = min(2*size, handful, roomy(messages))
		case took > 80*time.Millisecond:
			size = max(1, size/2)
		}
	}
	return time.Time{}
}

// mayGo waits until the gate lets something through. What an endpoint can have
// only now and then is not fetched before, to lie in hand and go back.
func (k *keeper) mayGo(ctx context.Context, h *holding) bool {
	ep := k.endpointOf(h)
	if ep == nil || k.w.barred(ep) || k.w.home(ep) == nil {
		return false
	}
	g := k.w.gateOf(ep)
	if g.Take(ctx, 1) == 0 {
		return false
	}
	g.Untake(1)
	return true
}

// roomy returns how many messages like these may be in hand at a time.
func roomy(messages []jetstream.Msg) int {
	const room = 8 << 20
	size := 1
	for _, m := range messages {
		size += len(m.Data())
	}
	return max(1, room*len(messages)/size)
}

// handBack returns held messages that are not attempted after all, in order.
func (k *keeper) handBack(messages []jetstream.Msg) {
	for _, m := range messages {
		k.w.complain(m.Nak(), "nak")
	}
}

// feedEach begins the attempts of messages that were fetched, and hands back
// those that cannot begin. It reports whether feeding goes on.
func (k *keeper) feedEach(ctx context.Context, h *holding, raw []jetstream.Msg, t ticket) bool {
	ctx, cancel := context.WithTimeout(ctx, handfulFor)
	defer cancel()
	for i, r := range raw {
		m, g := k.admit(ctx, h, r)
		if m == nil {
			k.handBack(raw[i:])
			t.refund(len(raw[i:]))
			return errors.Is(ctx.Err(), context.DeadlineExceeded)
		}
		m.lane.pool.run(work{m, func(m *message) { k.w.fed(m, g, t.from) }})
	}
	return true
}

// admit waits until a held delivery may go and a slot is free for it. It
// returns nil when that does not come.
func (k *keeper) admit(ctx context.Context, h *holding, r jetstream.Msg) (*message, *gate.Gate) {
	ep := k.endpointOf(h)
	if ep == nil || k.w.barred(ep) {
		return nil, nil
	}
	l := k.w.lane(k.w.laneFor(ep, streams.DefaultLane))
	if l == nil {
		return nil, nil
	}
	m, err := newMessage(r, l, time.Now())
	if err != nil {
		return nil, nil
	}
	m.fed = true
	g := k.w.gateOf(ep)
	if g.Take(ctx, 1) == 0 {
		return nil, nil
	}
	if l.pool.slots.take(ctx, 1) == 0 {
		g.Untake(1)
		return nil, nil
	}
	return m, g
}

// fed makes the attempt of a held delivery that the gate let through, and that
// was paid for from a bucket.
func (w *Worker) fed(m *message, g *gate.Gate, from *bucket) {
	m.parts.Store(1)
	d, _, err := w.read(m)
	ep := w.endpoints.Get(d.Event.Tenant, d.Endpoint)
	waitID := d.WaitMsgID(m.seq)
	begins := err == nil && ep != nil && m.handed < waits && !d.Expired(terms(ep), time.Now())
	if !begins || d.State.Attempts > 0 {
		from.refund(1)
	}
	if begins {
		w.finish(m, w.attempt(entry{m.lane, g, ep}, &d, waitID))
		return
	}
	g.Untake(1)
	switch {
	case errors.Is(err, errUnreadable):
		w.log.Error().Err(err).Uint64("seq", m.seq).Msg("a held delivery cannot be read; set aside")
		w.finish(m, w.setAside(m))
	case errors.Is(err, event.ErrGone):
		w.finish(m, w.bury(&d, ep, delivery.Expired, waitID))
	case err != nil || ep == nil:
		w.finish(m, false)
	case m.handed >= waits:
		// Handed out often and never finished: the stream of deliveries counts
		// on, and finds out whether it kills workers.
		err := w.store(w.attempts, &d, w.laneFor(ep, m.lane.name), waitID)
		w.finish(m, err == nil || w.unsettled(&d, err))
	default:
		w.finish(m, w.bury(&d, ep, delivery.Expired, waitID))
	}
}

// troubled reports what kept a chore from being done, and returns when to try
// again.
func (k *keeper) troubled(ctx context.Context, h *holding, err error, what string) time.Time {
	if ctx.Err() == nil && !errors.Is(err, hold.ErrFeedGone) {
		k.w.oddities.Warn().Err(err).Str("endpoint", h.name).Msg(what)
	}
	return time.Now().Add(time.Second)
}

// pause waits for a while, or until ctx ends.
func pause(ctx context.Context, d time.Duration) {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-ctx.Done():
	case <-timer.C:
	}
}
