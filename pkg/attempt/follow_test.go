package attempt

import (
	"context"
	"errors"
	"testing"
	"time"

	"github.com/nats-io/nats.go/jetstream"
)

var errEnough = errors.New("enough")

// Follow sees what is stored from now on, or from a time on, until somebody has
// seen enough.
func TestFollow(t *testing.T) {
	w := newWorld(t)
	log, _ := w.writer(All)
	log.Attempt(attempted(1, "crm", 200, time.Now()))
	w.flush(log)
	seen := make(chan Record, 10)
	follow := func(ctx context.Context, f Filter) error {
		return w.store.Follow(ctx, f, func(r Record) error {
			seen <- r
			if r.EventID == "evt-3" {
				return errEnough
			}
			return nil
		}, func(error) {})
	}
	ended := make(chan error)
	go func() { ended <- follow(w.ctx, Filter{Tenant: "acme", Since: time.Now().Add(-time.Hour)}) }()
	if r := <-seen; r.EventID != "evt-1" {
		t.Errorf("the first is of %s", r.EventID)
	}
	log.Attempt(attempted(2, "crm", 200, time.Now()))
	if r := <-seen; r.EventID != "evt-2" {
		t.Errorf("the next is of %s", r.EventID)
	}
	log.Attempt(attempted(3, "crm", 200, time.Now()))
	if err := <-ended; !errors.Is(err, errEnough) {
		t.Errorf("ended with %v", err)
	}
	ctx, stop := context.WithCancel(w.ctx)
	go func() { ended <- follow(ctx, Filter{}) }()
	stop()
	if err := <-ended; err != nil {
		t.Errorf("somebody who has seen enough gets %v", err)
	}
	w.must(w.js.DeleteStream(w.ctx, w.names.Attempts()))
	if err := follow(w.ctx, Filter{}); err == nil {
		t.Error("no error without a stream")
	}
	for _, err := range w.store.Records(w.ctx, Filter{}) {
		if err == nil {
			t.Error("no error without a stream")
		}
	}
}

// Whoever follows waits while NATS is away and goes on where it was, told once of
// each. Of a stream that was made anew nothing is passed over.
func TestFollowOutlivesTheServer(t *testing.T) {
	w := newWorld(t)
	js, err := jetstream.New(w.nc, jetstream.WithDefaultTimeout(200*time.Millisecond))
	w.must(err)
	log, _ := w.writer(All)
	seen, waits, ended := make(chan Record, 10), make(chan error, 10), make(chan error, 1)
	ctx, stop := context.WithCancel(w.ctx)
	go func() {
		ended <- NewStore(js, w.names).Follow(ctx, Filter{Since: time.Now().Add(-time.Hour)},
			func(r Record) error { seen <- r; return nil }, func(cause error) { waits <- cause })
	}()
	next := func(i int) {
		t.Helper()
		log.Attempt(attempted(i, "crm", 200, time.Now()))
		w.flush(log)
		select {
		case r := <-seen:
			if r.EventSeq != uint64(i) {
				t.Errorf("the record is of event %d, want %d", r.EventSeq, i)
			}
		case err := <-ended:
			t.Fatalf("it ended with %v", err)
		}
	}
	told := func() (cause error) {
		t.Helper()
		select {
		case cause = <-waits:
		case err := <-ended:
			t.Fatalf("it ended with %v", err)
		}
		return cause
	}
	next(1)
	next(2)
	next(3)
	w.down()
	if told() == nil {
		t.Error("it waits, and nothing is said of why")
	}
	w.up()
	if err := told(); err != nil {
		t.Errorf("it waits again: %v", err)
	}
	next(4)
	w.must(w.js.DeleteStream(w.ctx, w.names.Attempts()))
	topology := w.topology()
	_, err = topology.Ensure(w.ctx, w.js)
	w.must(err)
	next(5)
	stop()
	if err := <-ended; err != nil {
		t.Errorf("somebody who has seen enough gets %v", err)
	}
}

func TestFollowFinds(t *testing.T) {
	then := time.Now()
	for name, c := range map[string]struct {
		first   uint64
		created time.Time
		last    uint64
		want    uint64
	}{
		"nothing new":           {10, then, 9, 10},
		"more":                  {10, then, 12, 10},
		"made anew":             {10, then.Add(1), 3, 1},
		"made anew, and longer": {10, then.Add(1), 30, 1},
		"shorter":               {10, then, 5, 6},
		"by time":               {0, then, 5, 0},
	} {
		f := follower{created: then}
		f.read.First = c.first
		f.find(&jetstream.StreamInfo{Created: c.created, State: jetstream.StreamState{LastSeq: c.last}})
		if f.read.First != c.want || !f.created.Equal(c.created) {
			t.Errorf("%s: goes on with %d, want %d", name, f.read.First, c.want)
		}
	}
}
