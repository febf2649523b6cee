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
	// moment is how long it should take until all of a fetch have begun.
	moment = 20 * time.Millisecond
	// feedAgain is when to look again whether another replica has finished.
	feedAgain = 200 * time.Millisecond
	// rankDelay is how much later each further replica joins in feeding, so that
	// a few deliveries do not bring all of them.
	rankDelay = 250 * time.Millisecond
	// keptFor is for how long what may go next is kept for a feed beyond when it
	// is to come back: there may be no place for it at once.
	keptFor = 2 * turn
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
		k.look(&h.serving, true)
	}
	defer k.feeds.leave(h.name)
	size, until := 1, time.Now().Add(turn)
	for ctx.Err() == nil && (time.Now().Before(until) || !k.contended.Load()) {
		if size, next = k.feedSome(ctx, h, size); size == 0 {
			return next
		}
	}
	return time.Time{}
}

// feedSome feeds back up to size deliveries, and returns how many are right the
// next time. At 0 the feed ends for now, and goes on when next says.
func (k *keeper) feedSome(ctx context.Context, h *holding, size int) (nextSize int, next time.Time) {
	var first leave
	if size == 1 {
		if first, next = k.mayGo(ctx, h); first.gate == nil {
			return 0, next
		}
	}
	defer first.giveBack()
	t, next := k.turn(ctx, h, size)
	if t.n == 0 {
		return 0, next
	}
	began := time.Now()
	f, messages, err := k.fetch(ctx, h, t.n)
	t.refund(t.n - len(messages))
	switch {
	case errors.Is(err, errNoPlace):
		return 0, k.away(first.gate, openAgain)
	case err != nil:
		k.handBack(messages)
		t.refund(len(messages))
		return 0, k.troubled(ctx, h, err, "could not fetch what is held, trying again")
	case len(messages) == 0:
		return 0, k.finish(ctx, h, f)
	}
	k.look(&h.serving, true)
	if !k.feedEach(ctx, h, messages, t, &first) {
		return 0, time.Time{} // whatever stopped it decides what comes next
	}
	// What a fetch brings comes at once, ahead of what others wait for on the
	// same connection: no more than is begun in a moment.
	switch took := time.Since(began); {
	case took >= handfulFor:
		size = 1
	case took < moment && len(messages) == size && k.moreMayGo(h):
		size = min(2*size, handful, roomy(messages))
	case took > 4*moment:
		size = max(1, size/2)
	}
	return size, time.Time{}
}

// leave is a gate's leave for one delivery, until it is used or given back.
type leave struct{ gate *gate.Gate }

func (l *leave) use() *gate.Gate {
	g := l.gate
	l.gate = nil
	return g
}

func (l *leave) giveBack() {
	if g := l.use(); g != nil {
		g.Untake(1)
	}
}

// mayGo waits until the gate lets one delivery go. What an endpoint can have only
// now and then is not fetched before, to lie in hand and go back. Where that
// takes long and others want the place, it returns none, and when to come back.
func (k *keeper) mayGo(ctx context.Context, h *holding) (leave, time.Time) {
	for {
		ep := k.endpointOf(h)
		if ep == nil || k.w.barred(ep) || k.w.home(ep) == nil || !k.w.endpoints.InSync() {
			return leave{}, time.Time{}
		}
		g := k.w.gateOf(ep)
		if wait := g.Wait(); wait > inPlace {
			return leave{}, k.away(g, wait)
		}
		if k.contended.Load() && !g.Room() {
			return leave{}, k.away(g, inPlace)
		}
		brief, cancel := context.WithTimeout(ctx, inPlace)
		n := g.Take(brief, 1)
		cancel()
		switch {
		case n > 0:
			return leave{g}, time.Time{}
		case ctx.Err() != nil:
			return leave{}, time.Time{}
		case k.contended.Load():
			return leave{}, k.away(g, inPlace)
		}
	}
}

// moreMayGo reports whether a handful need not be expected to wait in hand.
func (k *keeper) moreMayGo(h *holding) bool {
	ep := k.endpointOf(h)
	if ep == nil || k.w.home(ep) == nil {
		return false
	}
	g := k.w.gateOf(ep)
	return g.Wait() < moment && (g.Room() || !k.contended.Load())
}

// away has a gate keep the next that may go for a feed that leaves for a while,
// and returns when it comes back.
func (k *keeper) away(g *gate.Gate, d time.Duration) time.Time {
	if g != nil {
		g.Keep(d + keptFor)
	}
	return time.Now().Add(d)
}

// fetch brings up to n of what is held. A feed that is gone, because others
// finished or nobody needed it, is opened anew.
func (k *keeper) fetch(ctx context.Context, h *holding, n int) (f *hold.Feed, messages []jetstream.Msg, err error) {
	for again := true; ; again = false {
		if f, err = k.feeds.take(ctx, h.tenant, h.id); err != nil {
			return nil, nil, err
		}
		k.look(&h.serving, false)
		messages, err = f.Fetch(ctx, n, 0)
		if !errors.Is(err, hold.ErrFeedGone) {
			return f, messages, err
		}
		k.feeds.gone(h.name)
		if !again || len(messages) > 0 {
			return f, messages, err
		}
	}
}

// finish ends a feed from which nothing came, unless attempts are under way that
// may fail: it is looked at again when they may have ended.
func (k *keeper) finish(ctx context.Context, h *holding, f *hold.Feed) time.Time {
	done, err := f.Finish(ctx)
	if done || errors.Is(err, hold.ErrFeedGone) {
		k.feeds.gone(h.name)
	}
	switch {
	case err != nil:
		return k.troubled(ctx, h, err, "could not finish feeding, trying again")
	case done:
		return whenever()
	}
	return time.Now().Add(feedAgain)
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
func (k *keeper) feedEach(ctx context.Context, h *holding, raw []jetstream.Msg, t ticket, first *leave) bool {
	ctx, cancel := context.WithTimeout(ctx, handfulFor)
	defer cancel()
	for i, r := range raw {
		m, g := k.admit(ctx, h, r, first)
		if m == nil {
			k.handBack(raw[i:])
			t.refund(len(raw[i:]))
			return errors.Is(ctx.Err(), context.DeadlineExceeded)
		}
		m.lane.pool.run(work{m, func(m *message) { k.w.fed(m, g, t.from) }})
	}
	return true
}

// admit waits until a held delivery may go, unless there is leave for it, and a
// slot is free for it. It returns nil when that does not come.
func (k *keeper) admit(ctx context.Context, h *holding, r jetstream.Msg, first *leave) (*message, *gate.Gate) {
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
	g := first.use()
	if g == nil {
		if g = k.w.gateOf(ep); g.Take(ctx, 1) == 0 {
			return nil, nil
		}
	}
	if l.pool.slots.take(ctx, 1) == 0 {
		g.Untake(1)
		return nil, nil
	}
	if !k.w.endpoints.InSync() {
		l.pool.slots.give(1)
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
	ep, removed := w.recipient(&d)
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
	case removed:
		w.finish(m, w.bury(&d, nil, delivery.EndpointDeleted, waitID))
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
