package gate

import (
	"strings"
	"sync"
	"time"
)

// Set is the gates of one pool of slots. It is safe for use by many goroutines.
type Set struct {
	epoch    time.Time
	replicas func() int
	slots    slots
	mu       sync.RWMutex
	gates    map[string]*Gate
	tenants  map[string]*tenant
	counted  gateList // with a tally that was not asked for
	ramped   gateList // that were on the ramp when last was looked
}

// instant is a time since a set's epoch: a third of a time.Time, and 0 means
// never.
type instant = time.Duration

// NewSet returns the gates of a pool with so many slots. replicas says how many
// replicas share an endpoint's limits; it is called for each delivery.
func NewSet(slotCount int, replicas func() int) *Set {
	return &Set{
		// Nothing that happens lies less than a window after the epoch.
		epoch:    time.Now().Add(-time.Hour),
		replicas: replicas,
		slots:    slots{size: slotCount},
		gates:    make(map[string]*Gate),
		tenants:  make(map[string]*tenant),
	}
}

func (s *Set) now() instant              { return time.Since(s.epoch) }
func (s *Set) time(at instant) time.Time { return s.epoch.Add(at) }

// Resize changes how many slots the pool has. What is in flight stays.
func (s *Set) Resize(slotCount int) { s.slots.feed(s.slots.resize(slotCount)) }

// Of returns the gate of the endpoint TENANT/ENDPOINT, made when first needed,
// with the terms that hold from now on. It keeps the name. The gate is for use now:
// one that has not been used for a minute may not be the endpoint's any more.
func (s *Set) Of(name string, terms Terms) *Gate {
	s.mu.RLock()
	g := s.gates[name]
	if g != nil {
		g.update(terms) // which keeps it from being swept, so within the lock
	}
	s.mu.RUnlock()
	if g != nil {
		return g
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if g = s.gates[name]; g != nil {
		g.update(terms)
		return g
	}
	g = newGate(s, name, s.tenantOf(name), terms)
	s.gates[name] = g
	return g
}

// Known returns the gate of an endpoint if there is one, and otherwise nil.
func (s *Set) Known(name string) *Gate {
	s.mu.RLock()
	defer s.mu.RUnlock()
	return s.gates[name]
}

func (s *Set) tenantOf(name string) *tenant {
	id := tenantID(name)
	t := s.tenants[id]
	if t == nil {
		t = &tenant{}
		s.tenants[strings.Clone(id)] = t
	}
	t.gates++
	return t
}

// Len returns how many gates there are.
func (s *Set) Len() int {
	s.mu.RLock()
	defer s.mu.RUnlock()
	return len(s.gates)
}

// InFlight returns how many deliveries have leave to go and are not done.
func (s *Set) InFlight() int { return s.slots.busy() }

// Sweep drops the gates that have nothing to remember: nothing is in flight,
// nobody waits, none was used for a minute, it is closed, not on the ramp, and
// its rate is rested. What failed last is remembered for six hours. It is to be
// called every few seconds or minutes.
func (s *Set) Sweep() {
	var idle []string
	s.mu.RLock()
	now := s.now()
	for name, g := range s.gates {
		if g.idle(now) {
			idle = append(idle, name)
		}
	}
	s.mu.RUnlock()
	if len(idle) == 0 {
		return
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, name := range idle {
		if g := s.gates[name]; g != nil && g.idle(now) {
			s.drop(name, g)
		}
	}
}

func (s *Set) drop(name string, g *Gate) {
	delete(s.gates, name)
	if g.tenant.gates--; g.tenant.gates == 0 {
		delete(s.tenants, tenantID(name))
	}
}

// tenantID returns TENANT of TENANT/ENDPOINT.
func tenantID(name string) string {
	id, _, _ := strings.Cut(name, "/") // without a slash all of it, which is a tenant of its own
	return id
}
