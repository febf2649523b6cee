package worker

import (
	"context"
	"errors"
	"fmt"
	"strconv"
	"testing"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"jethook/pkg/delivery"
	"jethook/pkg/endpoint"
	"jethook/streams"
)

// Consumers that somebody deleted are made again where they were: not one of a
// week's events is delivered again, whichever is found missing first.
func TestDeletedConsumers(t *testing.T) {
	t.Parallel()
	for _, deleted := range [][]string{{streams.Fanout}, {streams.Deliver}, {streams.Fanout, streams.Deliver}, {streams.Deliver, streams.Fanout}} {
		t.Run(fmt.Sprint(deleted), func(t *testing.T) {
			t.Parallel()
			w := newWorld(t, setting{})
			w.endpoint("crm")
			r := w.run(8, time.Second)
			w.publishMany("order.created", "old_", 50)
			w.settled()
			w.until("the floor is known", func() bool { return r.main().fanout.floor.Load() == 50 })
			for range 50 {
				w.next()
			}
			for _, durable := range deleted {
				stream := map[string]string{streams.Fanout: w.names.Events(), streams.Deliver: w.names.Deliveries()}[durable]
				w.must(w.js.DeleteConsumer(w.ctx, stream, durable))
			}
			w.publishMany("order.created", "new_", 10)
			w.put(given("crm", "retry", delivery.State{}))
			met := map[string]int{}
			for range 11 {
				met[w.next().event]++
			}
			w.settled()
			w.quiet()
			if len(met) != 11 || met["retry"] != 1 || met["new_9"] != 1 {
				t.Errorf("attempts %v, want the ten new events and the retry", met)
			}
			w.until("both run again", r.Running)
		})
	}
}

// A stream of events that was deleted and made again, by whomever, is read from
// its start: its sequences begin anew, below the floor of the old one.
func TestDeletedEvents(t *testing.T) {
	t.Parallel()
	for _, by := range []string{"the worker", "an operator"} {
		t.Run("made again by "+by, func(t *testing.T) {
			t.Parallel()
			w := newWorld(t, setting{})
			w.endpoint("crm")
			r := w.run(8, time.Second)
			w.publishMany("order.created", "old_", 50)
			w.settled()
			w.until("the floor is known", func() bool { return r.main().fanout.floor.Load() == 50 })
			for range 50 {
				w.next()
			}
			w.must(w.js.DeleteStream(w.ctx, w.names.Events()))
			if by == "an operator" {
				_, err := w.js.CreateStream(w.ctx, w.topology.Streams[0])
				w.must(err)
			}
			w.publishWhenPossible("evt_1")
			w.publishMany("order.created", "new_", 10)
			for range 11 {
				w.next()
			}
			w.settled()
			w.quiet()
		})
	}
}

func (w *world) publishWhenPossible(id string) {
	w.Helper()
	m := nats.NewMsg("webhooks.events.acme.order.created")
	m.Header.Set(jetstream.MsgIDHeader, id)
	w.until("an event can be published", func() bool {
		ctx, cancel := context.WithTimeout(w.ctx, time.Second)
		defer cancel()
		_, err := w.js.PublishMsg(ctx, m)
		return err == nil
	})
}

// Streams that are needed to settle are made again even when every slot waits
// for them.
func TestDeletedStreamsWhileAllSlotsWait(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		stream func(streams.Names) string
		answer int
		want   string
	}{
		{streams.Names.Deliveries, 408, "deliveries"},
		{streams.Names.DeadLetters, 400, "dead letters"},
	} {
		t.Run(c.want, func(t *testing.T) {
			t.Parallel()
			w := newWorld(t, setting{})
			w.endpoint("crm", every(5*time.Millisecond, 2))
			const slots = 4
			release := make(chan struct{})
			w.answer(func(ctx context.Context, _ call) delivery.Result {
				over(ctx, release)
				return delivery.Result{Status: c.answer}
			})
			w.run(slots, time.Second)
			w.publishMany("order.created", "before_", slots/2) // as many as one endpoint may have
			for range slots / 2 {
				w.next()
			}
			w.must(w.js.DeleteStream(w.ctx, c.stream(w.names)))
			w.publishMany("order.created", "evt_", 3*slots-slots/2)
			close(release)
			w.until("the stream is there again", func() bool {
				_, err := w.js.Stream(w.ctx, c.stream(w.names))
				return err == nil
			})
			w.dead(3 * slots)
			w.settled()
		})
	}
}

