package delivery

import (
	"math/rand/v2"
	"reflect"
	"slices"
	"strconv"
	"testing"
	"time"

	"jethook/pkg/event"
	"jethook/pkg/retry"
)

var start = time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)

func testDelivery() Delivery {
	return New(event.Event{ID: "evt_1", Tenant: "acme", Type: "order.created", Time: start, Seq: 42, Body: []byte("body")}, "crm")
}

func testTerms() Terms { return Terms{Retry: retry.Default(), ExpireAfter: 72 * time.Hour} }

func half() float64 { return 0.5 }

func TestNew(t *testing.T) {
	d := testDelivery()
	if d.Name() != "acme/crm" || d.Number() != 1 || d.State.Origin != "e42_"+strconv.FormatInt(start.UnixNano(), 36) || !d.State.Since.Equal(start) || !d.State.Due.IsZero() || d.State.Replay {
		t.Errorf("New gives %+v", d)
	}
}

func TestAfter(t *testing.T) {
	never := testTerms()
	never.Retry.MaxAttempts = 1
	short := testTerms()
	short.ExpireAfter = 10 * time.Second
	schedule := testTerms()
	schedule.Retry = retry.Policy{Schedule: []time.Duration{5 * time.Second, time.Minute}}
	for _, c := range []struct {
		name     string
		result   Result
		terms    Terms
		want     Verdict
		attempts int
		due      time.Duration // after the attempt's end; 0: none
	}{
		{"delivered", Result{Status: 204}, testTerms(), Verdict{Outcome: Delivered}, 1, 0},
		{"failed", Result{Status: 503}, testTerms(), Verdict{Outcome: Retry}, 1, 15 * time.Second},
		{"no connection", Result{Fault: FaultConnect}, testTerms(), Verdict{Outcome: Retry}, 1, 15 * time.Second},
		{"asked to wait", Result{Status: 429, RetryAfter: time.Hour}, testTerms(), Verdict{Outcome: Retry}, 1, time.Hour},
		{"asked to wait too long", Result{Status: 429, RetryAfter: 48 * time.Hour}, testTerms(), Verdict{Outcome: Retry}, 1, 4 * time.Hour},
		{"asked to hurry", Result{Status: 429, RetryAfter: time.Second}, testTerms(), Verdict{Outcome: Retry}, 1, 15 * time.Second},
		{"a schedule", Result{Status: 503}, schedule, Verdict{Outcome: Retry}, 1, 5 * time.Second},
		{"rejected", Result{Status: 404}, testTerms(), Verdict{Outcome: Dead, Reason: Rejected}, 1, 0},
		{"gone", Result{Status: 410}, testTerms(), Verdict{Outcome: Dead, Reason: Rejected, Disable: true}, 1, 0},
		{"aborted", Result{Status: 503, Abort: true}, testTerms(), Verdict{Outcome: Dead, Reason: Aborted}, 1, 0},
		{"blocked", Result{Fault: FaultBlockedAddress}, testTerms(), Verdict{Outcome: Dead, Reason: BlockedAddress}, 1, 0},
		{"the only attempt", Result{Status: 503}, never, Verdict{Outcome: Dead, Reason: AttemptsExhausted}, 1, 0},
		{"no time for another", Result{Status: 503}, short, Verdict{Outcome: Dead, Reason: Expired}, 1, 0},
		{"disabled and tried again", Result{Status: 503, Disable: true}, testTerms(), Verdict{Outcome: Retry, Disable: true}, 1, 15 * time.Second},
		{"disabled and exhausted", Result{Status: 503, Disable: true}, never, Verdict{Outcome: Dead, Reason: AttemptsExhausted, Disable: true}, 1, 0},
		{"interrupted", Result{Fault: FaultInterrupted}, testTerms(), Verdict{Outcome: Interrupted}, 0, 0},
		{"interrupted at the last", Result{Fault: FaultInterrupted}, never, Verdict{Outcome: Interrupted}, 0, 0},
	} {
		d := testDelivery()
		c.result.At, c.result.Duration, c.result.Error = start, 2*time.Second, "why"
		before := d.State
		v, next := d.After(c.result, c.terms, half)
		if v != c.want || next.Attempts != c.attempts || len(next.History) != c.attempts {
			t.Errorf("%s: %+v, %d attempts, history %v; want %+v, %d", c.name, v, next.Attempts, next.History, c.want, c.attempts)
		}
		var due time.Time
		if c.due > 0 {
			due = start.Add(c.result.Duration + c.due)
		}
		if !next.Due.Equal(due) {
			t.Errorf("%s: due %s, want %s", c.name, next.Due, due)
		}
		if !reflect.DeepEqual(d.State, before) {
			t.Errorf("%s: After changed the delivery", c.name)
		}
	}
}

// An interrupted attempt leaves no trace, wherever the delivery stands.
func TestInterruptedBurnsNothing(t *testing.T) {
	d := testDelivery()
	d.State.Attempts, d.State.Due, d.State.Replay = 7, start.Add(time.Hour), true
	d.State.History = []Attempt{{Attempt: 7, At: start, Status: 503}}
	v, next := d.After(Result{At: start, Duration: time.Second, Fault: FaultInterrupted}, testTerms(), half)
	if v.Outcome != Interrupted || !reflect.DeepEqual(next, d.State) {
		t.Errorf("%+v and %+v, want interrupted and the state as it was", v, next)
	}
}

