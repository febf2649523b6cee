package endpoint

import (
	"errors"
	"strings"
	"testing"
)

func TestOrderedFrom(t *testing.T) {
	kv, s, at := laneStore(t)
	ctx := testContext(t)
	d := testDocument()
	from := func() uint64 { return getCRM(t, s).OrderedFrom }
	at.last = 10
	apply(t, s, d)
	if from() != 0 {
		t.Errorf("an endpoint that is not ordered is so from %d", from())
	}
	d.Ordered, d.OrderedFrom = true, 3 // nobody else says from when
	apply(t, s, d)
	if from() != 11 {
		t.Errorf("switched on it is ordered from %d, want 11", from())
	}
	at.last, d.OrderedFrom = 20, 0
	if applied := apply(t, s, d); applied.Result != Unchanged {
		t.Errorf("the same again: %s", applied.Result)
	}
	d.Description = "changed"
	apply(t, s, d)
	if _, err := s.Update(ctx, "acme/crm", func(d *Document) error { d.Paused, d.OrderedFrom = true, 5; return nil }); err != nil {
		t.Fatal(err)
	}
	if from() != 11 {
		t.Errorf("changed it is ordered from %d, want 11 still", from())
	}
	entry, err := kv.Get(ctx, "acme.crm")
	if err != nil {
		t.Fatal(err)
	}
	put(t, kv, "acme.crm", strings.Replace(string(entry.Value()), `"tenant"`, `"unheard_of":1,"tenant"`, 1))
	if apply(t, s, d); from() != 11 {
		t.Errorf("mended it is ordered from %d, want 11 still", from())
	}
	d.Ordered = false
	if apply(t, s, d); from() != 0 {
		t.Errorf("switched off it is ordered from %d", from())
	}
	updated, err := s.Update(ctx, "acme/crm", func(d *Document) error { d.Ordered = true; return nil })
	if err != nil || updated.OrderedFrom != 21 || from() != 21 {
		t.Errorf("switched on again it is ordered from %d, %v, want 21", from(), err)
	}
}

// What an ordered endpoint is to get changes with the next event, and with none
// before it.
func TestEventsFrom(t *testing.T) {
	kv, s, at := laneStore(t)
	ctx := testContext(t)
	d := testDocument()
	d.EventsFrom = 3 // nobody else says from when
	at.last = 5
	apply(t, s, d)
	is := func(what string, ordered, events uint64) {
		t.Helper()
		if got := getCRM(t, s); got.OrderedFrom != ordered || got.EventsFrom != events {
			t.Errorf("%s: ordered from %d, its events from %d, want %d and %d", what, got.OrderedFrom, got.EventsFrom, ordered, events)
		}
	}
	is("not ordered", 0, 0)
	at.last, d.Ordered, d.Events = 10, true, []string{"wa"}
	apply(t, s, d)
	is("switched on", 11, 11)
	at.last, d.Description = 20, "changed"
	if apply(t, s, d); at.asked != "" {
		t.Error("a change of something else asks for consumers")
	}
	is("changed otherwise", 11, 11)
	d.Events = []string{"wa", "wb"}
	if apply(t, s, d); at.asked != "acme/crm [wa] since 11" {
		t.Errorf("a change of its events asks whether there is the consumer of %q", at.asked)
	}
	is("one type more", 11, 21)
	if applied := apply(t, s, d); applied.Result != Unchanged {
		t.Errorf("the same again: %s", applied.Result)
	}
	if _, err := s.Update(ctx, "acme/crm", func(d *Document) error { d.Events = []string{"wb"}; return nil }); err != nil {
		t.Fatal(err)
	}
	is("one type less, and no event since", 11, 21)
	d.Events, at.last = []string{"wb"}, 30
	entry, err := kv.Get(ctx, "acme.crm")
	if err != nil {
		t.Fatal(err)
	}
	put(t, kv, "acme.crm", strings.Replace(string(entry.Value()), `"tenant"`, `"unheard_of":1,"tenant"`, 1))
	apply(t, s, d)
	is("mended, and nobody knows what was in force", 11, 31)
	d.Ordered = false
	if apply(t, s, d); at.asked != "acme/crm [wb] since 31" {
		t.Errorf("switched off asks whether there is the consumer of %q", at.asked)
	}
	is("switched off", 0, 0)
}

