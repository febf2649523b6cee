package streams

import (
	"slices"
	"testing"

	"github.com/nats-io/nats-server/v2/server"
	"github.com/nats-io/nats.go/jetstream"
)

func TestLane(t *testing.T) {
	topology := testTopology(t, "acme-7")
	fanout, deliver := topology.Consumers[0], topology.Consumers[1]
	fanout.Config.Name, fanout.Config.Durable = "fanout_gold", "fanout_gold"
	fanout.Config.FilterSubject, fanout.Config.FilterSubjects = "", []string{"acme-7.events.*.auth.>", "acme-7.events.acme.>"}
	fanout.Config.DeliverPolicy, fanout.Config.OptStartSeq = jetstream.DeliverByStartSequencePolicy, 42
	deliver.Config.Name, deliver.Config.Durable = "deliver_gold", "deliver_gold"
	deliver.Config.FilterSubject = "acme-7.deliveries.gold.>"
	before := mustJSON(t, topology)

	want := Topology{Consumers: []Consumer{fanout, deliver}}
	got := topology.Lane("gold", []string{"acme.>", "*.auth.>", "acme.a.b", "acme.>", "x.auth.*"}, 42)
	if g, w := mustJSON(t, got), mustJSON(t, want); g != w {
		t.Errorf("got  %s\nwant %s", g, w)
	}
	if g, w := mustJSON(t, topology.Lane("gold", nil, 42)), mustJSON(t, Topology{Consumers: []Consumer{deliver}}); g != w {
		t.Errorf("without filters: got  %s\nwant %s", g, w)
	}
	if after := mustJSON(t, topology); after != before {
		t.Error("Lane changed the topology that it was asked of")
	}
	for floor, want := range map[uint64]uint64{0: 42, 10: 42, 41: 42, 99: 100} {
		if start := got.From("fanout_gold", floor).Consumers[0].Config.OptStartSeq; start != want {
			t.Errorf("behind %d it begins at %d, want %d", floor, start, want)
		}
	}
}

// The server takes a lane's consumers as they are, beside those of the default
// lane, and they read what is the lane's.
func TestEnsureLane(t *testing.T) {
	js := connect(t, startServer(t))
	topology, names, ctx := testTopology(t, ""), testNames(t, ""), testContext(t)
	ensure(t, topology, js)
	publish := func(subjects ...string) {
		t.Helper()
		for _, subject := range subjects {
			if _, err := js.Publish(ctx, subject, nil); err != nil {
				t.Fatal(err)
			}
		}
	}
	publish("webhooks.events.acme.early")
	lane := topology.Lane("gold", []string{"acme.>", "other.auth.>", "acme.auth.*"}, 2)
	want := []string{"create WEBHOOKS_EVENTS > fanout_gold: missing", "create WEBHOOKS_DELIVERIES > deliver_gold: missing"}
	if got := ensure(t, lane, js); !slices.Equal(got, want) {
		t.Errorf("did %q, want %q", got, want)
	}
	if got := ensure(t, lane, js); len(got) != 0 {
		t.Errorf("the second run found %q, want nothing", got)
	}
	publish("webhooks.events.acme.auth.a", "webhooks.events.other.auth.a", "webhooks.events.other.a",
		names.Delivery("gold", "acme", "crm"), names.Delivery("golden", "acme", "crm"), names.Delivery("default", "gold", "crm"))
	for i, want := range []uint64{2, 1} {
		c, err := js.Consumer(ctx, lane.Consumers[i].Stream, lane.Consumers[i].Config.Durable)
		if err != nil {
			t.Fatal(err)
		}
		// A consumer counts a message a moment after it was stored, and less never.
		got := c.CachedInfo().NumPending
		for got < want && ctx.Err() == nil {
			info, err := c.Info(ctx)
			if err != nil {
				t.Fatal(err)
			}
			got = info.NumPending
		}
		if got != want {
			t.Errorf("%s has %d to read, want %d", c.CachedInfo().Name, got, want)
		}
	}
	if _, err := topology.Lane("gold", []string{"acme.other.>"}, 2).Ensure(ctx, js); err == nil {
		t.Error("other filters were put over those in use")
	}
}

// Crossing, told from what the patterns match: every subject with one token more
// than they have, of an alphabet with a token that no pattern names.
func TestCrossing(t *testing.T) {
	subjects := products(4, "a", "b", "c")
	patterns := slices.DeleteFunc(products(3, "a", "b", "*", ">"), func(p string) bool {
		return !server.IsValidSubject(p)
	})
	for _, a := range patterns {
		for _, b := range patterns {
			var both, onlyA, onlyB bool
			for _, s := range subjects {
				inA, inB := server.SubjectMatchesFilter(s, a), server.SubjectMatchesFilter(s, b)
				both, onlyA, onlyB = both || inA && inB, onlyA || inA && !inB, onlyB || inB && !inA
			}
			if got, want := Crossing(a, b), both && onlyA && onlyB; got != want {
				t.Errorf("Crossing(%q, %q) = %v, want %v", a, b, got, want)
			}
			if got := covers(a, b); got && onlyB {
				t.Errorf("%q covers %q and does not match all that it matches", a, b)
			}
		}
	}
}

// products returns the subjects of one to most of the tokens.
func products(most int, tokens ...string) []string {
	all := slices.Clone(tokens)
	last := all
	for range most - 1 {
		var next []string
		for _, s := range last {
			for _, token := range tokens {
				next = append(next, s+"."+token)
			}
		}
		all, last = append(all, next...), next
	}
	return all
}
