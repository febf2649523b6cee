package worker

import (
	"context"
	"strconv"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"jethook/pkg/delivery"
	"jethook/pkg/endpoint"
)

// What cannot be sent says nothing of the endpoint, and stands in no probe's way:
// the next delivery is tried at once. In order it is the same.
func TestWhatCannotBeSentIsNoProbe(t *testing.T) {
	t.Parallel()
	for _, ordered := range []bool{false, true} {
		t.Run("ordered "+strconv.FormatBool(ordered), func(t *testing.T) {
			t.Parallel()
			w := newWorld(t, setting{})
			w.endpoint("crm", every(time.Hour, 3), func(d *endpoint.Document) {
				if d.Ordered = ordered; ordered {
					d.OrderedFrom, d.OnFailure = 1, endpoint.OnFailureSkip
				}
			})
			w.answer(func(_ context.Context, c call) delivery.Result {
				if strings.HasPrefix(c.event, "bad_") {
					return delivery.Result{Fault: delivery.FaultInvalidRequest, Error: "too large"}
				}
				return delivery.Result{Status: 200}
			})
			w.failing(time.Minute)
			const bad, good = 30, 5
			for i := range bad {
				w.publish("order.created", "bad_"+strconv.Itoa(i), "{}")
			}
			for i := range good {
				w.publish("order.created", "good_"+strconv.Itoa(i), "{}")
			}
			var most atomic.Int64
			r := w.run(8, time.Second, func(worker *Worker) {
				worker.fleet.OnChange(func(name string, _ bool) {
					o, _ := worker.fleet.Get(name)
					most.Store(max(most.Load(), int64(o.Probes)))
				})
			})
			for _, l := range w.dead(bad) {
				if l.Reason != delivery.InvalidRequest || !strings.HasPrefix(l.EventID, "bad_") {
					t.Errorf("%s is dead of %s", l.EventID, l.Reason)
				}
			}
			for came := map[string]bool{}; len(came) < bad+good; {
				came[w.next().event] = true
			}
			w.until("the gate is closed", func() bool { _, open := r.fleet.Get("acme/crm"); return !open })
			if most.Load() > 0 {
				t.Errorf("%d probes failed", most.Load())
			}
		})
	}
}
