package deadletter

import (
	"context"
	"errors"
	"maps"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/nats-io/nats.go/jetstream"

	"jethook/pkg/delivery"
)

// A lane that is gone, or going, is read by nobody.
func TestReplayIntoALaneThatIsGone(t *testing.T) {
	w := newWorld(t, setting{})
	w.known["acme/crm"], w.known["acme/erp"] = "nowhere", "going"
	w.bury(dead("evt_1", "acme/crm", "order.created", nil), delivery.Expired)
	w.bury(dead("evt_2", "acme/erp", "order.created", nil), delivery.Expired)
	w.replay(Filter{})
	if n := len(w.deliveries()); n != 2 {
		t.Errorf("%d deliveries in the default lane, want 2", n)
	}
}

func TestReplayBeginsANewRound(t *testing.T) {
	w := newWorld(t, setting{})
	w.known["acme/crm"] = "fast"
	d := dead("evt_1", "acme/crm", "order.created", []byte(`{"a":1}`))
	d.State.Due = time.Now().Add(time.Hour)
	seq := w.bury(d, delivery.Expired)
	before := time.Now()
	r := w.replay(Filter{})
	if r.Replayed != 1 || r.Windowed {
		t.Fatalf("%+v", r)
	}
	lane, err := w.js.CreateConsumer(w.ctx, w.names.Deliveries(), jetstream.ConsumerConfig{
		FilterSubject: w.names.Delivery("fast", "acme", "crm"), AckPolicy: jetstream.AckExplicitPolicy,
	})
	if err != nil {
		t.Fatal(err)
	}
	all := w.read(lane) // the endpoint's
	if len(all) != 1 {
		t.Fatalf("%d deliveries", len(all))
	}
	got := all[0]
	s := got.State
	if s.Attempts != 0 || !s.Replay || !strings.HasPrefix(s.Origin, "d1_") || !s.Due.IsZero() || s.Since.Before(before.Add(-time.Second)) || len(s.History) != 1 {
		t.Errorf("state %+v", s)
	}
	if string(got.Event.Body) != `{"a":1}` || got.Event.ID != "evt_1" || got.Event.Type != "order.created" ||
		!got.Event.Time.Equal(d.Event.Time) || got.Event.Seq != d.Event.Seq || got.Event.Field("content-type") != "application/json" {
		t.Errorf("event %+v", got.Event)
	}
	w.empty(w.names.DeadLetters())
	w.empty(w.names.Deliveries())

	// Dead again, it counts the attempts of both rounds and keeps both.
	_, got.State = got.After(delivery.Result{At: time.Now(), Status: 404}, delivery.Terms{}, func() float64 { return 0 })
	again := w.bury(&got, delivery.Rejected)
	l, err := w.store.Get(w.ctx, again)
	if err != nil || again == seq || l.Attempts != 2 || len(l.History) != 2 || l.LastStatus != 404 {
		t.Errorf("%+v, %v", l, err)
	}
}

func TestReplayKeepsToTheFilter(t *testing.T) {
	for _, c := range filters {
		t.Run(c.name, func(t *testing.T) {
			w := newWorld(t, setting{})
			f := c.f(mixed(w))
			want := slices.DeleteFunc(slices.Clone(c.want), func(seq uint64) bool { return seq >= 6 }) // gone, and a stranger's
			dry, err := w.store.Replay(w.ctx, f, ReplayOptions{Endpoints: w.known, DryRun: true})
			if err != nil || dry.Replayed != len(want) {
				t.Errorf("dry run: %+v, %v", dry, err)
			}
			w.empty(w.names.Deliveries())
			r := w.replay(f)
			if r.Replayed != len(want) || r.Unreadable != dry.Unreadable || !maps.Equal(r.NoEndpoint, dry.NoEndpoint) {
				t.Errorf("replayed %+v, the dry run said %+v", r, dry)
			}
			eachOnce(t, w.sent(), len(want))
			left := slices.DeleteFunc([]uint64{1, 2, 3, 4, 5, 6, 7}, func(seq uint64) bool { return slices.Contains(want, seq) })
			if got := w.list(Filter{}); !slices.Equal(got, left) {
				t.Errorf("left are %d, want %d", got, left)
			}
			if slices.Contains(c.want, 6) != (r.NoEndpoint["acme/gone"] == 1) || slices.Contains(c.want, 7) != (r.Unreadable == 1) {
				t.Errorf("%+v", r)
			}
		})
	}
}

