package worker

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
	"github.com/rs/zerolog"

	"jethook/pkg/delivery"
	"jethook/pkg/endpoint"
)

// An event reaches exactly the endpoints that match, once each, from the real
// registry.
func TestEventReachesExactlyWhatMatches(t *testing.T) {
	t.Parallel()
	w := newWorld(t, setting{})
	kv, err := w.js.KeyValue(w.ctx, w.names.EndpointsBucket())
	w.must(err)
	for i, patterns := range [][]string{{"order.*"}, {"order.created", ">"}, {"invoice.paid"}, {"order.*"}} {
		d := endpoint.NewDocument()
		d.Tenant, d.ID, d.URL, d.Events = "acme", fmt.Sprintf("ep%d", i), "https://example.com", patterns
		if i == 3 {
			d.Tenant = "globex"
		}
		_, err := endpoint.NewStore(kv).Apply(w.ctx, d)
		w.must(err)
	}
	registry := endpoint.NewRegistry(kv, zerolog.Nop())
	w.must(registry.Start(w.ctx))
	defer registry.Stop()
	// A slot for each: nothing is stored for the lack of one.
	w.run(4*direct, time.Second, func(worker *Worker) { worker.endpoints = registry })
	w.publish("order.created", "evt_1", "{}")
	w.publish("order.deleted.late", "evt_2", "{}")
	w.publish("invoice.paid", "evt_3", "{}")
	_, err = w.js.Publish(w.ctx, "webhooks.events.initech.order.created", nil) // nobody's
	w.must(err)
	_, err = w.js.Publish(w.ctx, "webhooks.events.NOBODY.order.created", nil) // no tenant's name
	w.must(err)
	w.settled()
	var got []string
	for range len(w.sender.calls) {
		c := w.next()
		got = append(got, c.endpoint+" "+c.event)
	}
	slices.Sort(got)
	want := []string{"ep0 evt_1", "ep1 evt_1", "ep1 evt_2", "ep1 evt_3", "ep2 evt_3"}
	if !slices.Equal(got, want) {
		t.Errorf("attempts %v, want %v", got, want)
	}
	if s := w.state(w.names.Deliveries()); s.LastSeq != 0 {
		t.Errorf("%d deliveries were stored for healthy traffic, want none", s.LastSeq)
	}
}

// Events for many endpoints, and events that were handed out before, are
// stored as deliveries before the first attempt.
func TestEventIsStoredFirst(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		name      string
		endpoints int
		before    bool // handed out before
		stored    uint64
	}{
		{"few endpoints", direct, false, 0},
		{"many endpoints", direct + 1, false, direct + 1},
		{"handed out before", 2, true, 2},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			w := newWorld(t, setting{})
			for i := range c.endpoints {
				w.endpoint(fmt.Sprintf("ep%d", i))
			}
			w.publish("order.created", "evt_1", "body")
			if c.before {
				fanout, err := w.js.Consumer(w.ctx, w.names.Events(), "fanout")
				w.must(err)
				m, err := fanout.Next()
				w.must(err)
				w.must(m.Nak())
			}
			w.run(4*direct, time.Second) // a slot for each: nothing is stored for the lack of one
			w.settled()
			met := map[string]bool{}
			for range c.endpoints {
				c := w.next()
				met[c.endpoint] = true
				if c.number != 1 || c.body != "body" {
					t.Errorf("attempt %d with body %q, want the first with the event's", c.number, c.body)
				}
			}
			w.quiet()
			if len(met) != c.endpoints {
				t.Errorf("%d endpoints got the event, want %d", len(met), c.endpoints)
			}
			if got := w.state(w.names.Deliveries()).LastSeq; got != c.stored {
				t.Errorf("%d deliveries were stored, want %d", got, c.stored)
			}
		})
	}
}

