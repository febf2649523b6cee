package attempt

import (
	"errors"
	"slices"
	"strconv"
	"testing"
	"time"

	"jethook/pkg/delivery"
	"jethook/pkg/event"
)

func TestFilter(t *testing.T) {
	w := newWorld(t)
	log, _ := w.writer(All)
	start := time.Now().Add(-5 * time.Minute).Truncate(time.Second)
	other := attempted(4, "crm", 200, start)
	other.Delivery.Event.Tenant = "else"
	typed := attempted(5, "crm", 200, start)
	typed.Delivery.Event.Type = "invoice.paid"
	for _, m := range []*Made{
		attempted(1, "crm", 200, start), attempted(2, "crm", 500, start), attempted(3, "erp", 200, start.Add(time.Minute)), other, typed,
	} {
		log.Attempt(m)
	}
	w.flush(log)
	for name, c := range map[string]struct {
		filter Filter
		want   []uint64
	}{
		"all":      {Filter{}, []uint64{1, 2, 3, 4, 5}},
		"tenant":   {Filter{Tenant: "acme"}, []uint64{1, 2, 3, 5}},
		"endpoint": {Filter{Tenant: "acme", Endpoint: "erp"}, []uint64{3}},
		"type":     {Filter{Type: "invoice.*"}, []uint64{5}},
		"event":    {Filter{EventID: "evt-2"}, []uint64{2}},
		"failed":   {Filter{Failed: true}, []uint64{2}},
		"since":    {Filter{Since: start.Add(time.Second)}, []uint64{3}},
		"until":    {Filter{Until: start.Add(time.Second)}, []uint64{1, 2, 4, 5}},
	} {
		var got []uint64
		for _, r := range w.records(c.filter) {
			got = append(got, r.EventSeq)
		}
		if slices.Sort(got); !slices.Equal(got, c.want) {
			t.Errorf("%s: events %v, want %v", name, got, c.want)
		}
	}
	if n := len(w.records(Filter{Limit: 2})); n != 2 {
		t.Errorf("%d records, want 2", n)
	}
	for _, f := range []Filter{{Tenant: "A"}, {Endpoint: "crm"}, {Tenant: "acme", Endpoint: "A"}, {Since: start, Until: start}, {Limit: -1}} {
		if f.Validate() == nil {
			t.Errorf("%+v is accepted", f)
		}
	}
}

// An event is found by its id, whatever else there is.
func TestEvent(t *testing.T) {
	w := newWorld(t)
	log, _ := w.writer(All)
	for i := range 1000 {
		m := attempted(i, "crm", 503, time.Now())
		log.Matched(&m.Delivery.Event, []string{"crm"}, nil)
		log.Attempt(m)
		log.Dead(m.Delivery, delivery.AttemptsExhausted)
	}
	w.flush(log)
	var got []Entry
	for e, err := range w.store.Event(w.ctx, "evt-77", time.Time{}) {
		w.must(err)
		got = append(got, e)
	}
	if len(got) != 3 || len(got[0].Matched) != 1 || got[1].Outcome != delivery.Retry || got[2].Dead != delivery.AttemptsExhausted {
		t.Errorf("got %+v", got)
	}
	for e, err := range w.store.Event(w.ctx, "evt-7777", time.Time{}) {
		t.Errorf("got %+v, %v", e, err)
	}
}

// A line that cannot be read hides no other, and is counted once.
func TestUnreadableLines(t *testing.T) {
	w := newWorld(t)
	log, _ := w.writer(All)
	log.Attempt(attempted(1, "crm", 200, time.Now()))
	w.flush(log)
	part := w.names.Ledger(strconv.Itoa(Part("evt-1")))
	for subject, lines := range map[string]string{
		w.names.Attempt("acme", "crm"): "{\"event_id\":\n\xff\x00\n" + string(appendRecord(nil, attempted(2, "crm", 200, time.Now()), "")),
		part:                           "evt-1\n[\"evt-1\"]\n" + string(appendOutcome(nil, attempted(1, "erp", 200, time.Now()))),
	} {
		_, err := w.js.Publish(w.ctx, subject, []byte(lines))
		w.must(err)
	}
	log.Attempt(attempted(3, "crm", 200, time.Now()))
	w.flush(log)
	for range 2 {
		if n := len(w.records(Filter{})); n != 3 {
			t.Errorf("%d records, want 3", n)
		}
	}
	if n := w.store.Unreadable(); n != 2 {
		t.Errorf("%d lines of records cannot be read, want 2", n)
	}
	var of []string
	for e, err := range w.store.Event(w.ctx, "evt-1", time.Time{}) {
		w.must(err)
		of = append(of, e.Endpoint)
	}
	if !slices.Equal(of, []string{"crm", "erp"}) || w.store.Unreadable() != 4 {
		t.Errorf("the ledger has lines of %v; %d cannot be read", of, w.store.Unreadable())
	}
	n := 0
	w.must(w.store.Follow(w.ctx, Filter{Since: time.Now().Add(-time.Hour), Limit: 3}, func(Record) error { n++; return nil }, func(error) {}))
	if n != 3 || w.store.Unreadable() != 4 {
		t.Errorf("%d records are followed; %d lines cannot be read", n, w.store.Unreadable())
	}
	good, bad := 0, 0
	for m, err := range w.store.read(part, time.Time{}).All(w.ctx, w.js) {
		w.must(err)
		for _, err := range Entries(m) {
			switch {
			case err == nil:
				good++
			case errors.Is(err, ErrUnreadable):
				bad++
			default:
				t.Error(err)
			}
		}
	}
	if good != 2 || bad != 2 {
		t.Errorf("%d entries, and %d lines that cannot be read", good, bad)
	}
}

// Parts are of about the same size, for ids that count and for those that do not.
func TestParts(t *testing.T) {
	var sizes [parts]int
	for i := range 64_000 {
		sizes[Part(event.New(event.Message{Seq: uint64(i), Time: time.Unix(int64(i), 0)}).ID)]++
	}
	if least, most := slices.Min(sizes[:]), slices.Max(sizes[:]); least < 1600 || most > 2400 {
		t.Errorf("parts have %d to %d of 64,000", least, most)
	}
}
