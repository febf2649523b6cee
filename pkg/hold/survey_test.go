package hold

import (
	"testing"
	"time"

	"github.com/nats-io/nats.go"

	"jethook/streams"
)

func TestSurveyCountsWhatIsHeldAndWhatIsBeside(t *testing.T) {
	w := newWorld(t)
	for _, name := range []string{"acme/crm", "acme/crm", "acme2/crm"} {
		w.hold(given(name, "a"), streams.HeldNew)
	}
	for _, subject := range []string{w.names.Delivery("default", "acme", "crm"), w.names.Scheduled("acme", "crm", "a", "e1"),
		w.names.OrderedState("acme", "crm"), w.names.ReplayMark("x"), w.names.Unreadable()} {
		_, err := w.js.PublishMsg(w.ctx, nats.NewMsg(subject))
		w.must(err)
	}
	s, err := w.store.Survey(w.ctx)
	w.must(err)
	if s.Total != 3 || s.Others != 2 || s.Held["acme/crm"].New != 2 || s.Held["acme2/crm"].New != 1 {
		t.Errorf("%+v, want 3 held and 2 others", s)
	}
}

// Held means since the first attempt or hold, not since it was stored last: a
// probe stores its delivery anew.
func TestSinceIsOfTheOneThatLiesFirst(t *testing.T) {
	w := newWorld(t)
	since, err := w.store.Since(w.ctx)
	w.must(err)
	if !since.IsZero() {
		t.Errorf("with nothing held since %s", since)
	}
	if _, err := w.js.PublishMsg(w.ctx, nats.NewMsg(w.names.ReplayMark("x"))); err != nil {
		t.Fatal(err)
	}
	first := time.Now().Add(-time.Hour).Truncate(time.Millisecond).UTC()
	d := given("acme/crm", "a")
	d.State.First = first
	w.hold(d, streams.HeldProbe)
	d = given("acme/erp", "b")
	d.State.First = first.Add(time.Minute)
	w.hold(d, streams.HeldNew)
	since, err = w.store.Since(w.ctx)
	w.must(err)
	if !since.Equal(first) {
		t.Errorf("since %s, want %s", since, first)
	}
}
