package worker

import (
	"sync"
	"sync/atomic"
)

// pool runs work in standing goroutines, one for each slot that was ever busy
// at the same time as the others. They stay, because the stack that an HTTP
// exchange needs is dear to grow anew for each attempt.
type pool struct {
	slots   *slots
	work    chan work
	mu      sync.Mutex
	seats   []*seat
	running sync.WaitGroup // work, not goroutines
	closed  sync.WaitGroup // goroutines
}

// work is what one slot is taken for.
type work struct {
	m  *message
	do func(*message)
}

// seat is where the keepalive sees what a goroutine works on.
type seat struct{ current atomic.Pointer[message] }

func newPool(size int) *pool {
	return &pool{slots: newSlots(size), work: make(chan work)}
}

// run works in a slot that the caller has taken, and gives it back.
func (p *pool) run(w work) {
	p.running.Add(1)
	select {
	case p.work <- w:
		return
	default:
	}
	if s := p.newSeat(); s != nil {
		go p.sit(s, w)
		return
	}
	// Every goroutine exists, and one has given its slot back: it will be there
	// in a moment.
	p.work <- w
}

// newSeat returns a seat for one more goroutine, or nil when all exist.
func (p *pool) newSeat() *seat {
	p.mu.Lock()
	defer p.mu.Unlock()
	if len(p.seats) >= p.slots.limit() {
		return nil
	}
	s := &seat{}
	p.seats = append(p.seats, s)
	p.closed.Add(1)
	return s
}

func (p *pool) sit(s *seat, w work) {
	defer p.closed.Done()
	for {
		s.current.Store(w.m)
		w.do(w.m)
		s.current.Store(nil)
		p.slots.give(1)
		p.running.Done()
		if w = <-p.work; w.do == nil {
			return
		}
	}
}

// tryRun works in a slot that it takes itself, if one is free.
func (p *pool) tryRun(w work) bool {
	if !p.slots.tryTake() {
		return false
	}
	p.run(w)
	return true
}

// each calls f for every message that is being worked on.
func (p *pool) each(f func(*message)) {
	p.mu.Lock()
	seats := p.seats
	p.mu.Unlock()
	for _, s := range seats {
		if m := s.current.Load(); m != nil {
			f(m)
		}
	}
}

// busy returns how many goroutines are working.
func (p *pool) busy() (n int) {
	p.each(func(*message) { n++ })
	return n
}

// wait returns when nothing is being worked on.
func (p *pool) wait() { p.running.Wait() }

// close ends the goroutines, as each has nothing to do. What is run afterwards gets
// new ones.
func (p *pool) close() {
	p.mu.Lock()
	seats := p.seats
	p.seats = nil
	p.mu.Unlock()
	for range seats {
		p.work <- work{}
	}
	p.closed.Wait()
}