// The event is acked after the last of its deliveries is settled, and no slow
// endpoint keeps the others waiting.
func TestEventIsAckedLast(t *testing.T) {
	t.Parallel()
	w := newWorld(t, setting{})
	for i := range 5 {
		w.endpoint(fmt.Sprintf("ep%d", i))
	}
	w.endpoint("slow")
	release := make(chan struct{})
	done := make(chan string, 8)
	hanging := hang(release)
	w.answer(func(ctx context.Context, c call) delivery.Result {
		defer func() { done <- c.endpoint }()
		if c.endpoint == "slow" {
			return hanging(ctx, c)
		}
		return delivery.Result{Status: 200}
	})
	w.run(8, time.Second)
	w.publish("order.created", "evt_1", "{}")
	for range 5 {
		if got := <-done; got == "slow" {
			t.Fatal("the slow endpoint was first")
		}
	}
	if n := w.fanout().NumAckPending; n != 1 {
		t.Errorf("%d messages are not acked while an endpoint hangs, want 1", n)
	}
	close(release)
	w.settled()
	if got := w.fanout().NumRedelivered; got != 0 {
		t.Errorf("%d messages came again, want none", got)
	}
}

// Where no slot is free, the deliveries behind one that hangs do not wait for
// it: whoever has slots makes them.
func TestNoDeliveryWaitsForAnother(t *testing.T) {
	t.Parallel()
	w := newWorld(t, setting{})
	w.endpoint("a-slow", unending)
	w.endpoint("b")
	w.endpoint("c")
	release := make(chan struct{})
	hanging := hang(release)
	w.answer(func(ctx context.Context, c call) delivery.Result {
		if c.endpoint == "a-slow" {
			return hanging(ctx, c)
		}
		return delivery.Result{Status: 200}
	})
	w.run(1, time.Second)
	w.publish("order.created", "evt_1", "{}")
	// Where the other consumer lets go of its slot between two fetches, a-slow has that
	// one, and the others may be met before it.
	met := map[string]int{}
	for met["a-slow"] == 0 {
		met[w.next().endpoint]++
	}
	w.run(8, time.Second)
	for met["b"]+met["c"] < 2 {
		met[w.next().endpoint]++
	}
	if met["b"] != 1 || met["c"] != 1 {
		t.Errorf("attempts %v, want one each at b and c while a-slow hangs", met)
	}
	if n := w.fanout().NumAckPending; n != 1 {
		t.Errorf("%d events are not acked, want the one that hangs", n)
	}
	close(release)
	w.settled()
	w.quiet()
}

// A message of which one part could not be settled comes again.
func TestEventWithAnUnsettledPartComesAgain(t *testing.T) {
	t.Parallel()
	w := newWorld(t, setting{})
	w.endpoint("good")
	w.endpoint("bad")
	w.answer(func(_ context.Context, c call) delivery.Result {
		if c.endpoint == "bad" {
			return delivery.Result{Status: 400}
		}
		return delivery.Result{Status: 200}
	})
	first := true
	r := w.run(8, time.Second, func(worker *Worker) {
		worker.letters = lettersFunc(func(d *delivery.Delivery, url string, reason delivery.Reason, at time.Time) (*nats.Msg, error) {
			if first {
				first = false
				return nil, fmt.Errorf("broken on purpose")
			}
			return w.letter(d, url, reason, at)
		})
	})
	w.publish("order.created", "evt_1", "{}")
	w.until("the failed part waits", func() bool { return len(w.sender.calls) >= 2 && r.main().pool.slots.busy() <= 2 })
	if got := w.dead(1); got[0].Reason != delivery.Rejected || got[0].Attempts != 1 {
		t.Errorf("dead letter %+v, want one rejected at the first attempt", got[0])
	}
	w.settled()
	times := map[string]int{}
	for range len(w.sender.calls) {
		times[w.next().endpoint]++
	}
	if times["bad"] != 2 || times["good"] != 2 {
		t.Errorf("attempts %v, want two each: at least once", times)
	}
}

