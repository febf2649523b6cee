package gate

import (
	"context"
	"testing"
	"testing/synctest"
	"time"
)

func TestConcurrencyLearns(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		g := NewSet(10_000, alone).Of("acme/crm", Terms{MaxInFlight: 64})
		check := func(want int) {
			t.Helper()
			pass(time.Second) // what is under way is out of the way of a halving
			if got := enter(t, g, 200); got != want {
				t.Fatalf("%d at a time, want %d", got, want)
			}
		}
		check(8) // a small start
		end(g, 8, Alive)
		check(16) // a round of successes doubles it
		end(g, 16, Alive)
		check(32)
		end(g, 32, Alive)
		check(64) // as far as the document allows
		end(g, 64, Alive)
		check(64)
		end(g, 64, Neutral)
		check(64)
		end(g, 64, Alive)
		check(64)
		g.Done(Vital{Fault: Overloaded}) // halves it, once
		g.Done(Vital{Fault: Overloaded})
		end(g, 62, Neutral)
		check(32)
		end(g, 32, Alive)
		check(32) // 32 + 32 times a 32nd and a bit less
		end(g, 32, Alive)
		check(33)
		end(g, 33, Alive)
		check(34)
		end(g, 34, Failing) // neither up nor down
		if !g.IsOpen() {
			t.Error("34 failures in a row, and closed")
		}
	})
}

// Each round of overload halves the limit, down to one, and no further.
func TestOverloadHalves(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		g := NewSet(10_000, alone).Of("acme/crm", Terms{MaxInFlight: 64})
		grow(t, g, 64)
		for _, want := range []int{64, 32, 16, 8, 4, 2, 1, 1, 1} {
			pass(halving)
			if got := enter(t, g, 200); got != want {
				t.Fatalf("%d at a time, want %d", got, want)
			}
			end(g, 1, Overloaded)
			end(g, want-1, Alive)
			g.flow.credit = 0 // the successes are not the point here
			g.flow.limit = max(1, float64(want/2))
		}
	})
}

// Overload within a tenth of a second is one overload, and so is that of all
// who were under way at the time.
func TestHalvesOnceARound(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		g := NewSet(10_000, alone).Of("acme/crm", Terms{MaxInFlight: 64})
		grow(t, g, 64)
		pass(halving)
		in := enter(t, g, 64)
		for i := range 4 {
			g.Done(Vital{Fault: Overloaded})
			g.health = health{}
			pass(10 * halving)
			if got := int(g.flow.limit); got != 32 {
				t.Fatalf("limit %d after %d of one round, want 32", got, i+1)
			}
		}
		end(g, in-4, Neutral)
		for range 9 { // one after the other: no round to speak of
			enter(t, g, 1)
			g.Done(Vital{Fault: Overloaded})
			g.health = health{}
			pass(halving / 10)
		}
		if got := int(g.flow.limit); got != 16 {
			t.Errorf("limit %d after overloads within a tenth of a second, want 16", got)
		}
	})
}

// A limit that is not used does not grow, and one that is used by few grows
// for few.
func TestUnusedLimitStays(t *testing.T) {
	g := NewSet(10_000, alone).Of("acme/crm", Terms{MaxInFlight: 64})
	for range 1000 {
		end(g, enter(t, g, 7), Alive)
	}
	if got := int(g.flow.limit); got != 8 {
		t.Errorf("limit %d, want the 8 that were never reached", got)
	}
	for range 1000 {
		end(g, enter(t, g, 8), Alive)
	}
	if got := int(g.flow.limit); got > 16 {
		t.Errorf("limit %d for 8 at a time, want 16 at most", got)
	}
}

