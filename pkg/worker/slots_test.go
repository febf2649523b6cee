package worker

import (
	"context"
	"math/rand/v2"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"
)

// Never more than size are taken, none is lost, and every waiter gets on.
func TestSlotsUnderConcurrency(t *testing.T) {
	t.Parallel()
	for _, size := range []int{1, 2, 7, 64} {
		s := newSlots(size)
		ctx, cancel := context.WithCancel(t.Context())
		var taken, most atomic.Int64
		var turns [2]atomic.Int64
		use := func(n int) {
			now := taken.Add(int64(n))
			for old := most.Load(); now > old && !most.CompareAndSwap(old, now); old = most.Load() {
			}
			taken.Add(int64(-n))
			s.give(n)
		}
		var wg sync.WaitGroup
		for i := range turns {
			wg.Go(func() {
				for turns[i].Load() < 200 {
					n := s.take(ctx, 1+rand.IntN(2*size))
					if n == 0 {
						t.Error("took nothing before the end")
						return
					}
					turns[i].Add(1)
					// Others give them back, one by one.
					wg.Go(func() {
						for range n {
							use(1)
						}
					})
				}
			})
		}
		wg.Go(func() {
			for range 500 {
				if s.tryTake() {
					use(1)
				}
			}
		})
		wg.Wait()
		cancel()
		if got := most.Load(); got > int64(size) {
			t.Errorf("size %d: %d taken at once", size, got)
		}
		if got := s.busy(); got != 0 {
			t.Errorf("size %d: %d slots were lost", size, got)
		}
	}
}

// take gathers an eighth of the slots, but not for long, and not while there
// are enough.
func TestSlotsTake(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newSlots(64)
		if got := s.take(t.Context(), 100); got != 64 {
			t.Fatalf("took %d of 64", got)
		}
		start := time.Now()
		took := make(chan int)
		go func() { took <- s.take(t.Context(), 20) }()
		synctest.Wait()
		s.give(3)
		if got, waited := <-took, time.Since(start); got != 3 || waited != gather {
			t.Errorf("took %d after %v, want the 3 that were free after %v", got, waited, gather)
		}
		start = time.Now()
		go func() { took <- s.take(t.Context(), 20) }()
		synctest.Wait()
		for range 8 {
			s.give(1)
		}
		if got, waited := <-took, time.Since(start); got != 8 || waited != 0 {
			t.Errorf("took %d after %v, want 8 at once", got, waited)
		}
	})
}

// The end of a waiter that gathers lets the others get on.
func TestSlotsTakeEnds(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newSlots(64)
		s.take(t.Context(), 64)
		other := make(chan int, 1)
		go func() { other <- s.take(t.Context(), 64) }() // finds nothing, so gathers nothing
		synctest.Wait()
		ctx, cancel := context.WithCancel(t.Context())
		ended := make(chan int)
		go func() { ended <- s.take(ctx, 64) }()
		synctest.Wait()
		cancel()
		if got := <-ended; got != 0 {
			t.Errorf("took %d after the end", got)
		}
		s.give(1)
		if got := <-other; got != 1 {
			t.Errorf("the other took %d, want 1", got)
		}
	})
}

// Two consumers share what there is, also one that takes the slots again as
// soon as it has given them back.
func TestSlotsStarveNobody(t *testing.T) {
	for _, size := range []int{1, 2, 16} {
		synctest.Test(t, func(t *testing.T) {
			s := newSlots(size)
			ctx, cancel := context.WithCancel(t.Context())
			var turns [2]int
			var wg sync.WaitGroup
			for i := range turns {
				wg.Go(func() {
					for ctx.Err() == nil {
						n := s.take(ctx, size)
						turns[i]++
						<-time.After(time.Second) // a fetch that brings nothing
						s.give(n)
					}
				})
			}
			<-time.After(100 * time.Second)
			cancel()
			wg.Wait()
			if turns[0] < 49 || turns[1] < 49 {
				t.Errorf("size %d: the consumers had %v turns in 100s, want about 50 each", size, turns)
			}
			if got := s.busy(); got != 0 {
				t.Errorf("size %d: %d slots were lost", size, got)
			}
		})
	}
}
