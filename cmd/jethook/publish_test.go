package main

import "testing"

// An event that NATS took for another one is not stored, and who publishes it is told:
// an id is compared with those of all tenants.
func TestPublishTellsOfDuplicates(t *testing.T) {
	w := startWorld(t)
	out, said := w.run(exitDone, "publish", "evil", "order.created", "--id", "order-1001")
	contains(t, out, "stored 1 event on webhooks.events.evil.order.created")
	hides(t, said, "not stored")
	for _, more := range [][]string{nil, {"--json"}} {
		out, said = w.run(exitDone, append([]string{"publish", "victim", "order.created", "--id", "order-1001"}, more...)...)
		contains(t, said, "not stored: 1 of the events", "same id", "whatever tenant")
		if more == nil {
			contains(t, out, "stored nothing on webhooks.events.victim.order.created")
		} else {
			contains(t, out, `"duplicate":true`)
		}
	}
	w.run(exitDone, "publish", "victim", "order.created", "--id", "order-2")
	w.run(exitDone, "publish", "victim", "order.created", "--id", "batch-2")
	out, said = w.run(exitDone, "publish", "victim", "order.created", "--id", "batch", "--count", "3")
	contains(t, out, "stored 2 events in ")
	contains(t, said, "not stored: 1 of the events")
	out, said = w.run(exitDone, "publish", "victim", "order.created", "--id", "batch", "--count", "4")
	contains(t, out, "stored 1 event in ")
	contains(t, said, "not stored: 3 of the events")
	out, said = w.run(exitDone, "publish", "victim", "order.created", "--count", "2")
	contains(t, out, "stored 2 events in ")
	hides(t, said, "not stored")
	if n := w.count("WEBHOOKS_EVENTS"); n != 1+2+2+1+2 {
		t.Errorf("%d events are stored", n)
	}
}
