package gate

import "sync"

// tenantShare is how many times what is free one tenant may have.
const tenantShare = 3

// slots are what all endpoints of a set share. Each may have as many as are
// free, and always one: a single endpoint gets half of them, and of many none
// can take what the others need, because what is free shrinks for all. A tenant
// may have three times what is free, which is three quarters of all.
type slots struct {
	mu    sync.Mutex
	size  int
	taken int
	// hungry are gates with deliveries waiting that found no slot, the first
	// first.
	hungry []*Gate
}

// tenant counts the slots of one tenant's endpoints. The slots' mutex guards it.
type tenant struct {
	taken int
	gates int // of the set's
}

// grab takes up to n slots for a gate whose mutex the caller holds. One that
// gets none and waits for it is woken when there may be one.
func (s *slots) grab(g *Gate, n int, waits bool) (got int) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for got < n {
		free := s.size - s.taken
		if g.inFlight+got >= max(1, free) || g.tenant.taken >= max(1, tenantShare*free) {
			break
		}
		got++
		s.taken++
		g.tenant.taken++
	}
	if got == 0 && waits && !g.hungry {
		g.hungry = true
		s.hungry = append(s.hungry, g)
	}
	return got
}

// release gives n slots back and reports whether a gate waits for them.
func (s *slots) release(t *tenant, n int) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.taken -= n
	t.taken -= n
	return len(s.hungry) > 0
}

// inVain bounds how many gates are woken for which there is no slot after all.
// The next slot that is given back wakes others.
const inVain = 8

// feed wakes gates that wait for slots when n became free. The caller holds no
// gate's mutex.
func (s *slots) feed(n int) {
	for range inVain + n {
		g := s.next()
		if g == nil {
			return
		}
		if g.wake() {
			n--
		}
		if n == 0 {
			return
		}
	}
}

func (s *slots) next() *Gate {
	s.mu.Lock()
	defer s.mu.Unlock()
	if len(s.hungry) == 0 {
		return nil
	}
	g := s.hungry[0]
	s.hungry[0] = nil
	s.hungry = s.hungry[1:]
	g.hungry = false
	return g
}

// resize changes how many slots there are and returns how many gates wait.
func (s *slots) resize(size int) int {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.size = size
	return len(s.hungry)
}

func (s *slots) busy() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.taken
}
