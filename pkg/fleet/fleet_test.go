package fleet

import (
	"context"
	"errors"
	"testing"
	"time"

	"github.com/nats-io/nats.go/jetstream"
	"github.com/rs/zerolog"
)

func TestJoinAndLeave(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	a, b := w.join("a"), w.join("b")
	if b.Count() != 2 {
		t.Errorf("after Join b counts %d", b.Count())
	}
	w.allCount(2, a)
	c := w.join("c")
	joined := w.allCount(3, a, b, c)
	for _, key := range []string{"acme/crm", "acme/shop", "globex/crm"} {
		if sum := a.Rank(key) + b.Rank(key) + c.Rank(key); sum != 3 {
			t.Errorf("%s: ranks %d, %d, %d", key, a.Rank(key), b.Rank(key), c.Rank(key))
		}
	}
	live := a.Live()
	if live[0].ID != "a" || live[2].ID != "c" || live[1].Version != "1" || live[1].Started.Unix() != 1 || live[1].Lanes[0] != "default" {
		t.Errorf("got %+v", live)
	}
	slow := 0
	for n := range uint64(10) {
		c.set(n + 1)
		if w.until("a knows the new revision of c", func() bool { return a.Live()[2].Endpoints == n+1 }) > beatEvery/2 {
			slow++
		}
	}
	if slow > 5 { // with the heartbeats it would be all, and a machine that stands still delays a few
		t.Errorf("%d of ten new revisions came as late as a heartbeat", slow)
	}

	before := a.changes.Load()
	c.Leave(w.ctx)
	c.Leave(w.ctx)
	left := w.allCount(2, a, b)
	w.until("the change is told", func() bool { return a.changes.Load() > before })
	for range 2 {
		c := w.join("c")
		joined = min(joined, w.allCount(3, a, b))
		c.Leave(w.ctx)
		left = min(left, w.allCount(2, a, b))
	}
	// The quickest of three counts: a machine may stand still.
	if joined > 5*time.Second {
		t.Errorf("it took %s until all knew of the third", joined)
	}
	if left > deadAfter/2 { // taken for dead, it is some heartbeats more
		t.Errorf("it took %s until it was known that the third left", left)
	}

	b.least.Store(2)
	again := time.NewTicker(50 * time.Millisecond)
	defer again.Stop()
	w.until("b did not know a", func() bool {
		// By mistake: it lives. Its next heartbeat takes the place of what says so, maybe
		// before b is told.
		w.must(w.kv.Delete(w.ctx, "a"))
		<-again.C
		return b.least.Load() == 1
	})
	w.allCount(2, a, b)
	// A machine that stands still hears nothing, and says so.
	if n := w.log.count(`"level":"warn"`) - w.log.count("watch of the replicas ended") - w.log.count("cannot write the heartbeat"); n > 0 {
		t.Errorf("%d warnings", n)
	}
}

func TestAKilledReplicaIsNoticed(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	a, b, c := w.join("a"), w.join("b"), w.join("c")
	w.allCount(3, a, b, c)
	for tries, stood := 0, true; stood && tries < 10; tries++ {
		began := time.Now()
		last := began
		stood = false
		c.kill()
		w.until("a and b know", func() bool {
			// What a machine that stands still does not hear is no silence.
			now := time.Now()
			stood = stood || now.Sub(last) > deafAfter/2
			last = now
			return a.Count() == 2 && b.Count() == 2
		})
		took := time.Since(began)
		t.Logf("noticed after %s", took)
		if took < 2*time.Second || took > 5*time.Second && !stood {
			t.Errorf("noticed after %s", took)
		}
		c = w.join("c")
		w.allCount(3, a, b, c)
	}
}

func TestNobodyDiesOfAServersRestart(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	a, b := w.join("a"), w.join("b")
	w.allCount(2, a, b)
	before, began := w.log.count("cannot write the heartbeat"), time.Now()
	w.shutdown()
	w.until("the outage is noticed", func() bool { return w.log.count("cannot write the heartbeat") >= 2 })
	w.start()
	w.until("heartbeats are written", func() bool { return w.log.count("heartbeats are written again") >= 2 })
	b.set(5)
	took := w.until("b is heard again", func() bool { return a.Live()[1].Endpoints == 5 })
	t.Logf("heard again after %s", took)
	// The subscription finds out by itself after some more, as it takes where the
	// machine stands still.
	if took > 6*time.Second && w.log.count(`"replica":"a","error":"`+errDeaf.Error()) == 0 {
		t.Errorf("heard again after %s", took)
	}
	a.heartbeats(w, "b") // long enough for one that is not heard to be buried
	if a.least.Load() < 2 || b.least.Load() < 2 {
		t.Errorf("one was taken for dead: %d, %d", a.least.Load(), b.least.Load())
	}
	most := before + 2*(1+int(time.Since(began)/quiet)) // one of each replica, where none is later
	if n := w.log.count("cannot write the heartbeat"); n > most {
		t.Errorf("%d warnings of two replicas, want %d at the most", n, most)
	}
	a.kill()
	w.allCount(1, b)
}

// heartbeats waits for some heartbeats of another.
func (r *replica) heartbeats(w *world, id string) {
	at := func() time.Time {
		r.Fleet.mu.Lock()
		defer r.Fleet.mu.Unlock()
		return r.roster.members[id].at
	}
	for range 2 {
		last := at()
		w.until("the next heartbeat is heard", func() bool { return !at().Equal(last) })
	}
}

func TestABucketThatWasDeleted(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	a, b := w.join("a"), w.join("b")
	w.allCount(2, a, b)
	b.set(8)
	w.until("b is heard", func() bool { return a.Live()[1].Endpoints == 8 })
	w.must(w.js.DeleteKeyValue(w.ctx, testBucket))
	b.set(9)
	w.until("b is heard", func() bool { return a.Live()[1].Endpoints == 9 })
	a.heartbeats(w, "b")
	if a.least.Load() < 2 || b.least.Load() < 2 {
		t.Errorf("one was taken for dead: %d, %d", a.least.Load(), b.least.Load())
	}
}

func TestJoinFails(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	if _, err := Join(w.ctx, Options{KV: w.kv, Self: Member{ID: "a b"}, Logger: zerolog.Nop()}); !errors.Is(err, jetstream.ErrInvalidKey) {
		t.Errorf("got %v", err)
	}
	ended, cancel := context.WithCancel(w.ctx)
	cancel()
	if _, err := Join(ended, Options{KV: w.kv, Self: Member{ID: "a"}, Logger: zerolog.Nop()}); !errors.Is(err, context.Canceled) {
		t.Errorf("got %v", err)
	}
	w.must(w.js.DeleteKeyValue(w.ctx, testBucket))
	if _, err := Join(w.ctx, Options{KV: w.kv, Self: Member{ID: "a"}, Logger: zerolog.Nop()}); err == nil {
		t.Error("joined without a bucket")
	}
}