// Letters that stay lie between letters that go: a purge that reached over them
// would lose them.
func TestReplayLeavesWhatStays(t *testing.T) {
	for _, plain := range []bool{false, true} {
		w := newWorld(t, setting{plain: plain})
		const n = 1500
		w.fill(n, 10, "acme/crm", "acme/gone", "globex/crm")
		var progress []int
		r, err := w.store.Replay(w.ctx, Filter{}, ReplayOptions{Endpoints: w.known, Progress: func(done int) { progress = append(progress, done) }})
		if err != nil || r.Replayed != 2*n/3 || r.NoEndpoint["acme/gone"] != n/3 || r.Windowed != plain {
			t.Errorf("%+v, %v", r, err)
		}
		if len(progress) == 0 || progress[len(progress)-1] != n || !slices.IsSorted(progress) {
			t.Errorf("progress %d", progress)
		}
		eachOnce(t, w.sent(), 2*n/3)
		if got := len(w.list(Filter{Tenant: "acme", Endpoint: "gone"})); got != n/3 {
			t.Errorf("%d stay, want %d", got, n/3)
		}
		if got := w.count(w.names.DeadLetters()); got != n/3 {
			t.Errorf("%d are left, want %d", got, n/3)
		}
	}
}

func TestReplayToABrokenEndpointDocument(t *testing.T) {
	w := newWorld(t, setting{})
	w.known["acme/crm"] = "broken"
	w.fill(1, 10, "acme/crm")
	if r := w.replay(Filter{}); r.Replayed != 1 {
		t.Errorf("%+v", r)
	}
}

// Killed between any two steps, with the duplicate window over before the next
// run, nothing is lost and nothing is sent twice.
func TestReplayKilledBetweenAnyTwoSteps(t *testing.T) {
	const n, window = 1200, 100 * time.Millisecond
	for name, c := range map[string]struct {
		f     Filter
		at    string
		after int64 // how many of these steps go well
	}{
		"first batch stored":             {Filter{}, "stored", 0},
		"second batch stored":            {Filter{}, "stored", 1},
		"before a purge":                 {Filter{}, "removing", 1},
		"some of a batch removed":        {Filter{Type: "order.>", Since: longAgo}, "removing", 100},
		"some of the last batch removed": {Filter{Type: "order.>", Since: longAgo}, "removing", n - 50},
		"batch removed, mark left":       {Filter{}, "removed", 0},
		"last batch removed, mark left":  {Filter{}, "removed", 2},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			w := newWorld(t, setting{window: window})
			w.fill(n, 10, "acme/crm", "acme/shop", "globex/crm")
			var left atomic.Int64
			left.Store(c.after)
			w.store.interrupt = func(at string) error {
				if at == c.at && left.Add(-1) < 0 {
					return errKilled
				}
				return nil
			}
			r, err := w.store.Replay(w.ctx, c.f, ReplayOptions{Endpoints: w.known})
			if !errors.Is(err, errKilled) {
				t.Fatalf("%+v, %v", r, err)
			}
			sent := w.sent()
			if len(sent) == 0 {
				t.Error("the first run sent nothing: this tests nothing")
			}
			if marks := w.count(w.names.Deliveries()); marks != 1 {
				t.Errorf("%d messages are left beside the deliveries, want the mark", marks)
			}
			w.windowOver()
			w.store.interrupt = nil
			w.replay(Filter{})
			for name, times := range w.sent() {
				sent[name] += times
			}
			eachOnce(t, sent, n)
			w.empty(w.names.DeadLetters())
			w.empty(w.names.Deliveries())
		})
	}
}

