package gate

import (
	"math/rand/v2"
	"testing"
	"testing/synctest"
	"time"
)

// attempts makes attempts one by one, with time between, until the gate opens.
// It returns how many it made.
func attempts(t *testing.T, g *Gate, gap time.Duration, faults ...Fault) int {
	t.Helper()
	for i, f := range faults {
		if got := g.Enter(t.Context()); got != Go {
			t.Fatalf("attempt %d of a closed gate: %v", i+1, got)
		}
		if g.Done(Vital{Fault: f}) {
			return i + 1
		}
		pass(gap)
	}
	return len(faults)
}

func times(n int, f Fault) []Fault {
	list := make([]Fault, n)
	for i := range list {
		list[i] = f
	}
	return list
}

func TestOpensByFailures(t *testing.T) {
	alternating := func(n int, list ...Fault) (all []Fault) {
		for len(all) < n {
			all = append(all, list...)
		}
		return all
	}
	a, f, o, n := Alive, Failing, Overloaded, Neutral
	tests := map[string]struct {
		faults []Fault
		gap    time.Duration
		opens  int // with which attempt; 0: not at all
		why    string
	}{
		"five in a row":                        {times(9, f), time.Second, 5, "5 failures in a row"},
		"overloaded is a failure":              {times(9, o), time.Second, 5, "5 failures in a row"},
		"an hour apart":                        {times(9, f), time.Hour, 5, "5 failures in a row"},
		"what says nothing interrupts nothing": {append(append(times(4, f), times(50, n)...), f), 0, 55, "5 failures in a row"},
		"alive":                                {times(500, a), 0, 0, ""},
		"neutral":                              {times(500, n), 0, 0, ""},
		"four, and alive":                      {alternating(10, f, f, f, f, a)[:9], 0, 0, ""},
		"after half had failed, fifteen":       {append(alternating(100, f, a), times(30, f)...), 0, 115, "15 failures in a row"},
		"more than half":                       {alternating(300, f, f, a), 0, 20, "14 of the last 20 attempts failed"},
		"more than half, but long ago":         {alternating(300, f, f, a), 2 * time.Second, 0, ""},
		"less than half":                       {alternating(300, f, a, a), 0, 0, ""},
		"after many good ones":                 {append(times(1000, a), alternating(300, f, f, f, a)...), 0, 1075, "57 of the last 95 attempts failed"},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				g := NewSet(64, alone).Of("acme/crm", wide)
				made := attempts(t, g, tt.gap, tt.faults...)
				if g.IsOpen() != (tt.opens > 0) || tt.opens > 0 && made != tt.opens || g.Why() != tt.why {
					t.Errorf("open %v (%q) after %d attempts, want %q after %d", g.IsOpen(), g.Why(), made, tt.why, tt.opens)
				}
			})
		})
	}
}

// An endpoint that asks to be left alone is, whatever else its answer says; where
// that is one to what was asked before the gate closed, it is old news.
func TestRetryAfterOpens(t *testing.T) {
	for _, f := range []Fault{Neutral, Alive, Overloaded, Failing} {
		g := NewSet(64, alone).Of("acme/crm", wide)
		g.Enter(t.Context())
		g.Enter(t.Context())
		if opens := g.Done(Vital{Fault: f, RetryAfter: time.Second}); !opens || !g.IsOpen() {
			t.Errorf("fault %d with Retry-After: opens %v", f, opens)
		}
		g.SetOpen(false)
		if opens := g.Done(Vital{Fault: f, RetryAfter: time.Second}); opens || g.IsOpen() {
			t.Errorf("fault %d with Retry-After of an attempt from before the gate closed: opens %v", f, opens)
		}
	}
}

// An endpoint that fails now and then, by chance, does not open its gate; one
// that fails nearly always does.
func TestChanceDoesNotOpen(t *testing.T) {
	for _, share := range []float64{0.05, 0.1, 0.2, 0.3, 0.8, 0.95} {
		opened := 0
		for seed := range uint64(10) {
			synctest.Test(t, func(t *testing.T) {
				r := rand.New(rand.NewPCG(seed, 1))
				g := NewSet(64, alone).Of("acme/crm", wide)
				for range 2000 {
					f := Alive
					if r.Float64() < share {
						f = Failing
					}
					g.Enter(t.Context())
					if g.Done(Vital{Fault: f}) {
						opened++
						break
					}
					pass(10 * time.Millisecond)
				}
			})
		}
		t.Logf("%v fail: %d of 10 gates opened", share, opened)
		if want := share > 0.5; want && opened < 10 || !want && opened > 0 {
			t.Errorf("%v fail: %d of 10 gates opened", share, opened)
		}
	}
}

