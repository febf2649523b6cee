package gate

import "sync"

// Ended is what became of an attempt, to be counted. The zero value is not.
type Ended int8

const (
	// Uncounted is an attempt that was interrupted, or none at all.
	Uncounted Ended = iota
	// Delivered is one that was what the endpoint was to have.
	Delivered
	// Undelivered is any other.
	Undelivered
)

// Tally is how many attempts at an endpoint ended.
type Tally struct{ Delivered, Failed uint32 }

// gateList is a list of gates. Its mutex is taken while that of a gate is held,
// and never the other way round.
type gateList struct {
	mu  sync.Mutex
	all []*Gate
}

func (l *gateList) add(g *Gate) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.all = append(l.all, g)
}

// take empties the list.
func (l *gateList) take() []*Gate {
	l.mu.Lock()
	defer l.mu.Unlock()
	all := l.all
	l.all = nil
	return all
}

// count counts an attempt. A gate is in the set's list from its first one on, so
// that whoever asks looks at those endpoints alone that had any. The caller holds
// the mutex.
func (g *Gate) count(e Ended) {
	if e == Uncounted {
		return
	}
	if g.tally == (Tally{}) {
		g.set.counted.add(g)
	}
	if e == Delivered {
		g.tally.Delivered++
	} else {
		g.tally.Failed++
	}
}

// Tallies calls visit for each endpoint with attempts that ended since Tallies was
// called before, in no order. It must be called now and then: what is counted is
// kept until then.
func (s *Set) Tallies(visit func(name string, t Tally)) {
	for _, g := range s.counted.take() {
		g.mu.Lock()
		t := g.tally
		g.tally = Tally{}
		g.mu.Unlock()
		visit(g.name, t)
	}
}

// Ramping returns how many gates are on the ramp, closed a moment ago. It must be
// called now and then, as Tallies.
func (s *Set) Ramping() int {
	now := s.now()
	ramping := make(map[*Gate]bool) // one that opened again meanwhile is there twice
	for _, g := range s.ramped.take() {
		g.mu.Lock()
		on := g.ramp != 0 && now-g.ramp < rampTime
		g.mu.Unlock()
		if on && !ramping[g] {
			ramping[g] = true
			s.ramped.add(g)
		}
	}
	return len(ramping)
}
