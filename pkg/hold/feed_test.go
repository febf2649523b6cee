package hold

import (
	"context"
	"errors"
	"slices"
	"strconv"
	"sync"
	"testing"
	"time"

	"github.com/nats-io/nats.go/jetstream"

	"jethook/streams"
)

// mixed holds n deliveries for acme/crm, of all kinds in turns, and as many for
// others whose names are like it. It returns where acme/crm's lie.
func (w *world) mixed(n int) []uint64 {
	w.Helper()
	kinds := []streams.Kind{streams.HeldNew, streams.HeldLate, streams.HeldNew, streams.HeldProbe}
	var seqs []uint64
	for i := range n {
		seqs = append(seqs, w.hold(given("acme/crm", strconv.Itoa(i)), kinds[i%len(kinds)]))
		w.hold(given("acme/crm2", strconv.Itoa(i)), streams.HeldNew)
	}
	return seqs
}

func TestFeedKeepsTheOrderOverKinds(t *testing.T) {
	w := newWorld(t)
	want := w.mixed(20)
	f := w.feed()
	got := w.fetch(f, 7)
	w.ack(got...)
	got = append(got, w.fetch(f, 13)...)
	w.none(f)
	w.ack(got[7:]...)
	if seqs := w.seqsOf(got); !slices.Equal(seqs, want) {
		t.Errorf("fed back %v, want %v", seqs, want)
	}
	w.waiting("acme/crm", Waiting{})
	w.waiting("acme/crm2", Waiting{New: 20})
}

func TestFetchTakesNoMoreThanAsked(t *testing.T) {
	w := newWorld(t)
	w.mixed(10)
	f := w.feed()
	w.fetch(f, 3)
	info, err := f.consumer.Info(w.ctx)
	w.must(err)
	if info.NumAckPending != 3 || info.NumPending != 7 {
		t.Errorf("%d are handed out, %d are not; want 3 and 7", info.NumAckPending, info.NumPending)
	}
}

// A feed of which too much is handed out hands out no more, which is no error.
func TestFetchFromAFullFeed(t *testing.T) {
	w := newWorld(t)
	w.fill(feedPending+1, 16, "acme/crm")
	f := w.feed()
	handed := w.fetch(f, feedPending)
	for _, wait := range []time.Duration{0, 50 * time.Millisecond} {
		if got, err := f.Fetch(w.ctx, 10, wait); err != nil || len(got) != 0 {
			t.Errorf("%d fetched from a full feed, %v", len(got), err)
		}
	}
	w.ack(handed[0])
	w.fetch(f, 1)
}

func TestFetchWaits(t *testing.T) {
	w := newWorld(t)
	f := w.feed()
	if got, err := f.Fetch(w.ctx, 1, 10*time.Millisecond); err != nil || len(got) != 0 {
		t.Errorf("%d fetched of none, %v", len(got), err)
	}
	fetched := make(chan []jetstream.Msg)
	go func() {
		got, err := f.Fetch(w.ctx, 1, time.Minute)
		if err != nil {
			t.Error(err)
		}
		fetched <- got
	}()
	w.until("it waits", func() bool {
		info, err := f.consumer.Info(w.ctx)
		return err == nil && info.NumWaiting == 1
	})
	w.mixed(1)
	if got := <-fetched; len(got) != 1 {
		t.Errorf("%d fetched, want 1", len(got))
	}
	ended, cancel := context.WithCancel(w.ctx)
	cancel()
	if _, err := f.Fetch(ended, 1, 0); !errors.Is(err, context.Canceled) {
		t.Errorf("after the end: %v", err)
	}
}

func TestReplicasShareAFeed(t *testing.T) {
	w := newWorld(t)
	const n = 3000
	w.fill(n, 16, "acme/crm")
	var mu sync.Mutex
	times, by := map[uint64]int{}, make([]int, 3)
	feeds := make([]*Feed, len(by)) // all are open before the first is read
	for i := range feeds {
		_, js := w.connect(w.nc.ConnectedUrl())
		var err error
		feeds[i], err = NewStore(js, w.names).Feed(w.ctx, "acme", "crm")
		w.must(err)
	}
	var replicas sync.WaitGroup
	for i, f := range feeds {
		replicas.Go(func() {
			var err error
			for got := 0; err == nil && got < n; {
				var messages []jetstream.Msg
				messages, err = f.Fetch(w.ctx, 20, 10*time.Millisecond)
				mu.Lock()
				for _, seq := range w.seqsOf(messages) {
					times[seq]++
					by[i]++
				}
				got = len(times)
				mu.Unlock()
				for _, m := range messages {
					err = errors.Join(err, m.Ack())
				}
			}
			if err != nil {
				t.Error(err)
			}
		})
	}
	replicas.Wait()
	for seq, n := range times {
		if n != 1 {
			t.Errorf("%d was fed back %d times", seq, n)
		}
	}
	if len(times) != n || slices.Min(by) == 0 {
		t.Errorf("%d fed back by %v, want %d by all", len(times), by, n)
	}
}

