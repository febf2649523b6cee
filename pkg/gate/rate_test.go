package gate

import (
	"context"
	"fmt"
	"math"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"
)

// A backlog is drained at exactly the rate, though its reader takes time
// between one Take and the next.
func TestTakeDrainsAtTheRate(t *testing.T) {
	for _, rate := range []float64{0.05, 1, 50.0 / 3, 333, 2500, 30_000} {
		for _, overhead := range []time.Duration{0, 5 * time.Millisecond} {
			t.Run(fmt.Sprintf("%g/s, %v", rate, overhead), func(t *testing.T) {
				synctest.Test(t, func(t *testing.T) {
					burst := max(1, int(rate/10))
					g := NewSet(1<<20, alone).Of("acme/crm", Terms{PerSecond: rate, Burst: burst, MaxInFlight: 1000})
					g.flow.begin(1000) // the concurrency is not the point here
					want := max(200, int(rate))
					var went log
					start, n := time.Now(), 0
					for n < want+burst {
						got := g.Take(t.Context(), 500)
						went.add(got)
						n += got
						pass(overhead)
						end(g, got, Alive)
					}
					took := went.at[len(went.at)-1].Sub(start).Seconds()
					if got := float64(n-burst) / took; math.Abs(got/rate-1) > 0.01 {
						t.Errorf("%d in %vs: %v/s, want %v", n, took, got, rate)
					}
					if n < 2000 {
						went.checkRate(t, rate, burst)
					}
				})
			})
		}
	}
}

// A timer that is late costs no tokens: who waited is served as of the time at
// which they were due.
func TestLateTimersLoseNoRate(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		const rate = 100
		g := NewSet(64, alone).Of("acme/crm", Terms{PerSecond: rate, Burst: 1, MaxInFlight: 64})
		end(g, g.Take(t.Context(), 1), Alive)
		start := time.Now()
		for range 500 {
			took := make(chan int)
			go func() { took <- g.Take(t.Context(), 5) }()
			synctest.Wait()
			g.mu.Lock()
			g.timer.Stop()
			late := g.due + 3*time.Millisecond - g.set.now()
			g.mu.Unlock()
			pass(late)
			g.wake()
			end(g, <-took, Alive)
		}
		if took := time.Since(start); took > 5*time.Second+10*time.Millisecond || took < 5*time.Second {
			t.Errorf("500 at 100/s took %v, want 5s", took)
		}
	})
}

// Fresh deliveries never wait for the rate, never exceed it, and stand back
// while the feed waits for it.
func TestEnterAndTheRate(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		g := NewSet(64, alone).Of("acme/crm", Terms{PerSecond: 10, Burst: 5, MaxInFlight: 64})
		start := time.Now()
		if n := enter(t, g, 100); n != 5 || time.Since(start) != 0 {
			t.Fatalf("%d went within %v, want the burst of 5 at once", n, time.Since(start))
		}
		end(g, 5, Alive)
		took := make(chan int)
		go func() { took <- g.Take(t.Context(), 5) }()
		synctest.Wait()
		for range 100 {
			pass(time.Millisecond - time.Microsecond)
			if got := g.Enter(t.Context()); got != NotNow {
				t.Fatalf("a fresh delivery got %v before the feed", got)
			}
		}
		if n := <-took; n != 1 {
			t.Errorf("the feed got %d, want 1", n)
		}
	})
}

// What is given back can go again, and no more than that.
func TestUntakeGivesTokensBack(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := NewSet(64, alone)
		g := s.Of("acme/crm", Terms{PerSecond: 1, Burst: 5, MaxInFlight: 8})
		for range 100 {
			n := g.Take(t.Context(), 10)
			if n != 5 {
				t.Fatalf("took %d, want the burst of 5", n)
			}
			g.Untake(n)
		}
		g.Untake(g.Take(t.Context(), 2))
		pass(time.Hour)
		if n := enter(t, g, 100); n != 5 || s.InFlight() != 5 {
			t.Errorf("%d went, %d in flight, want 5", n, s.InFlight())
		}
		took := make(chan int)
		go func() { took <- g.Take(t.Context(), 10) }()
		synctest.Wait()
		g.Untake(3) // lets in at once who waits for the rate
		if n := <-took; n < 1 || n > 3 {
			t.Errorf("took %d of the 3 given back", n)
		}
	})
}

