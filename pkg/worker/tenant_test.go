package worker

import (
	"testing"
	"testing/synctest"
	"time"
)

// fleetOf are tenants in a fleet that may change.
func fleetOf(perSecond float64, replicas *int) *tenants {
	return newTenants(perSecond, func() int { return *replicas })
}

// pass lets time pass. A timer that is due at once is left out: see package gate's.
func pass(d time.Duration) {
	if d > 0 {
		<-time.After(d)
	}
}

// A second's worth goes at once and the rest at the rate, whatever the rate.
func TestBucketKeepsTheRate(t *testing.T) {
	for _, perSecond := range []float64{0.3, 1, 7.5, 200, 3000} {
		synctest.Test(t, func(t *testing.T) {
			one := 1
			b := fleetOf(perSecond, &one).bucket("acme")
			burst := 0
			for b.allow() {
				burst++
			}
			if want := max(1, int(perSecond)); burst != want {
				t.Errorf("%v/s: %d go at once, want %d", perSecond, burst, want)
			}
			// What was refused keeps the others behind it for a moment: they are
			// held, and a feed takes them.
			const seconds = 100
			began, fed := time.Now(), 0
			for {
				ticket := b.reserve(1 << 20)
				if ticket.due.Sub(began) > seconds*time.Second {
					break
				}
				fed += ticket.n
				pass(time.Until(ticket.due))
				if b.allow() {
					t.Fatalf("%v/s: a new delivery goes while others wait", perSecond)
				}
			}
			if want := perSecond * seconds; float64(fed) < want*0.98-1 || float64(fed) > want+1 {
				t.Errorf("%v/s: %d are fed in %d s", perSecond, fed, seconds)
			}
		})
	}
}

// Replicas share the rate, and a change of their number counts at once.
func TestBucketsOfReplicasShareTheRate(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		replicas := 4
		var all []*bucket
		for range replicas {
			all = append(all, fleetOf(100, &replicas).bucket("acme"))
		}
		total := func() (n int) {
			for _, b := range all {
				for b.allow() {
					n++
				}
			}
			return n
		}
		if n := total(); n != 100 {
			t.Errorf("%d go at once, want 100", n)
		}
		pass(catchUp)
		if n := total(); n != 100 {
			t.Errorf("%d go after a second, want 100", n)
		}
		replicas, all = 1, all[:1]
		if all[0].allow() {
			t.Error("a token comes from nowhere when replicas go")
		}
		pass(catchUp)
		if n := total(); n != 100 {
			t.Errorf("%d go in a second from the one that is left, want 100", n)
		}
	})
}

// Those that wait are due in the order in which they came, at the rate; and new
// ones stand behind them until none had to wait for a while.
func TestThoseThatWaitAreServedInTurn(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		one := 1
		b := fleetOf(10, &one).bucket("acme")
		for b.allow() {
		}
		began := time.Now()
		for i := range 50 {
			if due := b.reserve(1).due.Sub(began); due < time.Duration(i+1)*99*time.Millisecond || due > time.Duration(i+1)*101*time.Millisecond {
				t.Fatalf("number %d is due after %v", i, due)
			}
		}
		pass(5 * time.Second)
		pass(time.Until(b.reserve(5).due) + catchUp/2)
		if b.allow() {
			t.Error("a new one goes ahead of a feed that comes for its next tokens")
		}
		pass(catchUp)
		if !b.allow() {
			t.Error("none goes when nobody had to wait for long")
		}
	})
}

// What is given back can be used, also while others have taken what is not there
// yet.
func TestRefund(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		one := 1
		b := fleetOf(10, &one).bucket("acme")
		for b.allow() {
		}
		first := b.reserve(1)
		for range 9 {
			b.reserve(1)
		}
		first.refund(1)
		if due := time.Until(b.reserve(1).due); due > 1001*time.Millisecond {
			t.Errorf("the next is due in %v, as if nothing had been given back", due)
		}
		pass(time.Minute)
		b.refund(5) // of a full bucket
		n := 0
		for ; b.allow(); n++ {
		}
		if n > 10+5 {
			t.Errorf("%d go at once", n)
		}
	})
}

// A bucket is dropped when it is full and nobody used it, and not while it owes
// anything.
func TestIdleBucketsAreDropped(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		one := 1
		all := fleetOf(10, &one)
		all.bucket("idle").allow()
		all.bucket("full")
		all.bucket("owes").reserve(10)
		for range 100 {
			all.bucket("owes").reserve(1)
		}
		all.sweep()
		if n := len(all.all); n != 3 {
			t.Fatalf("%d buckets, want the 3 that were just used", n)
		}
		pass(5 * time.Second)
		all.sweep()
		if all.all["owes"] == nil || len(all.all) != 1 {
			t.Errorf("buckets %v, want the one that owes", all.all)
		}
		pass(time.Minute)
		all.sweep()
		if n := len(all.all); n != 0 {
			t.Errorf("%d buckets are left", n)
		}
	})
}

// Without a rate there is nothing to ask, to wait for or to sweep.
func TestNoTenantRate(t *testing.T) {
	all := newTenants(0, nil)
	all.sweep()
	var b *bucket
	ticket := b.reserve(7)
	ticket.refund(7)
	if all != nil || !b.allow() || b.lacks() || ticket.n != 7 || !ticket.due.IsZero() {
		t.Errorf("%v: %+v", all, ticket)
	}
}
