package worker

import (
	"context"
	"slices"
	"sync"
	"time"
)

// slots counts the attempts that may still be started. Taking several at once
// is what makes fetching cheap: a fetch costs the same for one message as for
// fifty. Who waits is served in turn, so that no consumer keeps slots from the
// other by coming back for them quickly.
type slots struct {
	mu    sync.Mutex
	free  int
	size  int
	queue []*waiter
}

// waiter waits for slots in the queue.
type waiter struct {
	want   int
	enough int // how many must be free; guarded by the slots' mutex
	timer  *time.Timer
	served chan int // of capacity 1: how many it got
}

func newSlots(size int) *slots { return &slots{free: size, size: size} }

// gather is how long a waiter waits for more slots once one is free.
const gather = time.Millisecond

// take waits for free slots and takes up to want of them. When the slots are
// nearly exhausted it waits a little for an eighth of them to be free, because
// fetching messages one by one costs more than they do. It returns 0 when ctx
// ends first.
func (s *slots) take(ctx context.Context, want int) int {
	s.mu.Lock()
	w := &waiter{want: want, enough: min(want, max(1, s.size/8)), served: make(chan int, 1)}
	s.queue = append(s.queue, w)
	s.serve()
	s.mu.Unlock()
	select {
	case n := <-w.served:
		return n
	case <-ctx.Done():
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	select {
	case n := <-w.served: // just before
		return n
	default:
	}
	s.queue = slices.DeleteFunc(s.queue, func(other *waiter) bool { return other == w })
	if w.timer != nil {
		w.timer.Stop()
	}
	s.serve()
	return 0
}

// serve gives free slots to those who wait, the first first. The caller holds
// the mutex.
func (s *slots) serve() {
	for len(s.queue) > 0 && s.free > 0 {
		w := s.queue[0]
		if s.free < w.enough {
			if w.timer == nil {
				w.timer = time.AfterFunc(gather, func() { s.hurry(w) })
			}
			return
		}
		n := min(s.free, w.want)
		s.free -= n
		s.queue = s.queue[1:]
		if w.timer != nil {
			w.timer.Stop()
		}
		w.served <- n
	}
}

// hurry lets a waiter have what is free.
func (s *slots) hurry(w *waiter) {
	s.mu.Lock()
	defer s.mu.Unlock()
	w.enough = 1
	s.serve()
}

// resize changes how many there are. When there are fewer, those that are taken
// beyond are not given out again.
func (s *slots) resize(size int) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.free += size - s.size
	s.size = size
	s.serve()
}

// limit returns how many there are.
func (s *slots) limit() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.size
}

// tryTake takes one slot if one is free.
func (s *slots) tryTake() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.free <= 0 {
		return false
	}
	s.free--
	return true
}

// give returns n slots.
func (s *slots) give(n int) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.free += n
	s.serve()
}

// busy returns how many slots are taken.
func (s *slots) busy() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.size - s.free
}
