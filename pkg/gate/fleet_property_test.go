package gate

import (
	"fmt"
	"math/rand/v2"
	"sync"
	"testing"
	"time"
)

// held is a time in which a replica may take itself for the only one.
type held struct {
	self     string
	from, to time.Time
}

// leases is who held which lease, by a clock that is right.
type leases struct {
	mu     sync.Mutex
	byName map[string][]held
	taken  int // of replicas that died with it
}

func (l *leases) add(name string, h held) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.byName[name] = append(l.byName[name], h)
}

// check fails for two that held one lease at a time.
func (l *leases) check(t *testing.T) (n int) {
	t.Helper()
	for name, all := range l.byName {
		for i, x := range all {
			for _, y := range all[i+1:] {
				if x.from.Before(y.to) && y.from.Before(x.to) {
					t.Fatalf("%s: %s and %s held the lease at a time, %s and %s", name, x.self, y.self, x.to.Sub(x.from), y.to.Sub(y.from))
				}
			}
		}
		n += len(all)
	}
	return n
}

// Replicas whose clocks differ by minutes open, claim, fail, close and die.
func TestOneProbesAtATime(t *testing.T) {
	t.Parallel()
	const replicas, endpoints, steps = 8, 5, 150
	const lease = 60 * time.Millisecond
	seed := rand.Uint64()
	t.Logf("seed %d", seed)
	w := newBucketWorld(t)
	views := make([]*view, replicas)
	for i := range views {
		views[i] = w.join(fmt.Sprint("replica-", i), time.Duration(i-replicas/2)*time.Minute)
	}
	l := leases{byName: map[string][]held{}}
	var running sync.WaitGroup
	for i, v := range views {
		running.Go(func() {
			random := rand.New(rand.NewPCG(seed, uint64(i)))
			for range steps {
				l.step(w, v, fmt.Sprintf("acme/endpoint-%d", random.IntN(endpoints)), lease, random)
			}
		})
	}
	running.Wait()
	n := l.check(t)
	t.Logf("%d leases, %d abandoned", n, l.taken)
	if n < 30 || l.taken == 0 {
		t.Error("that shows nothing")
	}

	agree := func(open int) time.Duration {
		return w.until("all agree", func() bool {
			for _, v := range views {
				if v.state() != views[0].state() || v.state() != v.toldState() || v.Len() != open {
					return false
				}
			}
			return true
		})
	}
	var took time.Duration
	for tries := 0; tries == 0 || tries < 3 && took > time.Second; tries++ { // a machine may stand still
		for i := range endpoints { // also those that a dead replica has the lease of
			w.must(views[0].Open(w.ctx, fmt.Sprint("acme/endpoint-", i), views[0].opened("at the end")))
		}
		took = agree(endpoints)
		t.Logf("all agreed after %s", took)
		for i := range endpoints {
			w.must(views[0].Close(w.ctx, fmt.Sprint("acme/endpoint-", i)))
		}
		agree(0)
	}
	if took > time.Second {
		t.Errorf("it took %s until all agreed", took)
	}
}

// step does something to an endpoint's gate, and sees what is written at once.
func (l *leases) step(w *bucketWorld, v *view, name string, lease time.Duration, random *rand.Rand) {
	if !v.isOpen(name) {
		w.check(v.Open(w.ctx, name, v.opened("down")))
		return
	}
	claimed, got, err := v.Claim(w.ctx, name, 0, lease)
	w.check(err)
	if !got {
		// Others get a turn, and now and then a lease ends.
		<-time.After(time.Duration(random.IntN(5)) * time.Millisecond)
		return
	}
	h := held{self: v.self, from: time.Now(), to: time.Now().Add(claimed.Ends.Sub(v.now()))}
	end := func(write func() error) {
		if now := time.Now(); now.Before(h.to) {
			h.to = now
		}
		w.check(write())
	}
	<-time.After(time.Duration(random.IntN(10)) * time.Millisecond)
	switch random.IntN(4) {
	case 0: // dies with it
		l.mu.Lock()
		l.taken++
		l.mu.Unlock()
	case 1:
		end(func() error { return v.Release(w.ctx, claimed) })
	case 2:
		next := claimed.Opened
		next.Probes++
		next.NextProbe = v.now().Add(time.Duration(random.IntN(10)) * time.Millisecond)
		end(func() error { return v.Failed(w.ctx, claimed, next) })
	case 3:
		end(func() error { return v.Close(w.ctx, name) })
	}
	l.add(name, h)
}

// check is must for other goroutines than the test's.
func (w *bucketWorld) check(err error) {
	w.Helper()
	if err != nil {
		w.Error(err)
	}
}

func TestADeadProberIsReplaced(t *testing.T) {
	t.Parallel()
	const lease, atOnce = 300 * time.Millisecond, 500 * time.Millisecond
	var took time.Duration
	for tries := 0; tries == 0 || tries < 3 && took > lease+atOnce; tries++ { // a machine may stand still
		took = replaced(t, lease)
		t.Logf("replaced after %s", took)
	}
	if took < lease || took > lease+atOnce {
		t.Errorf("replaced after %s, with a lease of %s", took, lease)
	}
}

// replaced returns how long after its claim a prober was replaced that is never heard
// of again.
func replaced(t *testing.T, lease time.Duration) time.Duration {
	t.Helper()
	w := newBucketWorld(t)
	a, b := w.join("a", -time.Hour), w.join("b", time.Hour)
	w.must(a.Open(w.ctx, "acme/crm", a.opened("down")))
	began := time.Now()
	if _, got, err := a.Claim(w.ctx, "acme/crm", 0, lease); !got || err != nil {
		t.Fatalf("got %v, %v", got, err)
	}
	a.Stop()
	var ended Lease
	w.until("b has the lease", func() bool {
		var got bool
		var err error
		ended, got, err = b.Claim(w.ctx, "acme/crm", 0, lease)
		w.must(err)
		return got
	})
	took := time.Since(began)
	if ended.Opened.Prober != "b" {
		t.Errorf("got %+v", ended)
	}
	return took
}
