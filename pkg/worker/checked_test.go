package worker

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"jethook/pkg/delivery"
)

// An event whose headers are over a limit is not lost and not attempted: each
// delivery of it is a dead letter that says which header and which limit, and a
// replay of it is one again. Others are not kept from theirs.
func TestHeadersOverALimit(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		endpoints int
		kind      string
	}{
		"straight from the event": {1, ""}, "stored first": {direct + 1, ""}, "held first": {1, "held"}, "in order": {1, "ordered"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			w := newWorld(t, setting{})
			for i := range c.endpoints {
				id := fmt.Sprintf("ep%d", i)
				switch c.kind {
				case "held":
					w.endpoint(id, paused)
				case "ordered":
					w.endpoint(id, inOrderOf, skips)
				default:
					w.endpoint(id)
				}
			}
			w.run(8, time.Second)
			m := nats.NewMsg("webhooks.events.acme.order.created")
			m.Header = nats.Header{jetstream.MsgIDHeader: {"evt_1"}, "ce-long": {strings.Repeat("v", 5000)}, "ce-short": {"v"}}
			_, err := w.js.PublishMsg(w.ctx, m)
			w.must(err)
			w.publish("order.created", "evt_2", "{}")
			if c.kind == "held" {
				w.until("both are held", func() bool { return w.holds("ep0") == 2 })
				w.endpoint("ep0")
			}
			for range c.endpoints {
				if c := w.next(); c.event != "evt_2" {
					t.Errorf("%s is attempted", c.event)
				}
			}
			for _, l := range w.dead(c.endpoints) {
				if l.EventID != "evt_1" || l.Reason != delivery.InvalidRequest || l.Headers["ce-short"] != "v" ||
					!strings.Contains(l.LastError, "ce-long") || !strings.Contains(l.LastError, "4 KiB") {
					t.Errorf("dead letter %+v", l)
				}
			}
			w.quiet()
			s, err := w.js.Stream(w.ctx, w.names.DeadLetters())
			w.must(err)
			letter, err := s.GetMsg(w.ctx, 1)
			w.must(err)
			if d, err := delivery.Decode("acme", "ep0", letter.Header, letter.Data); err != nil || d.Event.Problem == "" {
				t.Errorf("replayed, it would be attempted: %v", err)
			}
		})
	}
}