// What cannot be settled for good does not come again at once.
func TestUnsettledDoesNotLoopHot(t *testing.T) {
	t.Parallel()
	w := newWorld(t, setting{})
	w.endpoint("bad")
	w.answer(status(400))
	tries := make(chan struct{}, 1000)
	w.run(8, time.Second, func(worker *Worker) {
		worker.letters = lettersFunc(func(*delivery.Delivery, string, delivery.Reason, time.Time) (*nats.Msg, error) {
			tries <- struct{}{}
			return nil, fmt.Errorf("broken on purpose")
		})
	})
	w.put(given("bad", "evt_1", delivery.State{}))
	<-tries
	select {
	case <-tries:
		t.Error("tried again at once, want a pause")
	case <-time.After(2 * time.Second):
	}
	if n := w.deliver().NumAckPending; n != 1 {
		t.Errorf("%d deliveries pending, want the one that could not be settled", n)
	}
}

type lettersFunc func(*delivery.Delivery, string, delivery.Reason, time.Time) (*nats.Msg, error)

func (f lettersFunc) Letter(d *delivery.Delivery, url string, reason delivery.Reason, at time.Time) (*nats.Msg, error) {
	return f(d, url, reason, at)
}

// An event that was handed out twenty times kills workers.
func TestPoison(t *testing.T) {
	t.Parallel()
	for _, stream := range []string{"events", "deliveries"} {
		t.Run(stream, func(t *testing.T) {
			t.Parallel()
			w := newWorld(t, setting{})
			w.endpoint("crm")
			name, durable := w.names.Events(), "fanout"
			if stream == "deliveries" {
				w.put(given("crm", "evt_1", delivery.State{}))
				name, durable = w.names.Deliveries(), "deliver"
			} else {
				w.publish("order.created", "evt_1", "{}")
			}
			c, err := w.js.Consumer(w.ctx, name, durable)
			w.must(err)
			for range poisonous - 1 {
				m, err := c.Next()
				w.must(err)
				w.must(m.Nak())
			}
			w.run(8, time.Second)
			if got := w.dead(1); got[0].Reason != delivery.Poison || got[0].EventID != "evt_1" {
				t.Errorf("dead letter %+v, want poison", got[0])
			}
			w.settled()
			w.quiet()
		})
	}
}

// A body that does not fit beside the state is read from the event; where that
// is gone there is nothing to send.
func TestBodyInEvent(t *testing.T) {
	t.Parallel()
	w := newWorld(t, setting{})
	w.endpoint("crm")
	seq := w.publish("other.type", "evt_1", "the body")
	in := func(id string, seq uint64) {
		d := given("crm", id, delivery.State{})
		d.Event.Seq = seq
		m, err := d.Encode(w.names.Delivery("default", "acme", "crm"), 1)
		w.must(err)
		if len(m.Data) > 0 {
			t.Fatal("the body is in the delivery")
		}
		_, err = w.js.PublishMsg(w.ctx, m)
		w.must(err)
	}
	in("evt_1", seq)
	w.run(8, time.Second)
	if c := w.next(); c.body != "the body" {
		t.Errorf("sent %q, want the event's body", c.body)
	}
	in("evt_2", 999)
	if got := w.dead(1); got[0].EventID != "evt_2" || got[0].Reason != delivery.Expired {
		t.Errorf("dead letter %+v, want evt_2 expired", got[0])
	}
	w.settled()
	w.quiet()
}

