package worker

import (
	"testing"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"jethook/pkg/attempt"
)

// That an event is under a subject that no endpoint can match is in the ledger before
// it is acked: it is nobody's, and not lost.
func TestEventsOfNobodyAreLogged(t *testing.T) {
	t.Parallel()
	w := newWorld(t, setting{})
	w.endpoint("crm")
	w.run(4, 0)
	ack, err := w.js.PublishMsg(w.ctx, &nats.Msg{Subject: "webhooks.events.ACME.x", Header: nats.Header{jetstream.MsgIDHeader: {"odd"}}})
	w.must(err)
	w.until("it is acked", func() bool { return w.fanout().AckFloor.Stream == ack.Sequence })
	n := 0
	for e, err := range attempt.NewStore(w.js, w.names).Event(w.ctx, "odd", time.Time{}) {
		w.must(err)
		n++
		if e.EventSeq != ack.Sequence || e.Endpoint != "" || len(e.Matched)+len(e.Ordered) > 0 {
			t.Errorf("the ledger says %+v", e)
		}
	}
	if n != 1 {
		t.Errorf("%d lines, want 1", n)
	}
}
