package worker

import (
	"context"
	"sync"
	"time"
)

// slots counts the attempts that may still be started. Taking several at once
// is what makes fetching cheap: a fetch costs the same for one message as for
// fifty.
type slots struct {
	mu   sync.Mutex
	free int
	size int
	// enough is how many must be free before a waiter is woken.
	enough int
	freed  chan struct{} // of capacity 1
}

func newSlots(size int) *slots {
	return &slots{free: size, size: size, enough: 1, freed: make(chan struct{}, 1)}
}

// gather is how long take waits for more slots once one is free.
const gather = time.Millisecond

// take waits for free slots and takes up to want of them. When the slots are
// nearly exhausted it waits a little for an eighth of them to be free, because
// fetching messages one by one costs more than they do. It returns 0 when ctx
// ends first.
func (s *slots) take(ctx context.Context, want int) int {
	enough := min(want, max(1, s.size/8))
	var timer *time.Timer
	var gathered <-chan time.Time
	defer func() {
		if timer != nil {
			timer.Stop()
		}
	}()
	for {
		s.mu.Lock()
		if s.free >= enough {
			n := min(s.free, want)
			s.free -= n
			s.enough = 1
			s.wake()
			s.mu.Unlock()
			return n
		}
		if s.free > 0 && timer == nil {
			timer = time.NewTimer(gather)
			gathered = timer.C
		}
		s.enough = 1
		if timer != nil {
			s.enough = enough
		}
		s.mu.Unlock()
		select {
		case <-ctx.Done():
			return 0
		case <-gathered:
			enough = 1
		case <-s.freed:
		}
	}
}

// tryTake takes one slot if one is free.
func (s *slots) tryTake() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.free == 0 {
		return false
	}
	s.free--
	return true
}

// give returns n slots.
func (s *slots) give(n int) {
	s.mu.Lock()
	s.free += n
	s.wake()
	s.mu.Unlock()
}

// wake lets one waiter look again. A waiter that leaves slots behind wakes the
// next.
func (s *slots) wake() {
	if s.free < s.enough {
		return
	}
	select {
	case s.freed <- struct{}{}:
	default:
	}
}

// busy returns how many slots are taken.
func (s *slots) busy() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.size - s.free
}