// While the stream of events cannot be read, a delivery waits; however long
// that takes, it is no poison.
func TestBodyOutOfReach(t *testing.T) {
	t.Parallel()
	w := newWorld(t, setting{})
	w.endpoint("crm")
	d := given("crm", "evt_1", delivery.State{})
	m, err := d.Encode(w.names.Delivery("default", "acme", "crm"), 1)
	w.must(err)
	ack, err := w.js.PublishMsg(w.ctx, m)
	w.must(err)
	c, err := w.js.Consumer(w.ctx, w.names.Deliveries(), "deliver")
	w.must(err)
	for range waits - 1 {
		m, err := c.Next()
		w.must(err)
		w.must(m.Nak())
	}
	w.run(8, time.Second, func(worker *Worker) {
		worker.js = noStreams{w.js}
	})
	w.until("the delivery is stored anew", func() bool { return w.state(w.names.Deliveries()).FirstSeq > ack.Sequence })
	again := w.stored("webhooks.deliveries.default.acme.crm")
	if again.Header.Get(delivery.BodyHeader) != delivery.BodyInEvent || again.Header.Get(delivery.Header) == "" {
		t.Errorf("stored anew with %v, want it as it was", again.Header)
	}
	w.quiet()
}

// noStreams cannot read the stream of events when asked for a body.
type noStreams struct{ jetstream.JetStream }

func (n noStreams) Stream(ctx context.Context, name string) (jetstream.Stream, error) {
	s, err := n.JetStream.Stream(ctx, name)
	return noMessages{s}, err
}

type noMessages struct{ jetstream.Stream }

func (noMessages) GetMsg(context.Context, uint64, ...jetstream.GetMsgOpt) (*jetstream.RawStreamMsg, error) {
	return nil, jetstream.ErrJetStreamNotEnabled
}

// What is no delivery is set aside, and never loops.
func TestUnreadableIsSetAside(t *testing.T) {
	t.Parallel()
	for name, m := range map[string]*nats.Msg{
		"no header":     {Subject: "webhooks.deliveries.default.acme.crm", Data: []byte("what is this")},
		"broken header": {Subject: "webhooks.deliveries.default.acme.crm", Header: nats.Header{delivery.Header: {"{"}}},
		"odd subject":   {Subject: "webhooks.deliveries.default.ACME", Data: []byte("x")},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			w := newWorld(t, setting{})
			w.endpoint("crm")
			_, err := w.js.PublishMsg(w.ctx, m)
			w.must(err)
			w.run(4, time.Second)
			// The stream gives up a message a moment after the consumer has its ack.
			w.until("it is acked, and only the one aside is left", func() bool {
				d := w.deliver()
				return d.NumPending == 0 && d.NumAckPending == 0 && d.AckFloor.Stream > 0 && w.state(w.names.Deliveries()).Msgs == 1
			})
			aside := w.stored(w.names.Unreadable())
			if string(aside.Data) != string(m.Data) || aside.Header.Get(delivery.Header) != m.Header.Get(delivery.Header) {
				t.Errorf("set aside %q %v, want it as it came", aside.Data, aside.Header)
			}
			w.quiet()
		})
	}
}

// A receiver decides how long its errors are, and cannot make a history that
// NATS refuses.
func TestHistoryStaysStorable(t *testing.T) {
	t.Parallel()
	w := newWorld(t, setting{})
	long := strings.Repeat("<", 200) // six bytes each where JSON is escaped for HTML
	w.endpoint("crm", every(time.Millisecond, 80))
	w.answer(func(context.Context, call) delivery.Result { return delivery.Result{Status: 503, Error: long} })
	w.run(4, time.Second)
	state := delivery.State{Attempts: 77}
	for i := range delivery.MaxHistory {
		state.History = append(state.History, delivery.Attempt{Attempt: 14 + i, Status: 503, Error: long})
	}
	w.put(given("crm", "evt_1", state))
	l := w.dead(1)[0]
	if l.Reason != delivery.AttemptsExhausted || l.Attempts != 80 {
		t.Errorf("dead letter after %d attempts, %s; want 80, %s", l.Attempts, l.Reason, delivery.AttemptsExhausted)
	}
	if n := len(l.History); n == 0 || l.History[n-1].Attempt != 80 {
		t.Errorf("history of %d attempts, want the last of them", n)
	}
	w.settled()
}
