package worker

import (
	"time"

	"github.com/nats-io/nats.go"

	"jethook/pkg/delivery"
	"jethook/pkg/hold"
	"jethook/streams"
)

// hold stores a delivery where it waits until its endpoint can have it, and
// reports whether it is settled.
func (w *Worker) hold(d *delivery.Delivery, msgID string) bool {
	m, kind, err := w.toHold(d, msgID)
	if err == nil {
		err = w.publish(w.attempts, m)
	}
	if err != nil {
		return w.unsettled(d, err)
	}
	w.metrics.Held()
	w.keeper.nudge(d.Name(), kind)
	return true
}

// toHold returns the message that holds a delivery, and among what it lies.
func (w *Worker) toHold(d *delivery.Delivery, msgID string) (*nats.Msg, streams.Kind, error) {
	now := time.Now()
	kind := hold.KindOf(d, w.keeper.newest(d.Name(), d.State.Since, now), now)
	d.State.Begin(now)
	w.trace.Held(d)
	m, err := w.held.Message(d, kind, msgID)
	return m, kind, err
}
