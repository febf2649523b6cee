package worker

import (
	"testing"
	"time"

	"github.com/nats-io/nats.go/jetstream"
)

// keptAckWait is the AckWait of tests in which nothing may come again: more than
// a busy machine may keep the keepalive waiting.
const keptAckWait = 5 * time.Second

// fetchWait is how long another replica asks for what it must not get: more
// than two AckWaits of these tests.
var fetchWait = jetstream.FetchMaxWait(2*keptAckWait + 2*time.Second)

// An attempt that takes longer than AckWait is not made twice, however many
// endpoints its event has.
func TestKeepalive(t *testing.T) {
	t.Parallel()
	w := newWorld(t, setting{ackWait: keptAckWait})
	w.endpoint("one", unending)
	w.endpoint("two", unending)
	release := make(chan struct{})
	w.answer(hang(release))
	w.run(16, time.Second, func(worker *Worker) { worker.keepEvery = 500 * time.Millisecond })
	w.publish("order.created", "evt_1", "{}")
	w.next()
	w.next()
	fanout, err := w.js.Consumer(w.ctx, w.names.Events(), "fanout")
	w.must(err)
	if _, err := fanout.Next(fetchWait); err == nil {
		t.Error("an event that is worked on was handed out again")
	}
	close(release)
	w.settled()
	w.quiet()
	if got := w.fanout().NumRedelivered; got != 0 {
		t.Errorf("%d came again, want none", got)
	}
}