// While the gate is open nothing goes, whoever waits is told, and what was
// under way opens it no second time.
func TestOpenLetsNothingThrough(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := NewSet(64, alone)
		g := s.Of("acme/crm", wide)
		if n := enter(t, g, startLimit); n != startLimit {
			t.Fatalf("%d went, want %d", n, startLimit)
		}
		took := make(chan int)
		entered := make(chan Leave)
		go func() { took <- g.Take(t.Context(), 5) }()
		go func() { entered <- g.Enter(t.Context()) }()
		synctest.Wait()
		for i := range 8 {
			if opens := g.Done(Vital{Fault: Failing, RetryAfter: time.Second}); opens != (i == 0) {
				t.Errorf("failure %d opens: %v", i+1, opens)
			}
		}
		if n, l := <-took, <-entered; n != 0 || l != Open {
			t.Errorf("those who waited got %d and %v, want 0 and Open", n, l)
		}
		for range 100 {
			if n, l := g.Take(t.Context(), 5), g.Enter(t.Context()); n != 0 || l != Open {
				t.Fatalf("open, and %d and %v go", n, l)
			}
			pass(time.Minute)
		}
		if s.InFlight() != 0 {
			t.Errorf("%d in flight at the end", s.InFlight())
		}
	})
}

// The fleet's word opens and closes; it says no reason, and closing what is
// closed changes nothing.
func TestTheFleetsWord(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		g := NewSet(64, alone).Of("acme/crm", wide)
		g.SetOpen(false)
		if n := enter(t, g, startLimit); n != startLimit {
			t.Errorf("%d went after closing what is closed, want %d", n, startLimit)
		}
		end(g, startLimit, Alive)
		g.SetOpen(true)
		if !g.IsOpen() || g.Why() != "" || g.Enter(t.Context()) != Open {
			t.Errorf("opened: %v, why %q", g.IsOpen(), g.Why())
		}
		g.SetOpen(false)
		if g.IsOpen() || enter(t, g, 10) != 1 {
			t.Error("closed, and not one at a time goes")
		}
		g.Done(Vital{})
		for _, want := range []int{1, 2, 4, 8} { // the ramp is over, the start is not
			pass(rampTime)
			if n := enter(t, g, 20); n != want {
				t.Errorf("%d at a time, want %d", n, want)
			}
			end(g, want, Alive)
		}
	})
}

// On the ramp three failures in a row open the gate again, and two do not; more
// are needed where some failed before on the same ramp.
func TestRampOpensSooner(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		g := NewSet(64, alone).Of("acme/crm", wide)
		attempts(t, g, time.Second, times(5, Failing)...)
		g.SetOpen(false)
		if n := attempts(t, g, 40*time.Millisecond, Alive, Failing, Failing, Alive, Alive, Failing, Failing, Failing, Failing); n != 9 || g.IsOpen() {
			t.Errorf("open %v after %d attempts of which six failed, at most four in a row", g.IsOpen(), n)
		}
		g.SetOpen(true)
		g.SetOpen(false)
		if n := attempts(t, g, 40*time.Millisecond, Alive, Failing, Failing, Failing, Failing); n != 4 || !g.IsOpen() {
			t.Errorf("open %v after %d attempts, want 4", g.IsOpen(), n)
		}
		g.SetOpen(false)
		pass(rampTime)
		if n := attempts(t, g, time.Second, times(9, Failing)...); n != 5 {
			t.Errorf("after the ramp open with attempt %d, want 5", n)
		}
	})
}

// An endpoint that fails one in three attempts by chance gets through its ramp
// most of the time: were three failures in a row enough, hardly ever.
func TestRampBearsWhatFailsNowAndThen(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		random := rand.New(rand.NewPCG(1, 2))
		again := 0
		for range 100 {
			g := NewSet(64, alone).Of("acme/crm", wide)
			g.SetOpen(true)
			g.SetOpen(false)
			outcomes := make([]Fault, 200)
			for i := range outcomes {
				outcomes[i] = Alive
				if i > 0 && random.IntN(3) == 0 { // the first came after a good probe
					outcomes[i] = Failing
				}
			}
			if attempts(t, g, 40*time.Millisecond, outcomes...); g.IsOpen() {
				again++
			}
		}
		if again > 25 {
			t.Errorf("%d of 100 ramps ended in an open gate", again)
		}
	})
}

// Attempts that began before the endpoint was found well neither keep new ones
// from going nor open the gate again.
func TestOldNewsDoesNotOpen(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := NewSet(64, alone)
		g := s.Of("acme/crm", wide)
		enter(t, g, 8)
		g.SetOpen(true)
		g.SetOpen(false)
		if n := enter(t, g, 3); n != 1 {
			t.Errorf("%d go beside the old ones, want 1", n)
		}
		for range 8 {
			if g.Done(Vital{Fault: Overloaded}) {
				t.Fatal("old news opened the gate")
			}
		}
		g.Done(Vital{Fault: Alive})
		pass(time.Second)
		if n := attempts(t, g, time.Second, times(5, Failing)...); n != 3 {
			t.Errorf("open after %d new failures, want 3", n)
		}
		if s.InFlight() != 0 {
			t.Errorf("%d in flight at the end", s.InFlight())
		}
	})
}

// What began before does not let more go than the endpoint bears.
func TestOldOnesCountAgainstTheMost(t *testing.T) {
	g := NewSet(64, alone).Of("acme/crm", Terms{MaxInFlight: 4})
	enter(t, g, 4)
	g.SetOpen(true)
	g.SetOpen(false)
	if got := g.Enter(t.Context()); got != NotNow {
		t.Errorf("beside the four of old: %v, want NotNow", got)
	}
	g.Done(Vital{Fault: Failing})
	if got := g.Enter(t.Context()); got != Go {
		t.Errorf("beside three of old: %v, want Go", got)
	}
}
