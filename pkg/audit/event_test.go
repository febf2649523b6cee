package audit

import (
	"context"
	"errors"
	"strings"
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
	all, err := w.Event(w.ctx, id, false)
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
	w.log.Matched(&e, []string{"done", "sched", "held", "dead", "purged", "buried", "hand", "lost", "removed"}, []string{"turn", "left", "over"})
	w.attempt(e, "done", 503)
	w.attempt(e, "done", 200)
	sched := w.attempt(e, "sched", 503)
	sched.State.Due = time.Now().Add(time.Hour).UTC().Truncate(time.Second)
	w.store(sched, n.Scheduled("acme", "sched", "e-1", sched.State.Origin))
	held := delivery.New(e, "held")
	w.store(&held, n.Held("acme", "held", streams.HeldNew))
	w.bury(w.attempt(e, "dead", 400))
	w.log.Dead(w.attempt(e, "purged", 400), delivery.Rejected)
	w.log.Dead(w.attempt(e, "buried", 400), delivery.Rejected)
	c := streams.Ordered(n, "acme", "turn", []string{">"}, 1)
	_, err := w.js.CreateConsumer(w.ctx, c.Stream, c.Config)
	w.must(err)
	states := func() map[string]State {
		got := map[string]State{}
		for _, d := range w.story("e-1").Deliveries {
			got[d.Endpoint] = d.State
		}
		return got
	}
	if got := states(); got["hand"] != Waiting || got["lost"] != Waiting || got["over"] != Waiting {
		t.Errorf("while a replica has it in hand: %v", got)
	}
	w.ackAll()
	w.must(w.Auditor.log.Discard(w.ctx, "acme", "removed"))
	w.must(w.Auditor.log.Discard(w.ctx, "acme", "left"))
	w.must(w.Auditor.log.DiscardLetters(w.ctx, []string{"acme/purged", "acme/lost"}))
	want := map[string]State{"done": Delivered, "sched": Waiting, "held": Held, "dead": Dead, "purged": Discarded, "buried": Unaccounted,
		"hand": Unaccounted, "lost": Unaccounted, "removed": Discarded, "turn": Waiting, "left": Discarded, "over": Unaccounted}
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
			if len(records) != 2 || records[0].Status != 503 || records[1].Status != 200 || records[1].EventType != "order.created" || d.Since.IsZero() {
				t.Errorf("done has %+v since %s", records, d.Since)
			}
		case "sched":
			if !d.Due.Equal(sched.State.Due) {
				t.Errorf("sched is due %s", d.Due)
			}
		case "dead":
			if d.DeadSeq != 1 || d.Reason != delivery.Rejected || d.Since.IsZero() {
				t.Errorf("dead is %+v", d)
			}
		case "purged":
			if d.DeadSeq != 0 || d.Reason != delivery.Rejected {
				t.Errorf("purged is %+v", d)
			}
		case "turn":
			if !d.Ordered {
				t.Errorf("turn is %+v", d)
			}
		}
	}
	// Replayed, it waits again.
	again := delivery.New(e, "dead")
	w.store(&again, n.Delivery("default", "acme", "dead"))
	w.exhumed(1)
	if got := states(); got["dead"] != Waiting {
		t.Errorf("a replayed one is %v", got["dead"])
	}
	// Sent from the history to one that has it, and to one that it was not for.
	w.bury(w.attempt(e, "done", 400))
	w.attempt(e, "extra", 200)
	w.store(w.attempt(e, "further", 503), n.Delivery("default", "acme", "further"))
	if got := states(); got["done"] != Dead || got["extra"] != Delivered || got["further"] != Waiting {
		t.Errorf("of what was sent again: %v", got)
	}
}

// What is nowhere is looked for once more: it may be on its way.
func TestADeliveryOnItsWay(t *testing.T) {
	w := newWorld(t)
	e := w.publish("e-1")
	w.log.Matched(&e, []string{"crm"}, nil)
	w.ackAll()
	looks := 0
	w.settle = func(context.Context) error {
		looks++
		w.attempt(e, "crm", 200)
		w.log.Flush(w.ctx)
		return nil
	}
	if s := w.story("e-1"); s.Deliveries[0].State != Delivered || looks != 1 {
		t.Errorf("after another look it is %+v", s.Deliveries)
	}
}