// One who gives up waiting for the rate takes none of it along.
func TestTakeThatEndsCostsNothing(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := NewSet(64, alone)
		g := s.Of("acme/crm", Terms{PerSecond: 1, Burst: 1, MaxInFlight: 8})
		end(g, enter(t, g, 1), Alive)
		for range 9 {
			ctx, cancel := context.WithTimeout(t.Context(), 100*time.Millisecond)
			if n := g.Take(ctx, 5); n != 0 {
				t.Errorf("took %d before there was any", n)
			}
			cancel()
		}
		pass(100*time.Millisecond + 1)
		if got := g.Enter(t.Context()); got != Go {
			t.Errorf("after a second: %v", got)
		}
		g.Done(Vital{})
		ctx, cancel := context.WithCancel(t.Context())
		cancel()
		if n := g.Take(ctx, 5); n != 0 || s.InFlight() != 0 {
			t.Errorf("took %d after the end", n)
		}
		if n := g.Take(t.Context(), 0); n != 0 {
			t.Errorf("took %d of none", n)
		}
	})
}

// The number of replicas and the document may change at any time.
func TestLimitsChangeLive(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var replicas atomic.Int64
		replicas.Store(4)
		s := NewSet(1<<20, func() int { return int(replicas.Load()) })
		terms := Terms{PerSecond: 40, Burst: 4, MaxInFlight: 64}
		g := s.Of("acme/crm", terms)
		drain := func(want float64) {
			t.Helper()
			end(g, g.Take(t.Context(), 1), Alive) // by what held before
			start := time.Now()
			for range 100 {
				end(g, g.Take(t.Context(), 1), Alive)
			}
			if got := 100 / time.Since(start).Seconds(); math.Abs(got/want-1) > 0.01 {
				t.Errorf("%v/s, want %v", got, want)
			}
		}
		enter(t, g, 1)
		drain(10)
		replicas.Store(2)
		drain(20)
		terms.PerSecond = 100
		s.Of("acme/crm", terms)
		drain(50)
		// One who waits already learns of it.
		terms.PerSecond = 0.001
		s.Of("acme/crm", terms)
		took := make(chan int)
		go func() { took <- g.Take(t.Context(), 1) }()
		synctest.Wait()
		start := time.Now()
		terms.PerSecond = 0
		s.Of("acme/crm", terms)
		if n := <-took; n != 1 || time.Since(start) != 0 {
			t.Errorf("took %d after %v, want 1 at once: there is no limit any more", n, time.Since(start))
		}
		end(g, 1, Alive)
		terms.MaxInFlight = 6
		s.Of("acme/crm", terms)
		if n := 1 + enter(t, g, 100); n != 3 {
			t.Errorf("%d in flight, want half of 6", n)
		}
	})
}

// An endpoint that was down starts with a little, which doubles every second,
// each replica with its share, and then has all.
func TestRamp(t *testing.T) {
	for _, replicas := range []int{1, 4, 40, 400} {
		t.Run(fmt.Sprint(replicas), func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				g := NewSet(1<<20, func() int { return replicas }).Of("acme/crm", Terms{MaxInFlight: 1 << 20})
				g.SetOpen(true)
				g.SetOpen(false)
				start := time.Now()
				counts := make([]float64, int(rampTime/(100*time.Millisecond)))
				for {
					n := g.Take(t.Context(), 100)
					i := int(time.Since(start) / (100 * time.Millisecond))
					if i >= len(counts) {
						break
					}
					counts[i] += float64(n)
					end(g, n, Alive)
				}
				most := func(at float64) float64 { // by the curve, until then
					return rampStart / float64(replicas) / math.Ln2 * (math.Exp2(at) - 1)
				}
				for i, n := range counts {
					from, to := float64(i)/10, float64(i+1)/10
					burst := rampStart * math.Exp2(to) / float64(replicas) * rampBurst.Seconds()
					if full := most(to) - most(from); n > full+max(1, burst)+1 {
						t.Errorf("%v went in the %dth 100 ms, the ramp lets %v", n, i, full)
					} else if full > 20 && n < 0.8*full {
						t.Errorf("only %v went in the %dth 100 ms, the ramp lets %v", n, i, full)
					}
					if i >= 10 && counts[i-10] > 10 && n < 1.5*counts[i-10] {
						t.Errorf("%v went in the %dth 100 ms, %v a second before", n, i, counts[i-10])
					}
				}
				pass(time.Second)
				if g.Untake(g.Take(t.Context(), 1)); g.tokens != nil {
					t.Error("the ramp has no end")
				}
			})
		})
	}
}