// Whoever works on them is killed, and the feed stays.
func TestUnackedComeAgainInOrder(t *testing.T) {
	w := newWorld(t)
	w.store.ackWait = 300 * time.Millisecond
	w.mixed(10)
	f := w.feed()
	handed := w.fetch(f, 10)
	w.ack(handed[2], handed[5])
	want := slices.Delete(slices.Delete(w.seqsOf(handed), 5, 6), 2, 3)
	again, err := f.Fetch(w.ctx, len(want), 10*time.Second)
	w.must(err)
	if seqs := w.seqsOf(again); !slices.Equal(seqs, want) {
		t.Errorf("came again: %v, want %v", seqs, want)
	}
	w.ack(again...)
	w.waiting("acme/crm", Waiting{})
}

// The feed goes while messages are handed out: their acks mean nothing, and a new
// feed begins with the first of them.
func TestLostFeedIsFedAgainInOrder(t *testing.T) {
	w := newWorld(t)
	want := w.mixed(20)
	f := w.feed()
	handed := w.fetch(f, 10)
	w.must(w.js.DeleteConsumer(w.ctx, w.names.Deliveries(), f.name))
	for _, m := range handed {
		w.must(m.Ack()) // nobody is there to hear it
	}
	w.must(w.nc.Flush())
	for _, wait := range []time.Duration{0, 100 * time.Millisecond} {
		if _, err := f.Fetch(w.ctx, 1, wait); !errors.Is(err, ErrFeedGone) {
			t.Errorf("Fetch says %v, want that the feed is gone", err)
		}
	}
	if _, err := f.Finish(w.ctx); !errors.Is(err, ErrFeedGone) {
		t.Errorf("Finish says %v, want that the feed is gone", err)
	}
	f = w.feed()
	got := w.fetch(f, len(want))
	w.none(f)
	if seqs := w.seqsOf(got); !slices.Equal(seqs, want) {
		t.Errorf("fed again: %v, want %v", seqs, want)
	}
	w.ack(got...)
	w.waiting("acme/crm", Waiting{})
}

func TestFetchIsToldThatItsFeedGoes(t *testing.T) {
	w := newWorld(t)
	f := w.feed()
	failed := make(chan error)
	go func() { _, err := f.Fetch(w.ctx, 1, time.Minute); failed <- err }()
	w.until("it waits", func() bool {
		info, err := f.consumer.Info(w.ctx)
		return err == nil && info.NumWaiting == 1
	})
	w.ended(w.feed().Finish)
	if err := <-failed; !errors.Is(err, ErrFeedGone) {
		t.Errorf("Fetch says %v, want that the feed is gone", err)
	}
}

func TestHanded(t *testing.T) {
	w := newWorld(t)
	handed := func(what string, want bool) {
		t.Helper()
		if got, err := w.store.Handed(w.ctx, "acme", "crm"); got != want || err != nil {
			t.Errorf("%s: handed out %v, %v", what, got, err)
		}
	}
	w.mixed(1)
	handed("without a feed", false)
	f := w.feed()
	handed("before a fetch", false)
	got := w.fetch(f, 1)
	handed("before the ack", true)
	w.must(got[0].DoubleAck(w.ctx))
	handed("after it", false)
}

func TestFinish(t *testing.T) {
	w := newWorld(t)
	w.mixed(2)
	f := w.feed()
	unfinished := func(when string) {
		t.Helper()
		if done, err := f.Finish(w.ctx); err != nil || done {
			t.Errorf("%s: done %v, %v; want that it goes on", when, done, err)
		}
	}
	unfinished("nothing was handed out")
	got := w.fetch(f, 2)
	unfinished("two are handed out")
	w.ack(got[0])
	unfinished("one is handed out")
	w.ack(got[1])
	w.ended(f.Finish)
	if _, err := w.js.Consumer(w.ctx, w.names.Deliveries(), f.name); !errors.Is(err, jetstream.ErrConsumerNotFound) {
		t.Errorf("the consumer is still there: %v", err)
	}
	w.waiting("acme/crm2", Waiting{New: 2})
}