// Where the log knows nothing of an event, it is found by what else there is.
func TestEventsWithoutALedger(t *testing.T) {
	w := newWorld(t)
	n := w.names
	dead, sched, plain, gone := w.publish("dead"), w.publish("sched"), w.publish("plain"), w.publish("gone")
	for _, e := range []event.Event{dead, gone} {
		w.bury(w.attempt(e, "crm", 400))
	}
	d := delivery.New(sched, "crm")
	w.store(&d, n.Scheduled("acme", "crm", "sched", d.State.Origin))
	w.log.Flush(w.ctx)
	w.ackAll()
	log, err := w.js.Stream(w.ctx, n.Attempts())
	w.must(err)
	w.must(log.Purge(w.ctx))
	events, err := w.js.Stream(w.ctx, n.Events())
	w.must(err)
	w.must(events.DeleteMsg(w.ctx, gone.Seq))
	look := func() {
		t.Helper()
		for id, want := range map[string]State{"dead": Dead, "sched": Waiting, "plain": "", "gone": Dead} {
			s := w.story(id)
			if !s.Unlogged || s.Unmatched || s.Gone != (id == "gone") || s.Event.Tenant != "acme" || len(s.Deliveries) > 1 {
				t.Errorf("of %s it is said %+v", id, s)
			}
			for _, d := range s.Deliveries {
				if d.State != want || want == Dead && (d.DeadSeq == 0 || d.Reason != delivery.Rejected || d.Since.IsZero()) {
					t.Errorf("%s is %+v, want %s", id, d, want)
				}
			}
			if (len(s.Deliveries) == 0) != (want == "") {
				t.Errorf("of %s it is said %+v", id, s.Deliveries)
			}
		}
	}
	look()
	later := w.publish("later")
	w.log.Matched(&later, nil, nil)
	w.log.Flush(w.ctx)
	look() // in what was published before the log begins
	unknown, ok := errors.AsType[*UnknownError](func() error { _, err := w.Event(w.ctx, "never", false); return err }())
	if !ok || unknown.Log.IsZero() || !unknown.Events.IsZero() || !plain.Time.Before(unknown.Log) {
		t.Errorf("of one that there never was it is said %v", unknown)
	}
}

// Of events with the same id that are far apart the newest are told of, unless all are
// asked for.
func TestEventsFarApart(t *testing.T) {
	w := newWorld(t)
	first := w.publish("same")
	w.log.Matched(&first, []string{"crm"}, nil)
	w.attempt(first, "crm", 200)
	w.log.Flush(w.ctx)
	second := first
	second.Seq = 2
	w.log.Matched(&second, nil, nil)
	w.log.Flush(w.ctx)
	w.ackAll()
	lines, err := w.js.Stream(w.ctx, w.names.Attempts())
	w.must(err)
	last, err := lines.GetMsg(w.ctx, lines.CachedInfo().State.LastSeq)
	w.must(err)
	w.recent = func(time.Time) []time.Time { return []time.Time{last.Time.Add(skew)} }
	for all, want := range map[bool]int{false: 1, true: 2} {
		if got, err := w.Event(w.ctx, "same", all); err != nil || len(got) != want || got[want-1].Event.Seq != 2 {
			t.Errorf("all %v: %+v, %v", all, got, err)
		}
	}
	// One of which only the end is recent is told of as a whole.
	w.attempt(first, "crm", 200)
	w.log.Flush(w.ctx)
	if got, err := w.Event(w.ctx, "same", false); err != nil || len(got) != 2 || len(got[0].Deliveries[0].Attempts) != 2 {
		t.Errorf("%+v, %v", got, err)
	}
}

// An event is found by its id before any replica has read it, whoever made the id.
func TestUnreadEvents(t *testing.T) {
	w := newWorld(t)
	given := w.publish("given")
	ack, err := w.js.PublishMsg(w.ctx, &nats.Msg{Subject: "webhooks.events.acme.x"})
	w.must(err)
	w.learned(ack.Sequence)
	made, err := w.read(w.ctx, ack.Sequence)
	w.must(err)
	for _, e := range []event.Event{given, made} {
		if s := w.story(e.ID); !s.Unmatched || s.Event.Seq != e.Seq {
			t.Errorf("of %s it is said %+v", e.ID, s)
		}
	}
	for _, id := range []string{"other", "evt_x_1", "evt_dn5or6tmnepz_zz"} {
		_, err := w.Event(w.ctx, id, false)
		if _, ok := errors.AsType[*UnknownError](err); !ok {
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
	all, err := w.Event(w.ctx, "same", false)
	w.must(err)
	if len(all) != 2 || all[0].Event.Tenant != "acme" || all[1].Event.Tenant != "else" || !all[1].Gone || !all[1].Deliveries[0].Ordered {
		t.Errorf("got %+v", all)
	}
	w.log.Matched(&event.Event{ID: "nobody", Seq: 9, Tenant: "acme"}, nil, nil)
	if s := w.story("nobody"); s.Unmatched || len(s.Deliveries) != 0 {
		t.Errorf("of one that nobody wanted it is said %+v", s)
	}
}

// However far a replica's clock is from that of NATS, each attempt is told of with what
// was answered to it.
func TestAttemptsByAnotherClock(t *testing.T) {
	for _, ahead := range []time.Duration{-time.Hour, -10 * time.Second, 0, 10 * time.Second, time.Hour} {
		w := newWorld(t)
		e := w.publish("e-1")
		w.log.Matched(&e, []string{"crm"}, nil)
		now := time.Now().Add(ahead)
		for i, status := range []int{503, 500, 200} {
			w.attemptAt(now.Add(time.Duration(i)*time.Millisecond), e, "crm", status)
			w.log.Flush(w.ctx)
		}
		s := w.story("e-1")
		var said []string
		for r, err := range w.Attempts(w.ctx, &s.Event, &s.Deliveries[0]) {
			w.must(err)
			said = append(said, r.Body)
		}
		if got := strings.Join(said, " "); got != "503 500 200" {
			t.Errorf("of attempts by a clock that is %s ahead it is said %q", ahead, got)
		}
	}
}