// The bucket of open gates is made again when it is gone. Without it a failing
// endpoint would get no attempt and no probe for ever.
func TestDeletedGates(t *testing.T) {
	t.Parallel()
	for name, open := range map[string]bool{"before a gate opens": false, "while a gate is open": true} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			w := newWorld(t, setting{})
			w.endpoint("crm", every(200*time.Millisecond, 1000))
			var far farSide
			far.down.Store(true)
			w.answer(far.answer)
			r := w.run(8, time.Second)
			const n = 10
			fails := func() {
				w.publishMany("order.created", "evt_", n)
				w.until("the gate is open", func() bool { return r.gateOf(w.endpoints.Get("acme", "crm")).IsOpen() })
			}
			if open {
				fails()
			}
			w.must(w.js.DeleteKeyValue(w.ctx, w.names.GatesBucket()))
			if !open {
				fails()
			}
			w.until("the bucket is there again", func() bool {
				_, err := w.js.KeyValue(w.ctx, w.names.GatesBucket())
				return err == nil
			})
			far.down.Store(false)
			w.until("everything has arrived", func() bool { return far.distinct() == n })
		})
	}
}

// The server is stopped and started again under load: nothing is lost.
func TestServerRestart(t *testing.T) {
	t.Parallel()
	w := newWorld(t, setting{restarts: true})
	w.endpoint("good")
	w.endpoint("flaky", every(50*time.Millisecond, 10))
	const n = 1500
	got := map[string]map[string]bool{"good": {}, "flaky": {}}
	w.answer(func(_ context.Context, c call) delivery.Result {
		if c.endpoint == "flaky" && c.number < 3 && len(c.event)%2 == 0 {
			return delivery.Result{Status: 408}
		}
		return delivery.Result{Status: 200}
	})
	w.run(16, time.Second)
	nc, err := nats.Connect(w.server.ClientURL(), nats.MaxReconnects(-1), nats.ReconnectWait(20*time.Millisecond))
	w.must(err)
	defer nc.Close()
	js, err := jetstream.New(nc)
	w.must(err)
	published := make(chan error, 1)
	half := make(chan struct{})
	go func() {
		for i := range n {
			if i == n/3 {
				close(half)
			}
			m := nats.NewMsg("webhooks.events.acme.order.created")
			m.Header.Set(jetstream.MsgIDHeader, "evt_"+strconv.Itoa(i))
			for {
				ctx, cancel := context.WithTimeout(w.ctx, time.Second)
				_, err := js.PublishMsg(ctx, m)
				cancel()
				if err == nil {
					break
				}
				if w.ctx.Err() != nil {
					published <- err
					return
				}
			}
		}
		published <- nil
	}()
	<-half
	w.restart()
	w.must(<-published)
	w.settled()
	for range len(w.sender.calls) {
		c := w.next()
		got[c.endpoint][c.event] = true
	}
	if len(got["good"]) != n || len(got["flaky"]) != n {
		t.Errorf("%d and %d events arrived, want %d", len(got["good"]), len(got["flaky"]), n)
	}
	if s := w.state(w.names.DeadLetters()); s.Msgs != 0 {
		t.Errorf("%d dead letters, want none", s.Msgs)
	}
}

// The connection is cut again and again under load: nothing is lost.
func TestConnectionCut(t *testing.T) {
	t.Parallel()
	w := newWorld(t, setting{ackWait: 2 * time.Second})
	w.endpoint("crm", every(20*time.Millisecond, 20))
	w.answer(func(_ context.Context, c call) delivery.Result {
		if c.number == 1 {
			return delivery.Result{Status: 408}
		}
		return delivery.Result{Status: 200}
	})
	p := newProxy(w)
	_, js := w.connect(p.url())
	w.runOn(js, 16, time.Second)
	const n = 500
	for i := range 5 {
		w.publishMany("order.created", fmt.Sprintf("evt_%d_", i), n/5)
		w.next()
		p.cut()
	}
	w.settled()
	if s := w.state(w.names.DeadLetters()); s.Msgs != 0 {
		t.Errorf("%d dead letters, want none", s.Msgs)
	}
}

// What cannot be made again is tried for as long as it takes.
func TestRestoreFails(t *testing.T) {
	t.Parallel()
	w := newWorld(t, setting{})
	w.endpoint("crm")
	tried := make(chan map[string]uint64, 1000)
	allow := make(chan struct{})
	restore := Restorer(w.js, w.topology, w.endpoints.Lanes)
	r := w.run(4, time.Second, func(worker *Worker) {
		worker.restore = func(ctx context.Context, floors map[string]uint64) error {
			tried <- floors
			select {
			case <-allow:
				return restore(ctx, floors)
			default:
				return errors.New("not allowed")
			}
		}
	})
	w.must(w.js.DeleteConsumer(w.ctx, w.names.Events(), streams.Fanout))
	<-tried
	<-tried
	if r.Running() {
		t.Error("claims to run without a consumer")
	}
	close(allow)
	w.until("it runs again", r.Running)
	w.publish("order.created", "evt_1", "{}")
	w.next()
	w.settled()
}

var _ Endpoints = (*endpoint.Registry)(nil)