// A change of an ordered endpoint's events is refused before a replica made the
// consumer for those it has, unless there is nothing to be handed out; what comes
// while that is found out is not forgotten.
func TestEventsChangedWithoutConsumer(t *testing.T) {
	_, s, at := laneStore(t)
	d := testDocument()
	d.Ordered, d.Events, at.last = true, []string{"wa"}, 10
	apply(t, s, d)
	at.unserved = true
	d.Events = []string{"wb"}
	at.stored = func() { at.last = 11 }
	if apply(t, s, d); getCRM(t, s).EventsFrom != 11 {
		t.Errorf("it has its events from %d, and event 11 was nobody's yet", getCRM(t, s).EventsFrom)
	}
	d.Events = []string{"wc"}
	if _, err := s.Apply(testContext(t), d); err == nil || !strings.Contains(err.Error(), "since event 11 waits") {
		t.Errorf("changed with an event that nobody has handed out: %v", err)
	}
	s.madeWithin, at.served = madeWithin, true // a replica does so by and by
	if apply(t, s, d); getCRM(t, s).EventsFrom != 12 {
		t.Errorf("it has its events from %d, want 12", getCRM(t, s).EventsFrom)
	}
}

// TestOrderedWithoutConsumer ends ordered endpoints whose consumers were never
// made: what waits for them is nowhere but in the stream of events.
func TestOrderedWithoutConsumer(t *testing.T) {
	_, s, at := laneStore(t)
	at.last, at.unserved = 10, true
	d := testDocument()
	d.Ordered = true
	apply(t, s, d)
	refused := func(what string, err error) {
		t.Helper()
		if err == nil || !strings.Contains(err.Error(), "since event 11 waits") {
			t.Errorf("%s with an event that nobody has handed out: %v", what, err)
		}
		if got := getCRM(t, s); got.OrderedFrom != 11 {
			t.Errorf("%s: it is ordered from %d, want 11 still", what, got.OrderedFrom)
		}
	}
	at.last = 11
	d.Ordered = false
	_, err := s.Apply(testContext(t), d)
	refused("switched off", err)
	refused("removed", s.Remove(testContext(t), "acme/crm"))

	at.last = 10 // nothing was published since
	apply(t, s, d)
	d.Ordered, at.last = true, 10
	apply(t, s, d)
	at.last, at.unserved = 11, false
	if err := s.Remove(testContext(t), "acme/crm"); err != nil {
		t.Error(err)
	}
}

func TestMostOrdered(t *testing.T) {
	kv, s, _ := laneStore(t)
	ordered := func(i int) Document {
		d := numberedDocument(i)
		d.Ordered = true
		return d
	}
	for i := range MaxOrdered {
		put(t, kv, documentKey(ordered(i).Tenant, ordered(i).ID), string(mustEncode(t, ordered(i))))
	}
	apply(t, s, testDocument())
	apply(t, s, ordered(3)) // is one of them
	_, err := s.Apply(testContext(t), ordered(MaxOrdered))
	if err == nil || !strings.Contains(err.Error(), "200 endpoints are ordered already") {
		t.Errorf("got %v", err)
	}
	_, err = s.Update(testContext(t), "acme/crm", func(d *Document) error { d.Ordered = true; return nil })
	if err == nil || !strings.Contains(err.Error(), "200 endpoints are ordered already") {
		t.Errorf("got %v", err)
	}
	d := ordered(0)
	d.Ordered = false
	apply(t, s, d)
	apply(t, s, ordered(MaxOrdered))

	// What another store makes of the last place counts when there is none.
	e := ordered(2)
	e.Ordered = false
	apply(t, NewStore(kv), e)
	apply(t, s, ordered(MaxOrdered+1))
	if _, err := s.Apply(testContext(t), ordered(2)); err == nil {
		t.Error("one more than there can be")
	}

	plain := NewStore(kv)
	if _, err := plain.Apply(testContext(t), ordered(0)); err == nil {
		t.Error("a store that does not know the last event made an endpoint ordered")
	}
	if err := s.Remove(testContext(t), ordered(1).Name()); err != nil {
		t.Fatal(err)
	}
	if _, err := plain.Apply(testContext(t), ordered(0)); !errors.Is(err, errNoEvents) {
		t.Errorf("got %v", err)
	}
}

func TestOrderedAreCountedOnceForMany(t *testing.T) {
	_, s, _ := laneStore(t)
	d := testDocument()
	d.Ordered = true
	apply(t, s, d)
	counted := s.ordered.groups[""].at
	d.ID = "shop"
	apply(t, s, d)
	if counted.IsZero() || s.ordered.groups[""].at != counted || len(s.ordered.groups[""].names) != 2 {
		t.Errorf("counted at %v, then %v", counted, s.ordered.groups)
	}
}
