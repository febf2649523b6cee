package worker

import (
	"context"
	"fmt"
	"maps"
	"math"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"
	"time"

	"jethook/pkg/delivery"
	"jethook/pkg/gate"
	"jethook/pkg/telemetry"
)

// lit is a spotlight and the gates that it looks at.
type lit struct {
	testing.TB
	spotlight
	set     *gate.Set
	metrics *telemetry.Metrics
}

func newLit(t testing.TB, most int) *lit {
	return &lit{t, newSpotlight(most), gate.NewSet(1000, func() int { return 1 }), telemetry.NewMetrics("test")}
}

// attempts makes n attempts at an endpoint.
func (l *lit) attempts(name string, n int) {
	g := l.set.Of(name, gate.Terms{MaxInFlight: 1000})
	for range n {
		if g.Enter(l.Context()) != gate.Go {
			l.Fatal("no leave")
		}
		g.Done(gate.Vital{Fault: gate.Alive, Ended: gate.Delivered})
	}
}

// after looks and returns who is shown.
func (l *lit) after(troubled ...string) []string {
	l.look([]*gate.Set{l.set}, troubled, l.metrics)
	for name := range l.shown {
		l.metrics.ShowEndpoint(name, telemetry.EndpointState{})
	}
	return slices.Sorted(maps.Keys(l.shown))
}

func (l *lit) check(got []string, want ...string) {
	l.Helper()
	if !slices.Equal(got, want) {
		l.Errorf("shown %q, want %q", got, want)
	}
}

// The busiest are shown, counted from then on, and give way to busier ones.
func TestSpotlightIsOnTheBusiest(t *testing.T) {
	l := newLit(t, 2)
	for name, n := range map[string]int{"acme/a": 30, "acme/b": 20, "acme/c": 10} {
		l.attempts(name, n)
	}
	l.check(l.after(), "acme/a", "acme/b")
	l.attempts("acme/a", 7)
	l.check(l.after(), "acme/a", "acme/b") // who pauses for a moment stays
	if got := series(t, l.metrics, "jethook_endpoint_attempts_total")["acme/a delivered"].Counter.GetValue(); got != 7 {
		t.Errorf("%v attempts are counted, want those since it is shown", got)
	}
	l.attempts("acme/c", 1000)
	l.check(l.after(), "acme/a", "acme/c")
	for range 100 {
		l.attempts("acme/d", 2)
		l.after()
	}
	l.check(l.after(), "acme/c", "acme/d")
	if n := len(series(t, l.metrics, "jethook_endpoint_attempts_total")); n != 4 {
		t.Errorf("%d series of attempts, want two for each of two endpoints", n)
	}
}

// happens makes about as many attempts at an endpoint as it has on average.
func (l *lit) happens(r *rand.Rand, name string, mean float64) {
	n := 0
	for p := r.Float64(); p > math.Exp(-mean); p *= r.Float64() { // Knuth's way to a Poisson distribution
		n++
	}
	if n > 0 {
		l.attempts(name, n)
	}
}

// Chance makes nobody the busiest: that would be another series each time.
func TestSpotlightStaysOnTheBusiest(t *testing.T) {
	const busiest, others, looks = 20, 1000, 120 // which are ten minutes
	r := rand.New(rand.NewPCG(1, 2))
	l, ever, rightly := newLit(t, busiest), make(map[string]bool), 0
	for range looks {
		for i := range busiest {
			l.happens(r, fmt.Sprintf("busy/%d", i), 3)
		}
		for i := range others {
			l.happens(r, fmt.Sprintf("other/%d", i), 1)
		}
		for _, name := range l.after() {
			ever[name] = true
			if strings.HasPrefix(name, "busy/") {
				rightly++
			}
		}
	}
	if len(ever) > 5*busiest || rightly < 9*busiest*looks/10 {
		t.Errorf("in ten minutes, %d endpoints were shown, and of the %d busiest %.1f at a time", len(ever), busiest, float64(rightly)/looks)
	}
}

// Whoever becomes one of the busiest is shown soon, however many are as busy as the
// others.
func TestSpotlightFindsNewcomers(t *testing.T) {
	const busiest = 5
	r := rand.New(rand.NewPCG(1, 2))
	l := newLit(t, busiest)
	for look := range 40 {
		for i := range 100 {
			l.happens(r, fmt.Sprintf("old/%d", i), 20)
		}
		if look >= 20 {
			for i := range busiest {
				l.happens(r, fmt.Sprintf("new/%d", i), 60)
			}
		}
		l.after()
	}
	l.check(l.after(), "new/0", "new/1", "new/2", "new/3", "new/4")
}

