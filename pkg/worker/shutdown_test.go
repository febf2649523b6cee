package worker

import (
	"context"
	"fmt"
	"testing"
	"time"

	"jethook/pkg/delivery"
)

// A stop lets the running attempts finish.
func TestStopFinishesAttempts(t *testing.T) {
	t.Parallel()
	w := newWorld(t, setting{})
	w.endpoint("crm")
	release := make(chan struct{})
	w.answer(hang(release))
	r := w.run(16, time.Minute)
	w.publishMany("order.created", "evt_", 3)
	for range 3 {
		w.next()
	}
	r.cancel()
	time.AfterFunc(1500*time.Millisecond, func() { close(release) })
	if cut := r.stop(); cut != 0 {
		t.Errorf("%d attempts were cut off, want none", cut)
	}
	w.settled()
	if f := w.fanout(); f.NumRedelivered != 0 {
		t.Errorf("%d events came again", f.NumRedelivered)
	}
}

// After the grace period attempts are cut off; they are handed back at once,
// and do not count.
func TestStopCutsOff(t *testing.T) {
	t.Parallel()
	w := newWorld(t, setting{})
	w.endpoint("crm")
	w.answer(hang(nil))
	r := w.run(16, 100*time.Millisecond)
	w.publishMany("order.created", "evt_", 2)
	w.put(given("crm", "retry", delivery.State{Attempts: 2}))
	for range 3 {
		w.next()
	}
	if cut := r.stop(); cut != 3 {
		t.Errorf("%d attempts were cut off, want 3", cut)
	}
	w.answer(status(200))
	w.run(4, time.Second)
	for range 3 {
		c := w.next()
		want := 1
		if c.event == "retry" {
			want = 3
		}
		if c.number != want || len(c.state.History) != 0 {
			t.Errorf("%s: attempt %d with a history of %d, want attempt %d and none", c.event, c.number, len(c.state.History), want)
		}
	}
	w.settled()
	w.quiet()
}

// What was fetched and not begun is handed back once, and not to the fetch that
// is still open: that would count as often as the fetch asks for messages.
func TestStopHandsBackOnce(t *testing.T) {
	t.Parallel()
	w := newWorld(t, setting{})
	w.endpoint("crm")
	const full = 1 + 2 + 4 + 8 + 16 // fetches that come back full, so that the next asks for 32
	w.publishMany("order.created", "evt_", full)
	r := w.run(256, time.Second, func(worker *Worker) { worker.fetchFor = time.Second })
	for range full {
		w.next()
	}
	w.until("all is acked", func() bool { return w.fanout().NumAckPending == 0 })
	r.cancel()
	w.publish("order.created", "late", "{}")
	r.stop()
	fanout, err := w.js.Consumer(w.ctx, w.names.Events(), "fanout")
	w.must(err)
	m, err := fanout.Next()
	w.must(err)
	meta, err := m.Metadata()
	w.must(err)
	if meta.NumDelivered > 2 {
		t.Errorf("handed out %d times, want twice at most", meta.NumDelivered)
	}
	w.quiet()
}

// What a hanging endpoint makes a stop cut off comes again to that one only.
func TestStopRepeatsNothingToTheOtherEndpoints(t *testing.T) {
	t.Parallel()
	w := newWorld(t, setting{})
	w.endpoint("well")
	w.endpoint("hanging")
	w.answer(func(ctx context.Context, c call) delivery.Result {
		if c.endpoint == "well" {
			return delivery.Result{Status: 200}
		}
		return hang(nil)(ctx, c)
	})
	r := w.run(8, 100*time.Millisecond)
	w.publish("order.created", "evt_1", "body")
	w.next()
	w.next()
	if cut := r.stop(); cut != 1 {
		t.Errorf("%d attempts were cut off, want 1", cut)
	}
	w.answer(status(200))
	w.run(8, time.Second)
	if c := w.next(); c.endpoint != "hanging" || c.number != 1 {
		t.Errorf("attempt %d at %s, want the first at hanging", c.number, c.endpoint)
	}
	w.settled()
	w.quiet()
}

// Naks that wait for their burst are sent before the end.
func TestStopFlushesNaks(t *testing.T) {
	t.Parallel()
	w := newWorld(t, setting{ackWait: keptAckWait})
	w.endpoint("crm")
	due := time.Now().Add(shortWait - 10*time.Second)
	const n = 20
	r := w.run(64, time.Second, func(worker *Worker) { worker.fetchFor = 20 * time.Millisecond }) // the stop is quicker than the burst
	for i := range n {
		w.put(given("crm", fmt.Sprintf("evt_%d", i), delivery.State{Due: due}))
	}
	w.until("all are being waited for", func() bool {
		return w.endpoints.asked.Load() >= n && r.main().pool.busy() == 0
	})
	r.stop()
	if d := w.deliver(); d.NumAckPending != n {
		t.Errorf("%d wait, want %d", d.NumAckPending, n)
	}
	// Without an answer AckWait would bring them back by now.
	deliver, err := w.js.Consumer(w.ctx, w.names.Deliveries(), "deliver")
	w.must(err)
	if m, err := deliver.Next(fetchWait); err == nil {
		t.Errorf("%s came before its time", m.Subject())
	}
}

// A worker stops at any moment of its life, and leaves nothing behind.
func TestStartStop(t *testing.T) {
	t.Parallel()
	w := newWorld(t, setting{})
	w.endpoint("crm")
	for i := range 4 {
		r := w.run(1+i, time.Second)
		w.publishMany("order.created", fmt.Sprintf("evt_%d_", i), 200)
		r.stop()
	}
	w.run(8, time.Second)
	w.settled()
	met := map[string]bool{}
	for range len(w.sender.calls) {
		met[w.next().event] = true
	}
	if len(met) != 800 {
		t.Errorf("%d events arrived, want 800", len(met))
	}
}
