package gate

import (
	"fmt"
	"sync"
	"testing"
	"testing/synctest"
	"time"
)

// fill has an endpoint take all it can get, as one does that never answers.
func fill(t *testing.T, s *Set, name string) int {
	t.Helper()
	g := s.Of(name, wide)
	g.flow.begin(1000)
	return enter(t, g, 1000)
}

// One endpoint in trouble gets half of the slots, a tenant with many of them
// three quarters, and whoever comes then still gets some.
func TestSlotsAreShared(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := NewSet(256, alone)
		if n := fill(t, s, "acme/hangs"); n != 128 {
			t.Errorf("one endpoint has %d of 256 slots, want 128", n)
		}
		for i := range 100 {
			fill(t, s, fmt.Sprintf("acme/hangs-%d", i))
		}
		if n := s.InFlight(); n != 192 {
			t.Errorf("one tenant has %d of 256 slots, want 192", n)
		}
		if n := fill(t, s, "globex/crm"); n != 32 {
			t.Errorf("another endpoint has %d of the last 64 slots, want 32", n)
		}
		for i := range 100 {
			if n := fill(t, s, fmt.Sprintf("tenant-%d/crm", i)); n < 1 {
				t.Fatalf("the %dth endpoint got none", i)
			}
		}
	})
}

// Whoever waits for a slot gets it when one is free, also if no attempt of its
// own ends, in turn and each before any a second time.
func TestSlotsAreGivenInTurn(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := NewSet(16, alone)
		fill(t, s, "globex/hangs")
		last := s.Of("acme/0", wide)
		for s.InFlight() < 14 {
			fill(t, s, fmt.Sprintf("t%d/crm", s.InFlight()))
		}
		for last.Enter(t.Context()) == Go {
		}
		const waiting = 5
		order := make(chan int, 100)
		var wg sync.WaitGroup
		for i := range waiting {
			wg.Go(func() {
				g := s.Of(fmt.Sprintf("acme/%d", i+1), wide)
				for range 3 {
					if n := g.Take(t.Context(), 1); n != 1 {
						t.Errorf("took %d, want 1", n)
						return
					}
					order <- i
					pass(time.Millisecond)
					g.Done(Vital{Fault: Alive})
				}
			})
			synctest.Wait()
		}
		before := len(order)
		for last.inFlight > 0 {
			last.Done(Vital{Fault: Alive})
		}
		wg.Wait()
		if len(order) != 3*waiting {
			t.Fatalf("%d turns, want %d", len(order), 3*waiting)
		}
		seen := make(map[int]int)
		for range before {
			seen[<-order]++
		}
		for len(order) > 0 {
			i := <-order
			seen[i]++
			for j := range waiting {
				if seen[i] > seen[j]+2 {
					t.Errorf("number %d has its turn %d, number %d had %d", i, seen[i], j, seen[j])
				}
			}
		}
	})
}

// More slots let in at once who waits for one; fewer take none away.
func TestResize(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := NewSet(2, alone)
		hangs, waits := s.Of("acme/hangs", wide), s.Of("acme/waits", wide)
		hangs.Enter(t.Context())
		for waits.Enter(t.Context()) == Go {
		}
		had := s.InFlight()
		took := make(chan int)
		go func() { took <- waits.Take(t.Context(), 5) }()
		synctest.Wait()
		s.Resize(1)
		synctest.Wait()
		select {
		case n := <-took:
			t.Fatalf("took %d of no slots", n)
		default:
		}
		if s.InFlight() != had {
			t.Errorf("%d in flight after a resize, want %d", s.InFlight(), had)
		}
		s.Resize(64)
		if n := <-took; n < 1 {
			t.Errorf("took %d of 64 slots", n)
		}
	})
}