// A feed is closed although there is more to feed back, unless something is
// handed out, and the next one goes on with the rest.
func TestClose(t *testing.T) {
	w := newWorld(t)
	want := w.mixed(3)
	f := w.feed()
	got := w.fetch(f, 1)
	if closed, err := f.Close(w.ctx); err != nil || closed {
		t.Errorf("one is handed out: closed %v, %v", closed, err)
	}
	w.ack(got...)
	w.ended(f.Close)
	if _, err := f.Close(w.ctx); !errors.Is(err, ErrFeedGone) {
		t.Errorf("once more: %v", err)
	}
	f = w.feed()
	if got := w.seqsOf(w.fetch(f, 2)); !slices.Equal(got, want[1:]) {
		t.Errorf("then it feeds %v, want %v", got, want[1:])
	}
	w.none(f)
}

// ahead is JetStream of a server whose clock is ahead of ours.
type ahead struct {
	jetstream.JetStream
	by time.Duration
}

func (a ahead) PauseConsumer(ctx context.Context, stream, name string, until time.Time) (*jetstream.ConsumerPauseResponse, error) {
	return a.JetStream.PauseConsumer(ctx, stream, name, until.Add(-a.by))
}

func (a ahead) CreateOrUpdateConsumer(ctx context.Context, stream string, c jetstream.ConsumerConfig) (jetstream.Consumer, error) {
	consumer, err := a.JetStream.CreateOrUpdateConsumer(ctx, stream, c)
	return aheadConsumer{consumer, a.by}, err
}

type aheadConsumer struct {
	jetstream.Consumer
	by time.Duration
}

func (a aheadConsumer) Info(ctx context.Context) (*jetstream.ConsumerInfo, error) {
	info, err := a.Consumer.Info(ctx)
	if err == nil {
		info.TimeStamp = info.TimeStamp.Add(a.by)
	}
	return info, err
}

func TestFinishWhereClocksDiffer(t *testing.T) {
	w := newWorld(t)
	for _, by := range []time.Duration{time.Hour, -time.Hour} {
		w.store.js = ahead{w.js, by}
		w.ended(w.feed().Finish)
	}
}

// A delivery that is held while a feed is being finished is not handed out by
// it, because its ack would not be heard.
func TestNothingIsHandedOutByAFeedThatEnds(t *testing.T) {
	w := newWorld(t)
	w.until("the pause outlasts the look", func() bool { // unless the machine stalls
		f, other := w.feed(), w.feed()
		var handed []jetstream.Msg
		paused := false
		w.store.interrupt = func() {
			w.mixed(1)
			handed, _ = other.Fetch(w.ctx, 1, 100*time.Millisecond)
			info, err := other.consumer.Info(w.ctx)
			w.must(err)
			paused = info.Paused
		}
		w.ended(f.Finish)
		if paused && len(handed) != 0 {
			t.Error("a delivery was handed out when the feed was found finished")
		}
		next := w.feed()
		w.ack(w.fetch(next, 1)...)
		w.store.interrupt = func() {}
		w.ended(next.Finish)
		return paused
	})
}

// What was dropped under the hands of a feed does not come again, and does not
// keep it from being finished.
func TestDropWhileFeeding(t *testing.T) {
	w := newWorld(t)
	w.store.ackWait = 300 * time.Millisecond
	w.hold(given("globex/other", "first"), streams.HeldNew) // the stream begins elsewhere
	seqs := w.mixed(8)                                      // new, late, new, probe, ...
	f := w.feed()
	handed := w.fetch(f, 4)
	w.must(w.store.Drop(w.ctx, "acme", "crm", streams.HeldNew, seqs[4])) // two of them and the next
	w.waiting("acme/crm", Waiting{New: 1, Late: 2, Probe: 2})
	w.ack(handed[1], handed[3])
	w.must(handed[0].Ack())
	rest := w.fetch(f, 3)
	if got := w.seqsOf(rest); !slices.Equal(got, seqs[5:]) {
		t.Errorf("then it feeds %v, want %v", got, seqs[5:])
	}
	w.ack(rest...)
	w.until("the feed is finished", func() bool {
		w.none(f)
		done, err := f.Finish(w.ctx)
		w.must(err)
		return done
	})
	w.waiting("acme/crm", Waiting{})
}
