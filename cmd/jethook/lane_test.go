package main

import (
	"strings"
	"testing"

	"github.com/nats-io/nats.go/jetstream"

	"jethook/pkg/endpoint"
	"jethook/pkg/fleet"
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
		"bulk active (endpoints that name it) 1 ?",
		"urgent active *.auth.> *.bank.> 4 ?", // its consumers are still to be made
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
	w.knows(3, w.names.Events(), streams.FanoutOf("urgent"))
	w.knows(2, w.names.Deliveries(), streams.DeliverOf("urgent"))
	w.must(w.store.RemoveLane(w.ctx, "urgent"))
	out, _ = w.run(exitDone, "lane", "list")
	contains(t, strings.Join(rows(out), "\n"), "urgent draining *.auth.> *.bank.> 4 5")
	out, _ = w.run(exitDone, "lane", "list", "--json")
	contains(t, out, `{"id":"urgent","state":"draining","filters":["*.auth.>","*.bank.>"],"weight":4,"waiting":{"events":3,"deliveries":2}}`, `{"id":"bulk","state":"active","filters":[],`)
}

func TestLanesThatNobodyServes(t *testing.T) {
	w := startWorld(t)
	w.announces(oldMaster)
	file := w.file(`
lanes: [{id: urgent, filters: ["*.auth.>"]}, {id: bulk}]
endpoints:
  - {tenant: acme, id: erp, url: "https://erp.example.com/", events: [a], lane: blk}
  - {tenant: acme, id: shop, url: "https://shop.example.com/", events: [a], lane: bulk}
  - {tenant: acme, id: till, url: "https://till.example.com/", events: [a], lane: elsewhere}
`)
	_, stderr := w.run(exitDone, "endpoint", "apply", "-f", file) // without replicas nothing is wrong yet
	want := "jethook: acme/erp: there is no lane blk: its deliveries go through the default lane until there is one; did you mean bulk?\n" +
		"jethook: acme/till: there is no lane elsewhere: its deliveries go through the default lane until there is one\n"
	if stderr != want {
		t.Errorf("got\n%s\nwant\n%s", stderr, want)
	}
	lives := func() { w.member(fleet.Member{ID: "one", Endpoints: 1 << 40, Lanes: []string{"default"}}) }
	lives()
	_, stderr = w.run(exitDone, "endpoint", "apply", "-f", file)
	contains(t, stderr, "lane bulk: no live replica serves it", "lane urgent: no live replica serves it")
	if strings.Contains(stderr, "lane default: no") {
		t.Error(stderr)
	}
	w.must(w.store.RemoveLane(w.ctx, "bulk"))
	lives()
	out, _ := w.run(exitDone, "lane", "list")
	contains(t, strings.Join(rows(out), "\n"), "default active", "urgent not served *.auth.> 1 ?", "bulk draining, not served")
	lives()
	out, _ = w.run(exitDone, "lane", "list", "--json")
	contains(t, out, `"state":"not served","filters":["*.auth.>"],"weight":1,"waiting":{"events":null,"deliveries":null}}`)

	w.member(fleet.Member{ID: "two", Endpoints: 1 << 40})
	out, _ = w.run(exitDone, "lane", "list")
	contains(t, strings.Join(rows(out), "\n"), "urgent active", "bulk draining (")
}

// knows waits until a consumer counts n messages: it does a moment after they are
// stored.
func (w *world) knows(n int, stream, name string) {
	w.Helper()
	w.until("the consumer "+name+" knows of all", func() bool {
		c, err := w.js.Consumer(w.ctx, stream, name)
		w.must(err)
		return int(c.CachedInfo().NumPending)+c.CachedInfo().NumAckPending == n
	})
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
