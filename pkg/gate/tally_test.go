package gate

import (
	"maps"
	"strconv"
	"sync"
	"testing"
	"testing/synctest"
	"time"
)

// tallies returns what a set counted since it was asked before.
func tallies(s *Set) map[string]Tally {
	all := map[string]Tally{}
	s.Tallies(func(name string, t Tally) { all[name] = t })
	return all
}

// Each attempt is counted once, under its endpoint, and only if it says something
// of one.
func TestTallies(t *testing.T) {
	s := NewSet(64, alone)
	crm, erp := s.Of("acme/crm", wide), s.Of("acme/erp", wide)
	s.Of("acme/idle", wide)
	for _, c := range []struct {
		g *Gate
		v Vital
	}{
		{crm, Vital{Fault: Alive, Ended: Delivered}}, {crm, Vital{Fault: Alive, Ended: Delivered}}, {crm, Vital{Fault: Alive, Ended: Undelivered}},
		{erp, Vital{Fault: Failing, Ended: Undelivered}}, {erp, Vital{}},
	} {
		if c.g.Enter(t.Context()) != Go {
			t.Fatal("no leave")
		}
		c.g.Done(c.v)
	}
	if got, want := tallies(s), (map[string]Tally{"acme/crm": {2, 1}, "acme/erp": {0, 1}}); !maps.Equal(got, want) {
		t.Errorf("%v, want %v", got, want)
	}
	if got := tallies(s); len(got) > 0 {
		t.Errorf("told twice: %v", got)
	}
	enter(t, crm, 1)
	crm.Done(Vital{Fault: Alive, Ended: Delivered})
	if got, want := tallies(s), (map[string]Tally{"acme/crm": {1, 0}}); !maps.Equal(got, want) {
		t.Errorf("later %v, want %v", got, want)
	}
}

// A failure that is old news to the gate is an attempt nevertheless.
func TestTalliesOfStaleFailures(t *testing.T) {
	s := NewSet(64, alone)
	g := s.Of("acme/crm", wide)
	enter(t, g, 1)
	g.SetOpen(true)
	g.SetOpen(false)
	g.Done(Vital{Fault: Failing, Ended: Undelivered})
	if got := tallies(s)["acme/crm"]; got != (Tally{Failed: 1}) {
		t.Errorf("%+v, want one failure", got)
	}
}

// None is lost or counted twice while others ask, and what a gate counted before
// it was dropped is told.
func TestTalliesUnderWay(t *testing.T) {
	const endpoints, each = 20, 500
	s := NewSet(1000, alone)
	sum := map[string]uint32{}
	asked := make(chan struct{})
	stop := make(chan struct{})
	go func() {
		defer close(asked)
		for {
			s.Tallies(func(name string, t Tally) { sum[name] += t.Delivered })
			s.Ramping()
			select {
			case <-stop:
				return
			default:
			}
		}
	}()
	var wg sync.WaitGroup
	for i := range endpoints {
		wg.Go(func() {
			g := s.Of("acme/"+strconv.Itoa(i), wide)
			for range each {
				if g.Enter(t.Context()) == Go {
					g.Done(Vital{Fault: Alive, Ended: Delivered})
				}
			}
		})
	}
	wg.Wait()
	close(stop)
	<-asked
	s.mu.Lock()
	clear(s.gates) // as Sweep would
	s.mu.Unlock()
	s.Tallies(func(name string, t Tally) { sum[name] += t.Delivered })
	for i := range endpoints {
		if got := sum["acme/"+strconv.Itoa(i)]; got != each {
			t.Errorf("endpoint %d: %d attempts, want %d", i, got, each)
		}
	}
}

// A gate is on the ramp from when it closed until that is over, or it opens again.
func TestRamping(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := NewSet(64, alone)
		a, b := s.Of("acme/a", wide), s.Of("acme/b", wide)
		check := func(want int, when string) {
			t.Helper()
			if got := s.Ramping(); got != want {
				t.Errorf("%s: %d on the ramp, want %d", when, got, want)
			}
		}
		check(0, "at first")
		a.SetOpen(true)
		b.SetOpen(true)
		check(0, "open")
		a.SetOpen(false)
		pass(time.Second)
		b.SetOpen(false)
		b.SetOpen(true)
		b.SetOpen(false) // twice, and yet one gate
		check(2, "closed")
		pass(rampTime - time.Second)
		check(1, "one was closed for as long as the ramp lasts")
		b.SetOpen(true)
		check(0, "the other one opened again")
	})
}
