package hold

import (
	"reflect"
	"testing"
	"time"

	"github.com/nats-io/nats.go"

	"jethook/streams"
)

func TestBacklogsTellWhereDeliveriesWait(t *testing.T) {
	w := newWorld(t)
	store := func(subject string) {
		t.Helper()
		m, err := given("acme/crm", "x").Encode(subject, 0)
		w.must(err)
		_, err = w.js.PublishMsg(w.ctx, m)
		w.must(err)
	}
	w.hold(given("acme/crm", "a"), streams.HeldNew)
	w.hold(given("acme/crm", "b"), streams.HeldLate)
	store(w.names.Scheduled("acme", "crm", "c", "e1"))
	store(w.names.Scheduled("acme", "crm", "c", "d1"))
	store(w.names.Scheduled("acme", "erp", "c", "e1"))
	for range 3 {
		store(w.names.Delivery("default", "acme", "crm"))
	}
	store(w.names.Delivery("fast", "acme", "crm"))
	store(w.names.Delivery("default", "globex", "crm"))
	for _, subject := range []string{w.names.OrderedState("acme", "crm"), w.names.ReplayMark("x"), w.names.Unreadable()} {
		_, err := w.js.PublishMsg(w.ctx, nats.NewMsg(subject))
		w.must(err)
	}

	crm := Backlog{Held: Waiting{New: 1, Late: 1}, Scheduled: 2, ToAttempt: 4}
	acme := map[string]Backlog{"acme/crm": crm, "acme/erp": {Scheduled: 1}}
	all := map[string]Backlog{"acme/crm": crm, "acme/erp": {Scheduled: 1}, "globex/crm": {ToAttempt: 1}}
	for tenant, want := range map[string]map[string]Backlog{"": all, "acme": acme, "none": {}} {
		got, err := w.store.Backlogs(w.ctx, tenant)
		w.must(err)
		if !reflect.DeepEqual(got, want) {
			t.Errorf("tenant %q: %+v, want %+v", tenant, got, want)
		}
	}
	got, err := w.store.Backlog(w.ctx, "acme", "crm")
	w.must(err)
	if got != crm || got.Total() != 8 {
		t.Errorf("one endpoint: %+v, want %+v", got, crm)
	}
}

func TestOldestIsTheFirstOfAllKinds(t *testing.T) {
	w := newWorld(t)
	oldest := func(want time.Time) {
		t.Helper()
		backlog, err := w.store.Backlog(w.ctx, "acme", "crm")
		w.must(err)
		got, err := w.store.Oldest(w.ctx, "acme", "crm", backlog)
		w.must(err)
		if !got.Equal(want) {
			t.Errorf("got %s, want %s", got, want)
		}
	}
	oldest(time.Time{})
	add := func(kind streams.Kind, first time.Time) uint64 {
		t.Helper()
		d := given("acme/crm", "a")
		d.State.First = first
		return w.hold(d, kind)
	}
	add(streams.HeldNew, start.Add(time.Hour))
	add(streams.HeldNew, start.Add(2*time.Hour))
	oldest(start.Add(time.Hour))
	add(streams.HeldLate, start)
	oldest(start)
	probe := add(streams.HeldProbe, start.Add(-time.Hour))
	oldest(start.Add(-time.Hour))
	w.must(w.store.DropOne(w.ctx, probe))
	oldest(start)
	lies := func(subject string, first time.Time) {
		t.Helper()
		d := given("acme/crm", "a")
		d.State.First = first
		m, err := d.Encode(subject, 0)
		w.must(err)
		_, err = w.js.PublishMsg(w.ctx, m)
		w.must(err)
	}
	lies(w.names.Delivery("default", "acme", "crm"), start.Add(-time.Minute))
	oldest(start.Add(-time.Minute))
	lies(w.names.Scheduled("acme", "crm", "evt", "e1"), start.Add(-time.Hour))
	lies(w.names.Scheduled("acme", "other", "evt", "e1"), start.Add(-2*time.Hour))
	oldest(start.Add(-time.Hour))

	// What is gone meanwhile is not waited for.
	got, err := w.store.Oldest(w.ctx, "acme", "gone", Backlog{Held: Waiting{New: 1}, Scheduled: 1, ToAttempt: 1})
	w.must(err)
	if !got.IsZero() {
		t.Errorf("of none: %s", got)
	}
}

func TestOldestOfWhatSaysNothingItself(t *testing.T) {
	w := newWorld(t)
	m := nats.NewMsg(w.names.Held("acme", "crm", streams.HeldNew))
	_, err := w.js.PublishMsg(w.ctx, m)
	w.must(err)
	got, err := w.store.Oldest(w.ctx, "acme", "crm", Backlog{Held: Waiting{New: 1}})
	w.must(err)
	if since := time.Since(got); since < 0 || since > time.Minute {
		t.Errorf("got %s, want when it was stored", got)
	}
}