// windowOver returns when the deliveries' duplicate window has passed: when an
// id that was used after all others may be used again.
func (w *world) windowOver() {
	w.Helper()
	subject := w.names.Delivery("default", "nobody", "probe")
	for {
		ack, err := w.js.Publish(w.ctx, subject, nil, jetstream.WithMsgID("probe"))
		if err != nil {
			w.Fatal(err)
		}
		if ack.Duplicate {
			continue
		}
		if _, err := w.store.remove(w.ctx, w.names.Deliveries(), ack.Sequence); err != nil {
			w.Fatal(err)
		}
		if w.probed {
			w.probed = false
			return
		}
		w.probed = true // this was the first use
	}
}

func TestReplayStopsBetweenBatches(t *testing.T) {
	w := newWorld(t, setting{})
	const n = 1200
	w.fill(n, 10, "acme/crm")
	ctx, cancel := context.WithCancelCause(w.ctx)
	why := errors.New("enough")
	r, err := w.store.Replay(ctx, Filter{}, ReplayOptions{Endpoints: w.known, Progress: func(int) { cancel(why) }})
	if !errors.Is(err, why) || r.Replayed != batchSize {
		t.Fatalf("%+v, %v", r, err)
	}
	if got := w.count(w.names.Deliveries()); got != batchSize {
		t.Errorf("%d messages beside the letters, want %d deliveries and no mark", got, batchSize)
	}
	if got := w.count(w.names.DeadLetters()); got != n-batchSize {
		t.Errorf("%d letters are left, want %d", got, n-batchSize)
	}
	w.replay(Filter{})
	eachOnce(t, w.sent(), n)
}

func TestTwoReplaysAtATime(t *testing.T) {
	for name, f := range map[string]Filter{"purging": {}, "one by one": {Since: longAgo}} {
		t.Run(name, func(t *testing.T) {
			w := newWorld(t, setting{})
			const n = 4000
			w.fill(n, 10, "acme/crm", "acme/shop", "globex/crm")
			var replayed atomic.Int64
			var wg sync.WaitGroup
			for range 3 {
				wg.Go(func() {
					store := NewStore(w.js, w.names)
					r, err := store.Replay(w.ctx, f, ReplayOptions{Endpoints: w.known})
					if err != nil {
						t.Errorf("%+v, %v", r, err)
					}
					replayed.Add(int64(r.Replayed))
				})
			}
			wg.Wait()
			if replayed.Load() != n {
				t.Errorf("%d replayed in all, want %d", replayed.Load(), n)
			}
			eachOnce(t, w.sent(), n)
			w.empty(w.names.DeadLetters())
			w.empty(w.names.Deliveries())
		})
	}
}

// A second replay that read a batch before the first stored and removed it must
// not send it too.
func TestReplayThatWasOvertaken(t *testing.T) {
	w := newWorld(t, setting{})
	w.fill(10, 10, "acme/crm")
	slow, err := w.store.newReplay(w.ctx, Filter{}, ReplayOptions{Endpoints: w.known})
	if err != nil {
		t.Fatal(err)
	}
	b, err := slow.read(w.ctx)
	if err != nil {
		t.Fatal(err)
	}
	w.replay(Filter{})
	b.deadline = time.Now().Add(slow.fresh)
	if err := slow.send(w.ctx, b, false); !errors.Is(err, errDuplicate) {
		t.Errorf("within the window: %v", err)
	}
	b.deadline = time.Now().Add(-1)
	if err := slow.send(w.ctx, b, false); !errors.Is(err, errStale) {
		t.Errorf("after the deadline: %v", err)
	}
	b.deadline = time.Now().Add(slow.fresh)
	if err := slow.send(w.ctx, b, true); err != nil || slow.result.Replayed != 0 {
		t.Errorf("one by one: %+v, %v", slow.result, err)
	}
	eachOnce(t, w.sent(), 10)
	w.empty(w.names.Deliveries())
}

// A letter that is stored already, although no mark says so, is only removed.
func TestReplayOfALetterThatIsStoredAlready(t *testing.T) {
	w := newWorld(t, setting{})
	w.fill(20, 10, "acme/crm")
	r, err := w.store.newReplay(w.ctx, Filter{Limit: 5}, ReplayOptions{Endpoints: w.known})
	if err != nil {
		t.Fatal(err)
	}
	b, err := r.read(w.ctx)
	if err != nil {
		t.Fatal(err)
	}
	for _, l := range b.letters {
		if _, err := w.js.PublishMsg(w.ctx, l.message); err != nil {
			t.Fatal(err)
		}
	}
	got := w.replay(Filter{})
	if got.Replayed != 15 || got.Finished != 5 {
		t.Errorf("%+v", got)
	}
	eachOnce(t, w.sent(), 20)
	w.empty(w.names.DeadLetters())
}

