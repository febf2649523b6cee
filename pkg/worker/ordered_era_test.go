package worker

import (
	"context"
	"fmt"
	"math/rand/v2"
	"slices"
	"testing"
	"time"

	"github.com/nats-io/nats.go/jetstream"

	"jethook/pkg/delivery"
	"jethook/pkg/endpoint"
	"jethook/streams"
)

// since makes an endpoint ordered that has its patterns since an event.
func since(event uint64, patterns ...string) func(*endpoint.Document) {
	return func(d *endpoint.Document) {
		inOrderOf(d)
		d.Events, d.EventsFrom = patterns, event
	}
}

// changed waits until the consumer for an endpoint's patterns is there, before which
// nobody can change them again.
func (w *world) changed(event uint64, patterns ...string) {
	w.Helper()
	name := streams.OrderedSince("acme", "crm", patterns, event)
	w.until(name+" is there", func() bool {
		return slices.ContainsFunc(w.eras(), func(info *jetstream.ConsumerInfo) bool { return info.Name == name })
	})
}

// What is published once a further type is in force comes, and in order, whatever
// the replica waits for with the old ones.
func TestOrderedOfOneTypeMore(t *testing.T) {
	t.Parallel()
	w := newWorld(t, setting{})
	w.endpoint("crm", since(1, "wa"))
	w.run(4, time.Second, func(w *Worker) { w.fetchFor = time.Second })
	w.publish("wa", "evt_1", "{}")
	w.expect("evt_1", 1)
	for n := uint64(2); n < 12; n += 2 { // it is hardly ever that it does not sit in a fetch
		if n%4 == 2 {
			w.endpoint("crm", since(n, "wa", "wb"))
		} else {
			w.endpoint("crm", since(n, "wb", "wa"))
		}
		w.publish("wb", fmt.Sprintf("evt_%d", n), "{}")
		w.publish("wa", fmt.Sprintf("evt_%d", n+1), "{}")
		w.expect(fmt.Sprintf("evt_%d", n), 1)
		w.expect(fmt.Sprintf("evt_%d", n+1), 1)
	}
	w.drained()
	w.quiet()
}

// Each event goes by what the endpoint wanted when it was published, however much
// waits, and however often that has changed since.
func TestOrderedByWhatWasWanted(t *testing.T) {
	t.Parallel()
	w := newWorld(t, setting{})
	w.endpoint("crm", since(1, "wa"), whilePaused)
	w.run(4, time.Second)
	w.changed(1, "wa")
	publish := func(types ...string) uint64 {
		last := uint64(0)
		for _, eventType := range types {
			last = w.publish(eventType, fmt.Sprintf("evt_%d", w.state(w.names.Events()).LastSeq+1), "{}")
		}
		return last + 1
	}
	next := publish("wa", "wb", "wa") // 1, 3
	for _, c := range []struct{ want, then []string }{
		{[]string{"wa", "wb"}, []string{"wb", "wa", "wc"}}, // 4, 5
		{[]string{"wb"}, []string{"wa", "wb"}},             // 8
		{[]string{"wc"}, nil},                              // nothing, and then it is something else from there on
		{[]string{"wa", "wc"}, []string{"wc", "wa"}},       // 9, 10
		{[]string{"*"}, []string{"wb", "wc"}},              // 11, 12
	} {
		w.endpoint("crm", since(next, c.want...), whilePaused)
		if len(c.then) > 0 {
			w.changed(next, c.want...)
			next = publish(c.then...)
		}
	}
	w.endpoint("crm", since(next-2, "*"))
	for _, n := range []int{1, 3, 4, 5, 8, 9, 10, 11, 12} {
		w.expect(fmt.Sprintf("evt_%d", n), 1)
	}
	w.drained()
	w.quiet()
}

