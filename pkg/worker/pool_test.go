package worker

import (
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
)

// Never more goroutines than slots, and all work is done, however it comes.
func TestPool(t *testing.T) {
	t.Parallel()
	const size, works = 8, 5000
	p := newPool(size)
	var done, at, most atomic.Int64
	do := func(*message) {
		now := at.Add(1)
		for old := most.Load(); now > old && !most.CompareAndSwap(old, now); old = most.Load() {
		}
		done.Add(1)
		at.Add(-1)
	}
	var tried atomic.Int64
	var feeders sync.WaitGroup
	for range 2 {
		feeders.Go(func() {
			for range works / 2 {
				p.slots.take(t.Context(), 1)
				p.run(work{&message{}, func(m *message) {
					do(m)
					if p.tryRun(work{m, do}) {
						tried.Add(1)
					}
				}})
			}
		})
	}
	feeders.Wait()
	p.wait()
	if got := done.Load(); got != works+tried.Load() {
		t.Errorf("%d works were done, want %d", got, works+tried.Load())
	}
	if got := most.Load(); got > size {
		t.Errorf("%d at once in %d slots", got, size)
	}
	if got := len(p.seats); got > size {
		t.Errorf("%d goroutines for %d slots", got, size)
	}
	if got := p.slots.busy(); got != 0 {
		t.Errorf("%d slots were not given back", got)
	}
	p.close()
}

// each sees what is worked on, and nothing else.
func TestPoolEach(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := newPool(4)
		release := make(chan struct{})
		messages := map[*message]bool{}
		for range 3 {
			m := &message{}
			messages[m] = true
			p.slots.take(t.Context(), 1)
			p.run(work{m, func(*message) { <-release }})
		}
		synctest.Wait()
		seen := 0
		p.each(func(m *message) {
			seen++
			if !messages[m] {
				t.Error("saw a message that is not worked on")
			}
		})
		if seen != 3 {
			t.Errorf("saw %d messages, want 3", seen)
		}
		close(release)
		p.wait()
		synctest.Wait()
		p.each(func(*message) { t.Error("saw a message after its end") })
		p.close()
	})
}

// A pool starts and stops without leaving anything behind, used or not, and again.
func TestPoolStartStop(t *testing.T) {
	t.Parallel()
	for i := range 500 {
		p := newPool(1 + i%5)
		for range 2 {
			for range i % 7 {
				p.slots.take(t.Context(), 1)
				p.run(work{&message{}, func(*message) {}})
			}
			p.wait()
			p.close()
		}
	}
}
