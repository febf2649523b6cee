package gate

import (
	"sync"
	"testing"
	"time"

	"go.uber.org/goleak"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// alone is the count of replicas where there is one.
func alone() int { return 1 }

// wide are terms that are never in the way.
var wide = Terms{MaxInFlight: 1000}

// pass lets time go by in a bubble of synctest. A timer that is due at once is left
// out: received from by two goroutines of a bubble at the same time, it brings the race
// detector down (golang/go#78156).
func pass(d time.Duration) {
	if d > 0 {
		<-time.After(d)
	}
}

// log remembers when deliveries went.
type log struct {
	mu sync.Mutex
	at []time.Time
}

func (l *log) add(n int) {
	l.mu.Lock()
	defer l.mu.Unlock()
	for range n {
		l.at = append(l.at, time.Now())
	}
}

// checkRate holds every window of the log to the rate.
func (l *log) checkRate(t *testing.T, perSecond float64, burst int) {
	t.Helper()
	for i := range l.at {
		for j := i; j < len(l.at); j++ {
			n, span := float64(j-i+1), l.at[j].Sub(l.at[i]).Seconds()
			if n > float64(burst)+perSecond*span+1 {
				t.Fatalf("%v went within %vs, more than %v/s and a burst of %d", n, span, perSecond, burst)
			}
		}
	}
}

// enter has n deliveries ask for leave at once and returns how many got it.
func enter(t *testing.T, g *Gate, n int) (got int) {
	t.Helper()
	for range n {
		if g.Enter(t.Context()) == Go {
			got++
		}
	}
	return got
}

// end ends n attempts.
func end(g *Gate, n int, f Fault) {
	for range n {
		g.Done(Vital{Fault: f})
	}
}

// grow brings a gate's concurrency to a limit.
func grow(t *testing.T, g *Gate, limit int) {
	t.Helper()
	for int(g.flow.limit) < limit {
		end(g, enter(t, g, limit), Alive)
	}
}