// An event that is being retried goes on where it was, though its type is not wanted
// any more, and those that only the new patterns match come behind it.
func TestOrderedPatternsChangeWhileOneFails(t *testing.T) {
	t.Parallel()
	w := newWorld(t, setting{})
	forLong := every(20*time.Millisecond, 10_000)
	w.endpoint("crm", since(1, "wa"), forLong)
	w.answer(status(408))
	w.run(4, time.Second)
	w.publish("wa", "evt_1", "{}")
	w.publish("wa", "evt_2", "{}")
	w.expect("evt_1", 1)
	w.expect("evt_1", 2)
	w.endpoint("crm", since(3, "wb"), forLong)
	w.publish("wb", "evt_3", "{}")
	w.changed(3, "wb")
	number := 3
	for ; number < 6; number++ {
		w.expect("evt_1", number)
	}
	w.answer(status(200))
	c := w.next()
	for ; c.event == "evt_1"; c, number = w.next(), number+1 {
		if c.number != number {
			t.Errorf("attempt %d, want %d", c.number, number)
		}
	}
	if c.event != "evt_2" || c.number != 1 {
		t.Errorf("attempt %d of %s, want the first of evt_2", c.number, c.event)
	}
	w.expect("evt_3", 1)
	w.drained()
	w.quiet()
}

// While one replica has heard of a change and another has not, nothing is lost: the
// one that knows less goes on with what it knows, and what it has passed comes then.
func TestOrderedWhileReplicasKnowOfDifferentPatterns(t *testing.T) {
	t.Parallel()
	w := newWorld(t, setting{})
	w.endpoint("crm", since(1, "wa"))
	behind := w.endpoints
	old := w.run(4, time.Second)
	w.publish("wa", "evt_1", "{}")
	w.expect("evt_1", 1)
	w.publish("wb", "evt_2", "{}")
	w.publish("wa", "evt_3", "{}")
	w.expect("evt_3", 1) // and evt_2 was passed
	w.drained()

	w.endpoints = &endpoints{}
	w.endpoint("crm", since(2, "wa", "wb"))
	w.run(4, time.Second) // each believes that the endpoint is its own
	w.expect("evt_2", 1)
	w.drained() // which is the new consumer alone
	made := w.eras()[0]
	looked := func() {
		asked := behind.asked.Load()
		w.until("the one behind has looked again", func() bool { return behind.asked.Load() > asked+3 })
	}
	looked()
	old.stop()
	w.drained()
	known := w.endpoints
	w.endpoints = behind
	w.run(4, time.Second) // and does not even know up to where the endpoint had its events
	w.endpoints = known
	looked()
	for i := range 4 {
		w.publish([]string{"wa", "wb"}[i%2], fmt.Sprintf("evt_%d", i+4), "{}")
		w.expect(fmt.Sprintf("evt_%d", i+4), 1)
	}
	w.drained()
	if now := w.eras()[0]; now.Name != made.Name || !now.Created.Equal(made.Created) {
		t.Errorf("consumer %s of %s, and before it %s of %s", now.Name, now.Created, made.Name, made.Created)
	}
	w.quiet()
}

// Killed between any two steps of a change, whoever comes next goes on, and sends
// what the old patterns passed and nothing twice.
func TestOrderedChangeIsCutOff(t *testing.T) {
	t.Parallel()
	for name, leave := range map[string]func(w *world, before, after jetstream.ConsumerConfig){
		"before the new consumer": func(*world, jetstream.ConsumerConfig, jetstream.ConsumerConfig) {},
		"after the new consumer": func(w *world, _, after jetstream.ConsumerConfig) {
			_, err := w.js.CreateConsumer(w.ctx, w.names.Events(), after)
			w.must(err)
		},
		"after it was told what the old one had": func(w *world, before, after jetstream.ConsumerConfig) {
			_, err := w.js.CreateConsumer(w.ctx, w.names.Events(), streams.AfterOrdered(after, before, 3))
			w.must(err)
		},
		"after the old one was removed": func(w *world, before, after jetstream.ConsumerConfig) {
			_, err := w.js.CreateConsumer(w.ctx, w.names.Events(), streams.AfterOrdered(after, before, 3))
			w.must(err)
			w.must(w.js.DeleteConsumer(w.ctx, w.names.Events(), before.Durable))
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			w := newWorld(t, setting{})
			w.endpoint("crm", since(1, "wa"))
			r := w.run(4, time.Second)
			w.publish("wa", "evt_1", "{}")
			w.publish("wb", "evt_2", "{}")
			w.publish("wa", "evt_3", "{}")
			w.expect("evt_1", 1)
			w.expect("evt_3", 1)
			w.drained()
			before := w.eras()[0].Config
			r.stop()
			after := streams.Ordered(w.names, "acme", "crm", []string{"wa", "wb"}, 2).Config
			after.Name = streams.OrderedSince("acme", "crm", []string{"wa", "wb"}, 2)
			after.Durable = after.Name
			leave(w, before, after)
			w.endpoint("crm", since(2, "wa", "wb"))
			w.run(4, time.Second)
			w.expect("evt_2", 1)
			w.publish("wa", "evt_4", "{}")
			w.expect("evt_4", 1)
			w.drained()
			w.quiet()
		})
	}
}