// On the ramp an endpoint's own rate limit still holds.
func TestRampWithinTheLimit(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		g := NewSet(1<<20, alone).Of("acme/crm", Terms{PerSecond: 100, Burst: 10, MaxInFlight: 1000})
		g.SetOpen(true)
		g.SetOpen(false)
		var went log
		start := time.Now()
		for time.Since(start) < 15*time.Second {
			n := g.Take(t.Context(), 100)
			went.add(n)
			end(g, n, Alive)
		}
		went.checkRate(t, 100, 10)
		if n := len(went.at); n < 1300 {
			t.Errorf("%d in 15s at 100/s", n)
		}
	})
}

// While the feed waits for several tokens, fresh deliveries leave it the few
// that are there, and do not wait. When it gives up, those behind it have them.
func TestTheFeedsTokensAreItsOwn(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		g := NewSet(1000, alone).Of("acme/crm", Terms{PerSecond: 1000, Burst: 100, MaxInFlight: 200})
		g.flow.begin(200)
		end(g, enter(t, g, 100), Alive)
		ctx, cancel := context.WithCancel(t.Context())
		first, second := make(chan int), make(chan int)
		go func() { first <- g.Take(ctx, 50) }()
		synctest.Wait()
		go func() { second <- g.Take(t.Context(), 2) }()
		pass(5*time.Millisecond + 1)
		start := time.Now()
		if got := g.Enter(t.Context()); got != NotNow || time.Since(start) != 0 {
			t.Errorf("a fresh delivery got %v after %v, want NotNow at once", got, time.Since(start))
		}
		cancel()
		if n := <-first; n != 0 {
			t.Errorf("took %d after the end", n)
		}
		if n := <-second; n != 2 || time.Since(start) != 0 {
			t.Errorf("the one behind took %d after %v, want 2 at once", n, time.Since(start))
		}
	})
}

// No time counts twice when the bucket was brought up to date before a timer
// that is late.
func TestNoTimeCountsTwice(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		g := NewSet(64, alone).Of("acme/crm", Terms{PerSecond: 100, Burst: 5, MaxInFlight: 64})
		end(g, enter(t, g, 5), Alive)
		took := make(chan int)
		go func() { took <- g.Take(t.Context(), 1) }()
		synctest.Wait()
		g.mu.Lock()
		g.timer.Stop()
		g.mu.Unlock()
		pass(40*time.Millisecond + 1)
		g.mu.Lock()
		g.tune(g.set.now())
		g.mu.Unlock()
		g.wake()
		if n := <-took + enter(t, g, 10); n != 4 {
			t.Errorf("%d went after 40ms at 100/s, want 4", n)
		}
	})
}

// What is kept for a feed that waits elsewhere is there when it comes, however
// many fresh deliveries ask meanwhile; what there is beside it is theirs.
func TestKeep(t *testing.T) {
	tests := map[string]struct {
		terms  Terms
		beside int
	}{
		"the token":          {Terms{PerSecond: 0.5, Burst: 1, MaxInFlight: 8}, 0},
		"one of two tokens":  {Terms{PerSecond: 0.5, Burst: 2, MaxInFlight: 8}, 1},
		"the place":          {Terms{MaxInFlight: 1}, 0},
		"one of five places": {Terms{MaxInFlight: 5}, 4},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				g := NewSet(64, alone).Of("acme/crm", tt.terms)
				g.Keep(10 * time.Second)
				if n := enter(t, g, 8); n != tt.beside {
					t.Errorf("%d went beside it, want %d", n, tt.beside)
				}
				if n := g.Take(t.Context(), 1); n != 1 {
					t.Errorf("Take has %d", n)
				}
				end(g, tt.beside+1, Alive)
				pass(10 * time.Second)
				if n := enter(t, g, 8); n != tt.beside+1 {
					t.Errorf("%d went after it was kept, want %d", n, tt.beside+1)
				}
			})
		})
	}
}

func TestWaitIsForTheRate(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		set := NewSet(64, alone)
		g := set.Of("acme/crm", Terms{PerSecond: 0.5, Burst: 1, MaxInFlight: 1})
		if d := g.Wait(); d != 0 {
			t.Errorf("%v with a token there", d)
		}
		g.Take(t.Context(), 1)
		if g.Room() {
			t.Error("there is room beside the only one")
		}
		pass(500 * time.Millisecond)
		if d := g.Wait().Round(time.Microsecond); d != 1500*time.Millisecond {
			t.Errorf("%v, want 1.5s until there is a token", d)
		}
		set.Of("acme/crm", Terms{PerSecond: 500, Burst: 1, MaxInFlight: 1})
		if d := g.Wait(); d > 10*time.Millisecond {
			t.Errorf("%v with another rate", d)
		}
		set.Of("acme/crm", Terms{MaxInFlight: 1})
		if d := g.Wait(); d != 0 {
			t.Errorf("%v without a rate", d)
		}
	})
}
