package endpoint

import (
	"context"
	"testing"
	"time"

	"github.com/nats-io/nats.go/jetstream"
)

// update changes testDocument's endpoint and returns what is stored.
func update(t *testing.T, s *Store, change func(*Document)) Document {
	t.Helper()
	returned, err := s.Update(testContext(t), "acme/crm", func(d *Document) error { change(d); return nil })
	if err != nil {
		t.Fatal(err)
	}
	stored := getCRM(t, s)
	if !returned.PausedAt.Equal(stored.PausedAt) || !returned.AvailableSince.Equal(stored.AvailableSince) {
		t.Errorf("Update returned %s, and stored %s", mustEncode(t, returned), mustEncode(t, stored))
	}
	return stored
}

// When an endpoint was paused and resumed is written down, whoever does it and by
// what way, and whatever a document says of it.
func TestPausingAndResumingIsDated(t *testing.T) {
	s := NewStore(newBucket(t))
	d := testDocument()
	d.PausedAt, d.AvailableSince = time.Unix(1, 0), time.Unix(1, 0)
	apply(t, s, d)
	if got := getCRM(t, s); !got.PausedAt.IsZero() || !got.AvailableSince.IsZero() {
		t.Fatalf("a new endpoint says %s", mustEncode(t, got))
	}
	var last Document
	step := func(what string, got Document, pausedAnew, availableAnew bool) {
		t.Helper()
		recent := func(at time.Time) bool { return time.Since(at) >= 0 && time.Since(at) < time.Minute }
		if anew := !got.PausedAt.IsZero() && !got.PausedAt.Equal(last.PausedAt) && recent(got.PausedAt); anew != pausedAnew || got.Paused == got.PausedAt.IsZero() {
			t.Errorf("%s: paused %v since %s, before %s", what, got.Paused, got.PausedAt, last.PausedAt)
		}
		if anew := !got.AvailableSince.Equal(last.AvailableSince) && recent(got.AvailableSince); anew != availableAnew {
			t.Errorf("%s: available since %s, before %s", what, got.AvailableSince, last.AvailableSince)
		}
		last = got
	}
	applied := func(paused bool) Document {
		d.Paused = paused
		apply(t, s, d)
		return getCRM(t, s)
	}
	disabled := &Disabled{Reason: "410 Gone", At: time.Now()}
	step("paused", update(t, s, func(d *Document) { d.Paused = true }), true, false)
	step("paused again", update(t, s, func(d *Document) { d.Paused = true }), false, false)
	step("disabled", update(t, s, func(d *Document) { d.Disabled = disabled }), false, false)
	step("resumed, but disabled", update(t, s, func(d *Document) { d.Paused = false }), false, false)
	step("enabled", update(t, s, func(d *Document) { d.Disabled = nil }), false, true)
	step("changed otherwise", update(t, s, func(d *Document) { d.Description = "changed" }), false, false)
	step("paused by a file", applied(true), true, false)
	step("resumed by a file", applied(false), false, true)
	if again := apply(t, s, d); again.Result != Unchanged {
		t.Errorf("the same file again: %s", again.Result)
	}
}

// ahead is a bucket of a server whose clock is, as seen from here.
type ahead struct {
	jetstream.KeyValue
	by time.Duration
}

func (a ahead) Status(ctx context.Context) (jetstream.KeyValueStatus, error) {
	status, err := a.KeyValue.Status(ctx)
	if bucket, ok := status.(*jetstream.KeyValueBucketStatus); ok {
		info := bucket.StreamInfo()
		info.TimeStamp = info.TimeStamp.Add(a.by)
	}
	return status, err
}

// The clock of an operator is nobody's: what is written down is by the server's.
func TestPausingAndResumingIsDatedByTheServer(t *testing.T) {
	kv := newBucket(t)
	for _, by := range []time.Duration{-time.Hour, time.Hour} {
		s := NewStore(ahead{kv, by})
		apply(t, s, testDocument())
		dated := func(at time.Time) bool { return time.Until(at.Add(-by)).Abs() < 10*time.Minute }
		if got := update(t, s, func(d *Document) { d.Paused = true }); !dated(got.PausedAt) {
			t.Errorf("%s ahead: paused at %s", by, got.PausedAt)
		}
		if got := update(t, s, func(d *Document) { d.Paused = false }); !dated(got.AvailableSince) {
			t.Errorf("%s ahead: available since %s", by, got.AvailableSince)
		}
	}
}

// A document from before any of this was written down stays as it is, until the
// endpoint is resumed.
func TestAnOldDocumentIsDatedFromNowOn(t *testing.T) {
	kv := newBucket(t)
	s := NewStore(kv)
	d := testDocument()
	d.Paused = true
	put(t, kv, "acme.crm", string(mustEncode(t, d)))
	if got := update(t, s, func(d *Document) { d.Description = "changed" }); !got.PausedAt.IsZero() || !got.AvailableSince.IsZero() {
		t.Errorf("got %s", mustEncode(t, got))
	}
	if got := update(t, s, func(d *Document) { d.Paused = false }); got.AvailableSince.IsZero() {
		t.Errorf("got %s", mustEncode(t, got))
	}
}

// When an endpoint was made stays what it is until it is removed.
func TestMadeAt(t *testing.T) {
	_, s, log := laneStore(t)
	d := testDocument()
	made := func(what string, want time.Time) {
		t.Helper()
		if got := getCRM(t, s).MadeAt; !got.Equal(want) {
			t.Errorf("%s: made at %s, want %s", what, got, want)
		}
	}
	first := time.Date(2026, 1, 2, 3, 4, 5, 6, time.UTC)
	log.now = first
	apply(t, s, d)
	made("created", first)
	log.now = first.Add(time.Hour)
	d.Timeout = Duration(time.Second)
	apply(t, s, d)
	made("applied again", first)
	update(t, s, func(d *Document) { d.Paused = true })
	made("paused", first)
	if err := s.Remove(testContext(t), "acme/crm"); err != nil {
		t.Fatal(err)
	}
	apply(t, s, d)
	made("made anew", log.now)
}