// Ordered off, while patterns had changed and events of before and after wait: each
// is stored as what it was wanted as.
func TestOrderedSwitchedOffAfterAChange(t *testing.T) {
	t.Parallel()
	w := newWorld(t, setting{})
	w.endpoint("crm", since(1, "wa"), whilePaused)
	w.run(4, time.Second)
	w.publish("wa", "evt_1", "{}")
	w.publish("wb", "evt_2", "{}")
	w.changed(1, "wa")
	w.endpoint("crm", since(3, "wb"), whilePaused)
	w.publish("wa", "evt_3", "{}")
	w.publish("wb", "evt_4", "{}")
	w.changed(3, "wb")
	w.until("all were passed over elsewhere", func() bool { return w.fanout().AckFloor.Stream == 4 })
	w.endpoint("crm", func(d *endpoint.Document) { d.Events = []string{"wb"} })
	got := []string{w.next().event, w.next().event}
	slices.Sort(got)
	if want := []string{"evt_1", "evt_4"}; !slices.Equal(got, want) {
		t.Errorf("got %q, want %q", got, want)
	}
	w.gone()
	w.settled()
	w.quiet()
}

// Whatever the endpoint wants by turns, whatever fails and whoever serves it, each
// event that was wanted when it was published comes, in that order; only the one that
// was being attempted may come again.
func TestOrderedKeepsTheOrderWhilePatternsChange(t *testing.T) {
	t.Parallel()
	w := newWorld(t, setting{})
	w.answer(func(ctx context.Context, _ call) delivery.Result {
		pause(ctx, rand.N(2*time.Millisecond))
		if rand.N(10) < 2 {
			return delivery.Result{Status: 408} // which no gate minds
		}
		return delivery.Result{Status: 200}
	})
	c := &crew{}
	c.set("a", "b")
	types := []string{"wa", "wb", "wc"}
	some := func() (chosen []string) {
		rand.Shuffle(len(types), func(i, j int) { types[i], types[j] = types[j], types[i] })
		return slices.Clone(types[:1+rand.N(3)])
	}
	next, patterns := uint64(1), some()
	w.endpoint("crm", since(next, patterns...), every(time.Millisecond, 100))
	for _, id := range []string{"a", "b"} {
		_, js := w.connect(w.server.ClientURL())
		w.replicas = mate{c, id}
		w.runOn(js, 4, time.Second)
	}
	var want []string
	for round := range 12 {
		w.changed(next, patterns...)
		for range 1 + rand.N(10) {
			eventType, id := types[rand.N(3)], fmt.Sprintf("evt_%d", next)
			if next++; slices.Contains(patterns, eventType) {
				want = append(want, id)
			}
			w.publish(eventType, id, "{}")
		}
		if round%3 == 2 {
			c.set([]string{"b", "a"}[round%2], []string{"a", "b"}[round%2])
		}
		patterns = some()
		w.endpoint("crm", since(next, patterns...), every(time.Millisecond, 100))
	}
	var got []string
	for len(got) < len(want) {
		if event := w.next().event; len(got) == 0 || got[len(got)-1] != event {
			got = append(got, event)
		}
	}
	if !slices.Equal(got, want) {
		t.Errorf("got %q, want %q", got, want)
	}
	w.drained()
}
