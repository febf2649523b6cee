package audit

import (
	"testing"

	"jethook/streams"
)

// While what an endpoint wanted before has a consumer of its own yet, what that has
// not handed out waits, whatever the next one says: that comes after it.
func TestOrderedEndpointThatWantsOtherEvents(t *testing.T) {
	w := newWorld(t)
	for _, id := range []string{"a", "b", "c"} {
		e := w.publish(id)
		w.log.Matched(&e, nil, []string{"ledger"})
	}
	w.ackAll()
	for i, patterns := range [][]string{{">"}, {"other"}} {
		c := streams.Ordered(w.names, "acme", "ledger", patterns, 1)
		c.Config.Name = streams.OrderedSince("acme", "ledger", patterns, uint64(3*i+1))
		c.Config.Durable = c.Config.Name
		_, err := w.js.CreateConsumer(w.ctx, c.Stream, c.Config)
		w.must(err)
	}
	c, err := w.js.Consumer(w.ctx, w.names.Events(), streams.OrderedSince("acme", "ledger", []string{">"}, 1))
	w.must(err)
	m, err := c.Next()
	w.must(err)
	w.must(m.DoubleAck(w.ctx))
	w.expect(w.audit(Window{}), Report{Events: 3, Matched: 3, Delivered: 1, Waiting: 2})
}
