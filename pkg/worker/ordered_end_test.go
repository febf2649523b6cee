package worker

import (
	"fmt"
	"slices"
	"testing"
	"time"

	"github.com/nats-io/nats.go"

	"jethook/pkg/delivery"
	"jethook/pkg/endpoint"
	"jethook/pkg/notify"
	"jethook/streams"
)

// Of an endpoint that is removed, what it has not had becomes dead letters, but
// no event that it did not want; nothing is left.
func TestOrderedRemoved(t *testing.T) {
	t.Parallel()
	w := newWorld(t, setting{})
	crossing := func(d *endpoint.Document) { d.Events = []string{"order.*.eu", "order.paid.*"} }
	w.endpoint("crm", inOrderOf, crossing, every(time.Hour, 5))
	w.answer(status(408))
	r := w.run(4, time.Second)
	w.publish("order.paid.eu", "evt_0", "body")
	w.publish("order.sent.us", "evt_1", "body")
	w.publish("order.sent.eu", "evt_2", "body")
	w.expect("evt_0", 1)
	w.until("the attempt is stored", func() bool { return w.states("crm") == 1 })
	w.endpoints.forget("acme/crm", true) // as one that this replica has not heard of is not taken for removed
	w.endpoints.announce()
	sought := w.endpoints.sought.Load()
	w.until("the bucket was asked twice", func() bool { return w.endpoints.sought.Load() > sought+1 })
	if n := w.state(w.names.DeadLetters()).Msgs; n != 0 {
		t.Fatalf("%d dead letters of an endpoint that is there", n)
	}
	w.endpoints.forget("", true)
	w.remove("crm")
	letters := w.dead(2)
	for i, l := range letters {
		if l.Reason != delivery.EndpointDeleted || l.EventID != []string{"evt_0", "evt_2"}[i] || len(l.History) != 1-i {
			t.Errorf("dead letter of %s, %s, with a history of %d", l.EventID, l.Reason, len(l.History))
		}
	}
	w.gone()
	w.quiet()
	r.stop()
}

// Of one that was removed while no replica lived, a new one finds the consumer.
func TestOrderedRemovedUnseen(t *testing.T) {
	t.Parallel()
	w := newWorld(t, setting{})
	w.endpoint("crm", inOrderOf, whilePaused)
	r := w.run(4, time.Second)
	w.publish("order.created", "evt_0", "body")
	w.inHand(r)
	r.stop()
	w.remove("crm")
	w.run(4, time.Second)
	if l := w.dead(1)[0]; l.Reason != delivery.EndpointDeleted || l.EventID != "evt_0" {
		t.Errorf("dead letter of %s, %s", l.EventID, l.Reason)
	}
	w.gone()
}

// When ordered is switched off, nothing is lost: what was published before every
// replica knew goes the way of all deliveries, with what it remembers.
func TestOrderedSwitchedOff(t *testing.T) {
	t.Parallel()
	w := newWorld(t, setting{})
	w.endpoint("crm", inOrderOf, every(10*time.Second, 5)) // the second attempt comes after the switch
	w.answer(status(408))
	c := &crew{}
	c.set("a", "b") // b never runs here, and knows of nothing
	w.replicas = mate{c, "a"}
	r := w.run(4, time.Second)
	w.publish("order.created", "evt_0", "body")
	w.publish("order.created", "evt_1", "body")
	w.expect("evt_0", 1)
	w.until("the attempt is stored", func() bool { return w.states("crm") == 1 })
	w.until("both were passed over elsewhere", func() bool { return w.fanout().AckFloor.Stream == 2 })
	w.answer(status(200))
	w.endpoint("crm", every(time.Millisecond, 5))
	w.until("the first event was handed back", func() bool { return len(r.ordered.inHand()) == 0 })
	w.publish("order.created", "evt_2", "body") // b would have passed it over
	w.expect("evt_2", 1)
	asked := c.asked.Load()
	w.until("the replicas were asked twice", func() bool { return c.asked.Load() > asked+1 })
	if f := w.consumer(w.names.Events(), streams.OrderedOf("acme", "crm")); f.AckFloor.Stream != 0 {
		t.Errorf("events up to %d are settled before all replicas know", f.AckFloor.Stream)
	}
	c.know(1)
	var got []string
	for range 3 {
		c := w.next()
		got = append(got, fmt.Sprintf("%s %d", c.event, c.number))
	}
	slices.Sort(got)
	if want := []string{"evt_0 2", "evt_1 1", "evt_2 1"}; !slices.Equal(got, want) {
		t.Errorf("got %q, want %q", got, want)
	}
	w.gone()
	w.publish("order.created", "evt_3", "body")
	w.expect("evt_3", 1)
	w.endpoint("crm", func(d *endpoint.Document) { d.Ordered, d.OrderedFrom = true, 5 })
	w.publish("order.created", "evt_4", "body")
	w.expect("evt_4", 1)
	w.drained()
	w.settled()
	w.quiet()
}

// Switched off and on again while nobody looked, the events from before go the
// way of all deliveries.
func TestOrderedAnewUnseen(t *testing.T) {
	t.Parallel()
	w := newWorld(t, setting{})
	w.endpoint("crm", inOrderOf, whilePaused)
	r := w.run(4, time.Second)
	w.publishMany("order.created", "evt_", 2)
	w.inHand(r)
	w.until("all events were passed over", func() bool { return w.fanout().AckFloor.Stream == 2 })
	r.stop()
	w.endpoint("crm", func(d *endpoint.Document) { d.Ordered, d.OrderedFrom = true, 3 })
	w.publish("order.created", "evt_2", "{}")
	w.run(16, time.Second) // slots for all: none is held, and so stored, for the lack of one
	got := []string{w.next().event, w.next().event, w.next().event}
	slices.Sort(got)
	if want := []string{"evt_0", "evt_1", "evt_2"}; !slices.Equal(got, want) {
		t.Errorf("got %q, want %q", got, want)
	}
	w.drained()
	w.settled()
	if f := w.state(w.names.Deliveries()); f.LastSeq != 2 {
		t.Errorf("%d deliveries were stored, want the first two", f.LastSeq)
	}
	w.quiet()
}

