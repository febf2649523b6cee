package main

import (
	"strings"
	"testing"

	"github.com/nats-io/nats.go/jetstream"

	"jethook/pkg/endpoint"
	"jethook/streams"
)

func TestLaneList(t *testing.T) {
	w := startWorld(t)
	for _, l := range []endpoint.Lane{
		{ID: "urgent", Filters: []string{"*.auth.>", "*.bank.>"}, Weight: 4},
		{ID: "bulk", Weight: 1},
	} {
		_, err := w.store.ApplyLane(w.ctx, l)
		w.must(err)
	}
	out, _ := w.run(exitDone, "lane", "list")
	contains(t, out, "ID", "State", "Filters", "Weight", "Waiting")
	want := []string{
		"default active (what is in no other) 1 -",
		"bulk active (endpoints that name it) 1 -",
		"urgent active *.auth.> *.bank.> 4 -", // its consumers are still to be made
	}
	if got := rows(out); strings.Join(got, "\n") != strings.Join(want, "\n") {
		t.Errorf("got\n%s\nwant\n%s", strings.Join(got, "\n"), strings.Join(want, "\n"))
	}

	w.consumer(w.names.Events(), streams.FanoutOf("urgent"), "webhooks.events.*.auth.>")
	w.consumer(w.names.Deliveries(), streams.DeliverOf("urgent"), w.names.Delivery("urgent", "*", "*"))
	for range 3 {
		_, err := w.js.Publish(w.ctx, "webhooks.events.acme.auth.login", nil)
		w.must(err)
	}
	w.lies(2, "acme/crm", w.names.Delivery("urgent", "acme", "crm"), 0)
	c, err := w.js.Consumer(w.ctx, w.names.Deliveries(), streams.DeliverOf("urgent"))
	w.must(err)
	_, err = c.Next() // it is being attempted
	w.must(err)
	w.must(w.store.RemoveLane(w.ctx, "urgent"))
	out, _ = w.run(exitDone, "lane", "list")
	contains(t, strings.Join(rows(out), "\n"), "urgent draining *.auth.> *.bank.> 4 5")
	out, _ = w.run(exitDone, "lane", "list", "--json")
	contains(t, out, `{"id":"urgent","state":"draining","filters":["*.auth.>","*.bank.>"],"weight":4,"waiting":{"events":3,"deliveries":2}}`, `{"id":"bulk","state":"active","filters":[],`)
}

func (w *world) consumer(stream, name, filter string) {
	w.Helper()
	_, err := w.js.CreateConsumer(w.ctx, stream, jetstream.ConsumerConfig{Durable: name, FilterSubject: filter, AckPolicy: jetstream.AckExplicitPolicy})
	w.must(err)
}

func TestLaneRemove(t *testing.T) {
	w := startWorld(t)
	_, err := w.store.ApplyLane(w.ctx, endpoint.Lane{ID: "urgent", Filters: []string{"*.auth.>"}, Weight: 4})
	w.must(err)
	draining := func() bool {
		lanes, _, err := w.store.Lanes(w.ctx)
		w.must(err)
		return lanes[0].Until > 0
	}
	_, stderr := w.run(exitUsage, "lane", "remove", "urgent")
	contains(t, stderr, "--yes")
	_, stderr = w.asked("n\n", exitFailed, "lane", "remove", "urgent")
	contains(t, stderr, "Remove lane urgent?", "still delivered", "nothing was removed")
	if draining() {
		t.Error("it was removed without a yes")
	}
	_, stderr = w.run(exitUsage, "lane", "remove", "default", "--yes")
	contains(t, stderr, "default")
	_, stderr = w.run(exitFailed, "lane", "remove", "urgnt", "--yes")
	contains(t, stderr, "did you mean urgent?")
	out, _ := w.asked("y\n", exitDone, "lane", "remove", "urgent")
	contains(t, out, "lane urgent draining")
	if !draining() {
		t.Error("it was not removed")
	}
}
