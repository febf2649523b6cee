package gate

import (
	"fmt"
	"math/rand/v2"
	"sync"
	"testing"
	"testing/synctest"
	"time"
)

// story is a random pool with random endpoints, some of them in trouble, at
// which fresh deliveries and feeds go at once.
type story struct {
	*testing.T
	seed      uint64
	slots     int
	replicas  int
	set       *Set
	endpoints []*subject
	wg        sync.WaitGroup
}

// subject is an endpoint, and what the story saw of it.
type subject struct {
	story   *story
	name    string
	terms   Terms
	latency time.Duration
	bad     float64 // the share of attempts that fail while it is in trouble
	until   time.Time

	mu     sync.Mutex
	flying int
	most   int
	went   []time.Time
	shut   [][2]time.Time // when the gate was open
}

func newStory(t *testing.T, r *rand.Rand, seed uint64) *story {
	s := &story{T: t, seed: seed, slots: 1 + r.IntN(64), replicas: 1 + r.IntN(3)}
	s.set = NewSet(s.slots, func() int { return s.replicas })
	for i := range 1 + r.IntN(6) {
		e := &subject{
			story: s, name: fmt.Sprintf("t%d/e%d", i%3, i),
			terms:   Terms{MaxInFlight: 1 + r.IntN(40)},
			latency: time.Duration(r.IntN(50_000)) * time.Microsecond,
		}
		if r.IntN(2) == 0 {
			e.terms.PerSecond, e.terms.Burst = 0.5+400*r.Float64(), 1+r.IntN(30)
		}
		if r.IntN(2) == 0 {
			e.bad, e.until = r.Float64(), time.Now().Add(time.Duration(r.IntN(60))*time.Second)
		}
		s.endpoints = append(s.endpoints, e)
	}
	return s
}

func (e *subject) gate() *Gate { return e.story.set.Of(e.name, e.terms) }

// fresh has deliveries ask one after the other.
func (e *subject) fresh(r *rand.Rand) {
	for range 60 {
		pass(time.Duration(r.IntN(20_000)) * time.Microsecond)
		if e.gate().Enter(e.story.Context()) == Go {
			e.attempt(r)
		}
	}
}

// feed drains a backlog. It must come to its end.
func (e *subject) feed(r *rand.Rand) {
	var wg sync.WaitGroup
	for left := 100; left > 0; {
		n := e.gate().Take(e.story.Context(), 1+r.IntN(30))
		if n == 0 { // the gate is open
			pass(100 * time.Millisecond)
			continue
		}
		use := min(left, r.IntN(n+1))
		for range use {
			r := rand.New(rand.NewPCG(r.Uint64(), 0))
			wg.Go(func() { e.attempt(r) })
		}
		pass(time.Duration(r.IntN(2)) * time.Millisecond)
		if use < n {
			e.gate().Untake(n - use)
		}
		left -= use
	}
	wg.Wait()
}

func (e *subject) attempt(r *rand.Rand) {
	e.mu.Lock()
	e.flying++
	e.most = max(e.most, e.flying)
	e.went = append(e.went, time.Now())
	e.mu.Unlock()
	pass(time.Duration(r.Int64N(int64(2*e.latency) + 1)))
	v := Vital{Fault: Alive}
	if time.Now().Before(e.until) && r.Float64() < e.bad {
		v.Fault = Overloaded + Fault(r.IntN(2))
	} else if r.IntN(20) == 0 {
		v.Fault = Neutral
	}
	e.mu.Lock()
	e.flying--
	e.mu.Unlock()
	if e.gate().Done(v) {
		e.probe(r)
	}
}

// probe closes a gate that opened once, after a while.
func (e *subject) probe(r *rand.Rand) {
	from := time.Now()
	pass(time.Duration(1+r.IntN(5000)) * time.Millisecond)
	e.mu.Lock()
	e.shut = append(e.shut, [2]time.Time{from, time.Now()})
	e.mu.Unlock()
	e.gate().SetOpen(false)
}

// check holds what was seen of an endpoint to what is promised.
func (e *subject) check() {
	t, l := e.story.T, Share(e.terms.PerSecond, e.terms.Burst, e.terms.MaxInFlight, e.story.replicas)
	if e.most > l.MaxInFlight || e.most > (e.story.slots+1)/2 {
		t.Errorf("%s: %d in flight of %d and %d slots", e.name, e.most, l.MaxInFlight, e.story.slots)
	}
	if l.PerSecond > 0 {
		(&log{at: e.went}).checkRate(t, l.PerSecond, l.Burst)
	}
	for _, at := range e.went {
		for _, s := range e.shut {
			if at.After(s[0]) && at.Before(s[1]) {
				t.Errorf("%s: an attempt while the gate was open", e.name)
			}
		}
	}
	// At the end everything is as at the beginning.
	g := e.gate()
	g.flow.begin(l.MaxInFlight)
	want := min(l.MaxInFlight, (e.story.slots+1)/2)
	if l.PerSecond > 0 {
		want = min(want, l.Burst)
	}
	// With patience for nobody, Enter answers at once.
	g.flow.between = time.Hour
	got := enter(t, g, 100)
	if got != want {
		t.Errorf("%s: %d go at the end, want %d", e.name, got, want)
	}
	end(g, got, Alive)
	if n := len(g.queue); n != 0 || g.inFlight != 0 || g.tenant.taken != 0 {
		t.Errorf("%s: %d wait and %d are in flight at the end", e.name, n, g.inFlight)
	}
}

// Whatever happens, no endpoint gets more than its limits at a time or in a
// time, nothing goes while a gate is open, whoever waits gets its turn, and in
// the end no leave is lost.
func TestStories(t *testing.T) {
	for seed := range uint64(150) {
		t.Run(fmt.Sprintf("seed %d", seed), func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				r := rand.New(rand.NewPCG(seed, 7))
				s := newStory(t, r, seed)
				start := time.Now()
				for _, e := range s.endpoints {
					for range 1 + r.IntN(12) {
						r := rand.New(rand.NewPCG(r.Uint64(), 0))
						s.wg.Go(func() { e.fresh(r) })
					}
					r := rand.New(rand.NewPCG(r.Uint64(), 0))
					s.wg.Go(func() { e.feed(r) })
				}
				s.wg.Wait()
				if took := time.Since(start); took > time.Hour {
					t.Errorf("took %v", took)
				}
				if n := s.set.InFlight(); n != 0 {
					t.Errorf("%d in flight at the end", n)
				}
				pass(time.Minute)
				for _, e := range s.endpoints {
					e.gate().Untake(e.gate().Take(t.Context(), 1)) // which ends the ramp
				}
				pass(30 * time.Minute) // all is rested
				for _, e := range s.endpoints {
					e.check()
				}
			})
		})
	}
}