// Of those, it gets what it wanted: a consumer of patterns that cross hands out
// whatever its tenant has.
func TestOrderedAnewUnseenOfCrossingPatterns(t *testing.T) {
	t.Parallel()
	w := newWorld(t, setting{})
	crossing := func(d *endpoint.Document) { d.Events = []string{"order.*.eu", "order.paid.*", "jethook.>"} }
	w.endpoint("crm", inOrderOf, crossing, whilePaused)
	r := w.run(4, time.Second)
	w.publish("order.paid.eu", "evt_0", "body")
	w.inHand(r)
	w.publish("salary.paid", "evt_1", "body")
	about := nats.NewMsg("webhooks.events.acme.jethook.endpoint.failing")
	about.Header.Set(notify.About, "crm")
	_, err := w.js.PublishMsg(w.ctx, about)
	w.must(err)
	w.publish("order.new.eu", "evt_3", "body")
	r.stop()
	w.endpoint("crm", crossing, func(d *endpoint.Document) { d.Ordered, d.OrderedFrom = true, 5 })
	w.run(4, time.Second)
	got := []string{w.next().event, w.next().event}
	slices.Sort(got)
	if want := []string{"evt_0", "evt_3"}; !slices.Equal(got, want) {
		t.Errorf("got %q, want %q", got, want)
	}
	w.drained()
	w.settled()
	w.quiet()
}

// A consumer that somebody deleted begins again where it was.
func TestOrderedConsumerDeleted(t *testing.T) {
	t.Parallel()
	w := newWorld(t, setting{})
	w.endpoint("crm", inOrderOf)
	w.run(4, time.Second)
	w.publishMany("order.created", "evt_", 3)
	for i := range 3 {
		w.expect(fmt.Sprintf("evt_%d", i), 1)
	}
	w.drained()
	w.must(w.js.DeleteConsumer(w.ctx, w.names.Events(), streams.OrderedOf("acme", "crm")))
	w.publish("order.created", "evt_3", "{}")
	w.expect("evt_3", 1)
	w.drained()
	if from := w.consumer(w.names.Events(), streams.OrderedOf("acme", "crm")).Config.OptStartSeq; from != 4 {
		t.Errorf("the consumer begins with event %d, want the one behind the last that was acked", from)
	}
	// What somebody's consumer, or a server that was killed, repeats is acked.
	w.until("a consumer from the first event on is there", func() bool {
		w.must(w.js.DeleteConsumer(w.ctx, w.names.Events(), streams.OrderedOf("acme", "crm")))
		again := streams.Ordered(w.names, "acme", "crm", []string{"order.created"}, 1)
		_, err := w.js.CreateConsumer(w.ctx, again.Stream, again.Config)
		return err == nil
	})
	w.drained()
	w.quiet()
	// Another stream counts from 1 again.
	w.must(w.js.DeleteStream(w.ctx, w.names.Events()))
	w.until("it is made again", func() bool {
		_, err := w.js.Consumer(w.ctx, w.names.Events(), streams.OrderedOf("acme", "crm"))
		return err == nil
	})
	w.publish("order.created", "evt_4", "{}")
	w.expect("evt_4", 1)
	w.drained()
	w.quiet()
}

// Patterns that cross, and patterns that change, bring what they match and
// nothing else.
func TestOrderedPatterns(t *testing.T) {
	t.Parallel()
	w := newWorld(t, setting{})
	wants := func(patterns ...string) func(*endpoint.Document) {
		return func(d *endpoint.Document) { d.Events = patterns }
	}
	filters := func(want ...string) {
		t.Helper()
		w.until("the filters are right", func() bool {
			all := w.eras()
			if len(all) != 1 {
				return false
			}
			c := all[0].Config
			return slices.Equal(append([]string{c.FilterSubject}, c.FilterSubjects...), append([]string{""}, want...)) ||
				len(want) == 1 && c.FilterSubject == want[0]
		})
	}
	w.endpoint("crm", inOrderOf, wants("a.*.x", "a.b.*", "a.b.c"))
	w.run(4, time.Second)
	filters("webhooks.events.acme.>")
	for i, eventType := range []string{"a.b.x", "a.q.q", "a.q.x", "b", "a.b.q"} {
		w.publish(eventType, fmt.Sprintf("evt_%d", i), "{}")
	}
	w.expect("evt_0", 1)
	w.expect("evt_2", 1)
	w.expect("evt_4", 1)
	w.drained()
	w.endpoint("crm", inOrderOf, wants("b", "c.*", "c.d"))
	filters("webhooks.events.acme.b", "webhooks.events.acme.c.*")
	for i, eventType := range []string{"c.d", "a.b.x", "b"} {
		w.publish(eventType, fmt.Sprintf("new_%d", i), "{}")
	}
	w.expect("new_0", 1)
	w.expect("new_2", 1)
	w.drained()
	// From when it is written down since when they are what they are, each has a
	// consumer of its own.
	w.endpoint("crm", since(9, "d.*.x", "d.x.*"))
	for i, eventType := range []string{"d.x.d", "d.d.d", "b"} {
		w.publish(eventType, fmt.Sprintf("last_%d", i), "{}")
	}
	w.expect("last_0", 1)
	filters("webhooks.events.acme.>")
	w.drained()
	w.quiet()
}
