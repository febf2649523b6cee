package audit

import (
	"errors"
	"testing"
	"time"

	"github.com/nats-io/nats.go"

	"jethook/pkg/attempt"
	"jethook/pkg/delivery"
	"jethook/pkg/event"
	"jethook/streams"
)

func (w *world) story(id string) Story {
	w.Helper()
	w.log.Flush(w.ctx)
	all, err := w.Event(w.ctx, id)
	w.must(err)
	if len(all) != 1 {
		w.Fatalf("%d events with the id %s", len(all), id)
	}
	return all[0]
}

// Wherever a delivery of an event stands, it is said.
func TestWhereEachDeliveryStands(t *testing.T) {
	w := newWorld(t)
	n := w.names
	e := w.publish("e-1")
	w.log.Matched(&e, []string{"done", "sched", "held", "dead", "purged", "hand", "lost"}, nil)
	w.attempt(e, "done", 503)
	w.attempt(e, "done", 200)
	sched := w.attempt(e, "sched", 503)
	sched.State.Due = time.Now().Add(time.Hour).UTC().Truncate(time.Second)
	w.store(sched, n.Scheduled("acme", "sched", "e-1", sched.State.Origin))
	held := delivery.New(e, "held")
	w.store(&held, n.Held("acme", "held", streams.HeldNew))
	w.bury(w.attempt(e, "dead", 400))
	w.log.Dead(w.attempt(e, "purged", 400), delivery.Rejected)
	states := func() map[string]State {
		got := map[string]State{}
		for _, d := range w.story("e-1").Deliveries {
			got[d.Endpoint] = d.State
		}
		return got
	}
	if got := states(); got["hand"] != Waiting || got["lost"] != Waiting {
		t.Errorf("while a replica has it in hand: %v", got)
	}
	w.ackAll()
	want := map[string]State{"done": Delivered, "sched": Waiting, "held": Held, "dead": Dead, "purged": Dead, "hand": Unaccounted, "lost": Unaccounted}
	for endpoint, state := range states() {
		if state != want[endpoint] {
			t.Errorf("%s is %s, want %s", endpoint, state, want[endpoint])
		}
	}
	s := w.story("e-1")
	if string(s.Event.Body) != "{}" || s.Event.Type != "order.created" || len(s.Deliveries) != len(want) {
		t.Errorf("the story is %+v", s)
	}
	for _, d := range s.Deliveries {
		var records []attempt.Record
		for r, err := range w.Attempts(w.ctx, &s.Event, &d) {
			w.must(err)
			records = append(records, r)
		}
		switch d.Endpoint {
		case "done":
			if len(records) != 2 || records[0].Status != 503 || records[1].Status != 200 || records[1].EventType != "order.created" {
				t.Errorf("done has %+v", records)
			}
		case "sched":
			if !d.Due.Equal(sched.State.Due) {
				t.Errorf("sched is due %s", d.Due)
			}
		case "dead":
			if d.DeadSeq != 1 || d.Reason != delivery.Rejected {
				t.Errorf("dead is %+v", d)
			}
		case "purged":
			if d.DeadSeq != 0 {
				t.Errorf("purged is %+v", d)
			}
		}
	}
	// Replayed, it waits again.
	again := delivery.New(e, "dead")
	w.store(&again, n.Delivery("default", "acme", "dead"))
	if got := states(); got["dead"] != Waiting {
		t.Errorf("a replayed one is %v", got["dead"])
	}
}

// An event is found by its id before any replica has read it, whoever made the id.
func TestUnreadEvents(t *testing.T) {
	w := newWorld(t)
	given := w.publish("given")
	ack, err := w.js.PublishMsg(w.ctx, &nats.Msg{Subject: "webhooks.events.acme.x"})
	w.must(err)
	made, err := w.read(w.ctx, ack.Sequence)
	w.must(err)
	for _, e := range []event.Event{given, made} {
		if s := w.story(e.ID); !s.Unmatched || s.Event.Seq != e.Seq {
			t.Errorf("of %s it is said %+v", e.ID, s)
		}
	}
	for _, id := range []string{"other", "evt_x_1", "evt_dn5or6tmnepz_zz"} {
		if _, err := w.Event(w.ctx, id); !errors.Is(err, ErrUnknown) {
			t.Errorf("%s: %v", id, err)
		}
	}
	w.ackAll()
	if s := w.story(made.ID); s.Event.Seq != made.Seq {
		t.Errorf("of an event without a line it is said %+v", s)
	}
}

// Two tenants may use the same id, and one that is gone from its stream is told of
// as far as the log knows it.
func TestTheSameIDTwice(t *testing.T) {
	w := newWorld(t)
	first := w.publish("same")
	w.log.Matched(&first, []string{"crm"}, nil)
	w.attempt(first, "crm", 200)
	other := first
	other.Tenant, other.Seq = "else", 7
	w.log.Matched(&other, nil, []string{"erp"})
	w.log.Flush(w.ctx)
	w.ackAll()
	all, err := w.Event(w.ctx, "same")
	w.must(err)
	if len(all) != 2 || all[0].Event.Tenant != "acme" || all[1].Event.Tenant != "else" || !all[1].Gone || !all[1].Deliveries[0].Ordered {
		t.Errorf("got %+v", all)
	}
	w.log.Matched(&event.Event{ID: "nobody", Seq: 9, Tenant: "acme"}, nil, nil)
	if s := w.story("nobody"); s.Unmatched || len(s.Deliveries) != 0 {
		t.Errorf("of one that nobody wanted it is said %+v", s)
	}
}
