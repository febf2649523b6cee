package worker

import (
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"jethook/pkg/delivery"
	"jethook/pkg/endpoint"
	"jethook/pkg/event"
	"jethook/pkg/notify"
	"jethook/streams"
)

// listener notes what owners are to be told.
type listener struct {
	mu     sync.Mutex
	buried []string
	heard  []string
}

func (l *listener) Buried(d *delivery.Delivery, reason delivery.Reason) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.buried = append(l.buried, d.Name()+" "+d.Event.ID+" "+string(reason))
}

func (l *listener) Heard(e event.Event, about string) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.heard = append(l.heard, e.Type+" "+e.ID+" "+about)
}

func (l *listener) has() (buried, heard []string) {
	l.mu.Lock()
	defer l.mu.Unlock()
	slices.Sort(l.buried)
	slices.Sort(l.heard)
	return slices.Clone(l.buried), slices.Clone(l.heard)
}

func listen(to *listener) func(*Worker) { return func(w *Worker) { w.words = to } }

// publishAbout publishes an event about an endpoint.
func (w *world) publishAbout(eventType, id, about string) {
	w.Helper()
	m := nats.NewMsg("webhooks.events.acme." + eventType)
	m.Header.Set(jetstream.MsgIDHeader, id)
	m.Header.Set(notify.About, about)
	_, err := w.js.PublishMsg(w.ctx, m)
	w.must(err)
}

func TestAnEndpointIsNotToldOfItself(t *testing.T) {
	w := newWorld(t, setting{})
	wants := func(d *endpoint.Document) { d.Events = []string{streams.EndpointFailing, "order.created"} }
	for _, id := range []string{"a", "b"} {
		w.endpoint(id, wants)
	}
	w.endpoint("c", wants, inOrderOf)
	w.endpoint("d", wants, inOrderOf)
	l := &listener{}
	w.run(8, time.Second, listen(l))
	w.publishAbout(streams.EndpointFailing, "about-a", "a")
	w.publishAbout(streams.EndpointFailing, "about-c", "c")
	w.publishAbout("order.created", "order", "c") // whoever publishes may say so, of which nothing follows
	var got []string
	for range 10 {
		c := w.next()
		got = append(got, c.endpoint+" "+c.event)
	}
	slices.Sort(got)
	want := []string{"a about-c", "a order", "b about-a", "b about-c", "b order", "c about-a", "c order", "d about-a", "d about-c", "d order"}
	if !slices.Equal(got, want) {
		t.Errorf("attempts are %q, want %q", got, want)
	}
	w.settled()
	w.quiet()
	if _, heard := l.has(); !slices.Equal(heard, []string{streams.EndpointFailing + " about-a a", streams.EndpointFailing + " about-c c"}) {
		t.Errorf("it is heard of %q", heard)
	}
}

// Whoever gives a delivery up, and for what reason: it is heard of once.
func TestEveryDeadLetterIsHeardOf(t *testing.T) {
	w := newWorld(t, setting{})
	w.endpoint("crm")
	w.endpoint("held", func(d *endpoint.Document) {
		d.Events, d.Paused, d.ExpireAfter = []string{"held"}, true, endpoint.Duration(time.Second)
	})
	w.answer(status(400))
	l := &listener{}
	w.run(4, time.Second, listen(l))
	w.publish("order.created", "refused", "{}")
	w.publish("held", "expired", "{}")
	w.dead(2)
	w.until("both are heard of", func() bool { buried, _ := l.has(); return len(buried) == 2 })
	if buried, _ := l.has(); !slices.Equal(buried, []string{"acme/crm refused rejected", "acme/held expired expired"}) {
		t.Errorf("it is heard of %q", buried)
	}
}