func TestReplayGoesOnPastALetterThatNATSRefuses(t *testing.T) {
	for _, plain := range []bool{false, true} {
		w := newWorld(t, setting{plain: plain})
		w.fill(20, 10, "acme/crm")
		large := w.bury(dead("evt_large", "acme/crm", "a", make([]byte, 5000)), delivery.Rejected)
		w.bury(dead("evt_last", "acme/crm", "a", nil), delivery.Rejected)
		w.limit(4000)
		r := w.replay(Filter{})
		if r.Replayed != 21 || r.Refused != 1 || r.Refusal == "" {
			t.Errorf("%+v", r)
		}
		if got := w.list(Filter{}); !slices.Equal(got, []uint64{large}) {
			t.Errorf("left are %d, want %d", got, large)
		}
		eachOnce(t, w.sent(), 21)
		w.empty(w.names.Deliveries())
	}
}

func TestReplayEndsWhereNATSTakesNothing(t *testing.T) {
	for _, plain := range []bool{false, true} {
		w := newWorld(t, setting{plain: plain})
		w.fill(20, 1000, "acme/crm")
		w.limit(500)
		if r, err := w.store.Replay(w.ctx, Filter{}, ReplayOptions{Endpoints: w.known}); err == nil || r.Replayed != 0 {
			t.Errorf("%+v, %v", r, err)
		}
		if n := w.count(w.names.DeadLetters()); n != 20 {
			t.Errorf("%d dead letters are left", n)
		}
	}
}

// limit bounds the size of the messages that the deliveries take.
func (w *world) limit(size int32) {
	w.Helper()
	s, err := w.js.Stream(w.ctx, w.names.Deliveries())
	if err != nil {
		w.Fatal(err)
	}
	config := s.CachedInfo().Config
	config.MaxMsgSize = size
	if _, err := w.js.UpdateStream(w.ctx, config); err != nil {
		w.Fatal(err)
	}
}

func TestReplayKeepsToTheRate(t *testing.T) {
	w := newWorld(t, setting{})
	w.fill(30, 10, "acme/crm")
	begin := time.Now()
	if r, err := w.store.Replay(w.ctx, Filter{}, ReplayOptions{Endpoints: w.known, Rate: 100}); err != nil || r.Replayed != 30 {
		t.Fatalf("%+v, %v", r, err)
	}
	// 25 and 5, or smaller: the last of them may go when the others are paid for.
	if took := time.Since(begin); took < 200*time.Millisecond {
		t.Errorf("30 at 100 a second took %s", took)
	}
}

// Sequences of another stream mean other letters: a mark must not remove those.
func TestMarkOfAStreamThatWasMadeAnew(t *testing.T) {
	w := newWorld(t, setting{})
	w.fill(3, 10, "acme/crm")
	m, err := w.store.mark("x", mark{time.Now().Add(-time.Hour), []uint64{1, 2}})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := w.js.PublishMsg(w.ctx, m); err != nil {
		t.Fatal(err)
	}
	if r := w.replay(Filter{}); r.Replayed != 3 || r.Finished != 0 {
		t.Errorf("%+v", r)
	}
	eachOnce(t, w.sent(), 3)
	w.empty(w.names.Deliveries())
}

func TestMarkThatIsNone(t *testing.T) {
	w := newWorld(t, setting{})
	w.fill(3, 10, "acme/crm")
	if _, err := w.js.Publish(w.ctx, w.names.ReplayMark("x"), []byte(`{}`)); err != nil {
		t.Fatal(err)
	}
	if r, err := w.store.Replay(w.ctx, Filter{}, ReplayOptions{Endpoints: w.known}); err == nil || r.Replayed != 0 {
		t.Errorf("%+v, %v", r, err)
	}
	if n := w.count(w.names.DeadLetters()); n != 3 {
		t.Errorf("%d dead letters are left", n)
	}
}
