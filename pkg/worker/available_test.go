package worker

import (
	"testing"
	"time"

	"jethook/pkg/delivery"
	"jethook/pkg/endpoint"
	"jethook/pkg/gate"
	"jethook/pkg/hold"
	"jethook/streams"
)

// heldLong holds n deliveries for crm as they lie that were first held a while ago,
// new ones and late ones.
func (w *world) heldLong(n int, ago time.Duration) {
	w.Helper()
	for i := range n {
		kind := []streams.Kind{streams.HeldNew, streams.HeldLate}[i%2]
		w.lies(kind, given("crm", "long_"+string(rune('a'+i)), delivery.State{First: time.Now().Add(-ago)}))
	}
}

// lies holds a delivery.
func (w *world) lies(kind streams.Kind, d delivery.Delivery) {
	w.Helper()
	m, err := hold.NewStore(w.js, w.names).Message(&d, kind, d.MsgID()+d.Event.ID)
	w.must(err)
	_, err = w.js.PublishMsg(w.ctx, m)
	w.must(err)
}

// failing opens crm's gate as one that has failed for a while, and is to be probed
// now.
func (w *world) failing(since time.Duration) {
	w.Helper()
	now := time.Now()
	at := now.Add(-since)
	w.must(w.gates(w.js).Open(w.ctx, "acme/crm", gate.Opened{Why: "test", Since: at, FailingSince: at, NextProbe: now}))
}

func availableSince(at time.Time) func(*endpoint.Document) {
	return func(d *endpoint.Document) { d.AvailableSince = at }
}

// What was held for longer than the window of the retry policy while nothing could
// be attempted is not given up behind an open gate when the endpoint is available
// again: a probe is answered first.
func TestWhatWaitedForAPausedEndpointIsProbedFirst(t *testing.T) {
	t.Parallel()
	w := newWorld(t, setting{})
	w.endpoint("crm", paused, window(time.Minute))
	const n = 20
	w.heldLong(n, time.Hour)
	w.failing(2 * time.Hour)
	var far farSide
	w.answer(far.answer)
	w.run(8, time.Second)
	w.endpoint("crm", window(time.Minute), availableSince(time.Now()))
	w.until("all has ended", func() bool { return w.holds("crm") == 0 })
	if dead := w.state(w.names.DeadLetters()).Msgs; dead != 0 || far.distinct() != n {
		t.Errorf("%d of %d delivered, %d dead letters", far.distinct(), n, dead)
	}
}

// The window begins anew when the endpoint is available again, and then it ends.
func TestTheWindowBeginsAnewWhenAvailable(t *testing.T) {
	t.Parallel()
	w := newWorld(t, setting{})
	const length = 2 * time.Second
	w.endpoint("crm", paused, window(length))
	w.answer(status(500))
	const n = 20
	w.heldLong(n, time.Hour)
	w.failing(2 * time.Hour)
	w.run(8, time.Second)
	since := time.Now()
	w.endpoint("crm", window(length), availableSince(since))
	for _, l := range w.dead(n) {
		if l.Reason != delivery.EndpointDown || l.DeadAt.Before(since.Add(length)) {
			t.Errorf("%s is dead of %s %s after it was available", l.EventID, l.Reason, l.DeadAt.Sub(since))
		}
	}
	w.settled()
}

// What could not fail because nothing was attempted does not count for
// disable_after.
func TestDisableAfterCountsNoPause(t *testing.T) {
	t.Parallel()
	w := newWorld(t, setting{})
	const after = 2 * time.Second
	failing := func(d *endpoint.Document) { d.DisableAfter = endpoint.Duration(after) }
	w.endpoint("crm", paused, failing, every(time.Hour, 3))
	w.answer(status(500))
	w.heldLong(2, time.Minute)
	w.failing(time.Hour)
	w.run(8, time.Second)
	since := time.Now()
	w.endpoint("crm", failing, every(time.Hour, 3), availableSince(since))
	disabled := func() bool {
		w.endpoints.mu.Lock()
		defer w.endpoints.mu.Unlock()
		return len(w.endpoints.disabled) > 0
	}
	w.until("it is disabled", disabled)
	if passed := time.Since(since); passed < after {
		t.Errorf("disabled %s after it was available, want %s", passed, after)
	}
}