func TestExpired(t *testing.T) {
	d, terms := testDelivery(), testTerms()
	for after, want := range map[time.Duration]bool{
		0: false, terms.ExpireAfter - 1: false, terms.ExpireAfter: true, terms.ExpireAfter + 1: true,
	} {
		if got := d.Expired(terms, start.Add(after)); got != want {
			t.Errorf("Expired %s after the start is %v, want %v", after, got, want)
		}
	}
}

// Whatever a receiver does, a delivery ends, after no more attempts than were
// asked for, none after its time, and with a history that tells what happened.
func TestAfterProperties(t *testing.T) {
	random := rand.New(rand.NewPCG(3, 4)) //nolint:gosec // a repeatable test
	for range 1000 {
		terms := Terms{
			Retry: retry.Policy{Base: time.Duration(1+random.Int64N(1e10)) + time.Millisecond, Factor: 1 + 3*random.Float64(),
				MaxDelay: time.Hour, MaxAttempts: 1 + random.IntN(100),
				Jitter: []retry.Jitter{retry.JitterFull, retry.JitterEqual, retry.JitterProportional, retry.JitterNone}[random.IntN(4)]},
			ExpireAfter: time.Duration(1 + random.Int64N(int64(100*time.Hour))),
		}
		if err := terms.Retry.Validate(); err != nil {
			t.Fatal(err)
		}
		d := testDelivery()
		d.State.Origin = "d7"
		var made []Attempt
		now := start
		for ended := false; !ended; {
			r := Result{At: now, Duration: time.Duration(random.Int64N(int64(15 * time.Second))), Status: 500 + random.IntN(100),
				Error: "failed", RetryAfter: time.Duration(random.Int64N(int64(3*time.Hour))) * time.Duration(random.IntN(2))}
			draw := random.Float64()
			v, next := d.After(r, terms, func() float64 { return draw })
			made = append(made, Attempt{d.Number(), now, r.Status, r.Error, next.History[len(next.History)-1].DurationMS, false})
			checkState(t, terms, next, made)
			finished := now.Add(r.Duration)
			switch v.Outcome {
			case Retry:
				checkDue(t, &d, r, terms, next, draw)
				now = next.Due
			case Dead:
				exhausted := next.Attempts == terms.Retry.MaxAttempts
				if exhausted != (v.Reason == AttemptsExhausted) || !exhausted && v.Reason != Expired {
					t.Fatalf("after %d of %d attempts the reason is %s", next.Attempts, terms.Retry.MaxAttempts, v.Reason)
				}
				if longest := finished.Add(terms.Retry.Longest()); v.Reason == Expired && longest.Before(start.Add(terms.ExpireAfter)) {
					t.Fatalf("expired although there was time: %s after the start, %s allowed", longest.Sub(start), terms.ExpireAfter)
				}
				ended = true
			default:
				t.Fatalf("%d became %s", r.Status, v.Outcome)
			}
			d.State = next
		}
	}
}

func checkState(t *testing.T, terms Terms, next State, made []Attempt) {
	t.Helper()
	if next.Attempts != len(made) || next.Attempts > terms.Retry.MaxAttempts {
		t.Fatalf("%d attempts are counted, %d were made, %d are allowed", next.Attempts, len(made), terms.Retry.MaxAttempts)
	}
	if want := made[max(0, len(made)-MaxHistory):]; !slices.Equal(next.History, want) {
		t.Fatalf("history %v, want the last %d of what happened: %v", next.History, MaxHistory, want)
	}
}

func checkDue(t *testing.T, d *Delivery, r Result, terms Terms, next State, draw float64) {
	t.Helper()
	wait := next.Due.Sub(r.At.Add(r.Duration))
	switch {
	case wait < 0 || wait > terms.Retry.Longest()*6/5:
		t.Fatalf("the wait is %s, the longest delay %s", wait, terms.Retry.Longest())
	case wait < min(r.RetryAfter, terms.Retry.Longest()):
		t.Fatalf("the wait is %s, and %s were asked for", wait, r.RetryAfter)
	case !next.Due.Before(start.Add(terms.ExpireAfter)):
		t.Fatalf("due %s after the start, when %s are allowed", next.Due.Sub(start), terms.ExpireAfter)
	}
	unasked := r
	unasked.RetryAfter = 0
	if _, sooner := d.After(unasked, terms, func() float64 { return draw }); next.Due.Before(sooner.Due) {
		t.Fatalf("a Retry-After of %s shortened the wait", r.RetryAfter)
	}
}

// Two states that come of one do not write into each other's history.
func TestHistoriesAreApart(t *testing.T) {
	d := testDelivery()
	_, d.State = d.After(Result{At: start, Status: 500}, testTerms(), half)
	_, a := d.After(Result{At: start, Status: 501}, testTerms(), half)
	_, b := d.After(Result{At: start, Status: 502}, testTerms(), half)
	if a.History[1].Status != 501 || b.History[1].Status != 502 {
		t.Errorf("histories %v and %v", a.History, b.History)
	}
}

func TestDurationIsToldInMilliseconds(t *testing.T) {
	for d, want := range map[time.Duration]float64{
		0: 0, 1499: 0.001, 1500 * time.Microsecond: 1.5, 15 * time.Second: 15000, 1234567: 1.235,
	} {
		delivery := testDelivery()
		_, next := delivery.After(Result{At: start, Duration: d, Status: 500}, testTerms(), half)
		if got := next.History[0].DurationMS; got != want {
			t.Errorf("%s is told as %v ms, want %v", d, got, want)
		}
	}
}