// Whatever happens, there are few series, and little is remembered.
func TestSpotlightIsBounded(t *testing.T) {
	l := newLit(t, 3)
	var troubled []string
	for i := range 2000 {
		name := fmt.Sprintf("acme/%04d", i)
		l.attempts(name, 1+i%7)
		troubled = append(troubled, name)
	}
	for range 3 {
		l.after(troubled...)
		for i := range 2000 {
			l.attempts(fmt.Sprintf("acme/%04d", i), 1+i%11)
		}
	}
	if shown := l.after(troubled...); len(shown) > 3+3*troubledShare || !slices.Contains(shown, troubled[0]) {
		t.Errorf("%d are shown, want 3 and %d times as many of those in trouble, the first first", len(shown), troubledShare)
	}
	if n := len(series(t, l.metrics, "jethook_endpoint_held")); n > 18 || len(l.busy) > 2*3 {
		t.Errorf("%d series, %d remembered", n, len(l.busy))
	}
}

// Switched off, it shows nobody, whatever trouble there is.
func TestSpotlightOff(t *testing.T) {
	l := newLit(t, 0)
	l.attempts("acme/a", 5)
	l.check(l.after("acme/a", "acme/b"))
}

// Endpoints in trouble are shown with what it is, and gone when they are.
func TestTroubledEndpointsAreShown(t *testing.T) {
	t.Parallel()
	w := newWorld(t, setting{})
	w.endpoint("down", on("down"), every(10*time.Millisecond, 6000))
	w.endpoint("busy", on("busy"))
	w.endpoint("off", on("off"), whileDisabled)
	w.answer(func(_ context.Context, c call) delivery.Result {
		if c.endpoint == "down" {
			return delivery.Result{Status: 500}
		}
		return delivery.Result{Status: 200}
	})
	r := w.run(4, time.Second, often(2))
	w.publish("down", "1", "{}")
	w.publish("off", "2", "{}")
	w.publish("off", "3", "{}")
	w.publish("busy", "4", "{}")
	is := func(name, endpoint string, want float64) bool {
		return r.figure(t, "jethook_endpoint_"+name, "acme/"+endpoint) == want
	}
	w.told("all are shown", func() bool {
		signal(r.keeper.listNow)
		return is("gate_open", "down", 1) && is("disabled", "down", 0) && is("held", "down", 1) &&
			is("gate_open", "off", 0) && is("disabled", "off", 1) && is("held", "off", 2) &&
			is("gate_open", "busy", 0) && is("disabled", "busy", 0) && is("held", "busy", 0)
	})
	w.publish("busy", "5", "{}")
	w.told("attempts are counted", func() bool {
		return r.figure(t, "jethook_endpoint_attempts_total", "acme/busy delivered") == 1
	})
	w.endpoint("off", on("none"))
	w.told("what is over is shown no more", func() bool { return is("disabled", "off", 0) || is("disabled", "off", -1) })
	w.remove("busy")
	w.told("who is gone is shown no more", func() bool { return is("held", "busy", -1) })
}

// What becomes of an attempt, as an endpoint's figures tell it.
func TestEnded(t *testing.T) {
	for _, c := range []struct {
		r    delivery.Result
		want gate.Ended
	}{
		{delivery.Result{Status: 200}, gate.Delivered}, {delivery.Result{Status: 299}, gate.Delivered},
		{delivery.Result{Status: 302}, gate.Undelivered}, {delivery.Result{Status: 404}, gate.Undelivered},
		{delivery.Result{Status: 503}, gate.Undelivered}, {delivery.Result{Status: 408}, gate.Undelivered},
		{delivery.Result{Fault: delivery.FaultTimeout}, gate.Undelivered},
		{delivery.Result{Fault: delivery.FaultBlockedAddress}, gate.Undelivered},
		{delivery.Result{Status: 200, Fault: delivery.FaultClosed}, gate.Undelivered}, // it broke off
		{delivery.Result{Fault: delivery.FaultInterrupted}, gate.Uncounted},
	} {
		if got := vital(c.r, nil).Ended; got != c.want {
			t.Errorf("%+v: %d, want %d", c.r, got, c.want)
		}
	}
}

// A look at a hundred thousand endpoints that all had attempts.
func BenchmarkSpotlight(b *testing.B) {
	l := newLit(b, 20)
	names := make([]string, 100_000)
	for i := range names {
		names[i] = fmt.Sprintf("acme/%06d", i)
	}
	for b.Loop() {
		b.StopTimer()
		for _, name := range names {
			l.attempts(name, 1)
		}
		b.StartTimer()
		l.after()
	}
}