// Fresh deliveries wait for an endpoint that is quick, and for no other.
func TestPatience(t *testing.T) {
	tests := map[string]struct {
		every  time.Duration // an attempt ends
		waits  int           // of a hundred more, at most
		enough int           // and at least
	}{
		"quick":       {100 * time.Microsecond, 200, 100},
		"fairly":      {2 * time.Millisecond, 10, 5},
		"slow":        {19 * time.Millisecond, 2, 1},
		"much slower": {100 * time.Millisecond, 0, 0},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				g := NewSet(10_000, alone).Of("acme/crm", Terms{MaxInFlight: 8})
				ctx, cancel := context.WithCancel(t.Context())
				enter(t, g, 8)
				stopped := make(chan struct{})
				go func() { // keeps the endpoint busy
					defer close(stopped)
					for ctx.Err() == nil {
						pass(tt.every)
						g.Done(Vital{Fault: Alive})
						g.Take(ctx, 1)
					}
				}()
				pass(50*tt.every + tt.every/2)
				start := time.Now()
				answers := make(chan Leave, 100)
				for range cap(answers) {
					go func() { answers <- g.Enter(ctx) }()
				}
				synctest.Wait()
				waiting := cap(answers) - len(answers)
				if waiting > tt.waits || waiting < tt.enough {
					t.Errorf("%d wait, want %d to %d", waiting, tt.enough, tt.waits)
				}
				for range cap(answers) {
					if <-answers; time.Since(start) > longest {
						t.Fatalf("an answer after %v, want %v at most", time.Since(start), longest)
					}
				}
				cancel()
				<-stopped
			})
		})
	}
}

// Of an endpoint that never answers, deliveries learn within their patience
// that it is not worth waiting.
func TestNobodyWaitsForTheDead(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		g := NewSet(10_000, alone).Of("acme/crm", Terms{MaxInFlight: 8})
		enter(t, g, 8)
		start := time.Now()
		enter(t, g, 1)
		pass(time.Millisecond)
		between := time.Since(start)
		if enter(t, g, 1000); time.Since(start) != between {
			t.Errorf("waited %v more for the dead", time.Since(start)-between)
		}
	})
}

// All who wait for room get it in turn, the feed and fresh deliveries alike.
func TestFirstComeFirstServed(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := NewSet(10_000, alone)
		g := s.Of("acme/crm", Terms{MaxInFlight: 1})
		g.Enter(t.Context())
		g.flow.between = time.Millisecond
		order := make(chan int, 10)
		for i := range cap(order) {
			go func() {
				if i%2 == 0 {
					if n := g.Take(t.Context(), 3); n != 1 {
						t.Errorf("Take = %d, want 1", n)
					}
				} else if got := g.Enter(t.Context()); got != Go {
					t.Errorf("Enter = %v, want Go", got)
				}
				order <- i
			}()
			synctest.Wait()
		}
		for i := range cap(order) {
			pass(time.Millisecond)
			g.Done(Vital{Fault: Alive})
			synctest.Wait()
			if got := <-order; got != i || len(order) > 0 {
				t.Fatalf("number %d had its turn, want %d", got, i)
			}
		}
		g.Done(Vital{})
		if s.InFlight() != 0 {
			t.Errorf("%d in flight at the end", s.InFlight())
		}
	})
}

// What the shared slots keep from going does not let the limit grow.
func TestLackOfSlotsIsNoUse(t *testing.T) {
	g := NewSet(8, alone).Of("acme/crm", Terms{MaxInFlight: 64})
	for range 100 {
		end(g, enter(t, g, 5), Alive)
	}
	if got := int(g.flow.limit); got != 8 {
		t.Errorf("limit %d, want the 8 that were never reached", got)
	}
}

// A quiet hour does not make an endpoint slow.
func TestQuietIsNotSlow(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		g := NewSet(10_000, alone).Of("acme/crm", Terms{MaxInFlight: 8})
		for range 5 {
			enter(t, g, 8)
			for range 8 {
				pass(time.Millisecond)
				g.Done(Vital{Fault: Alive})
			}
			pass(time.Hour)
		}
		enter(t, g, 8)
		entered := make(chan Leave)
		go func() { entered <- g.Enter(t.Context()) }()
		pass(time.Millisecond)
		g.Done(Vital{Fault: Alive})
		if got := <-entered; got != Go {
			t.Errorf("after a quiet hour: %v, want Go within a millisecond", got)
		}
	})
}
