package hold

import (
	"math/rand/v2"
	"slices"
	"testing"
	"time"
	"unsafe"

	"github.com/nats-io/nats.go"

	"jethook/streams"
)

// lateOne holds a late delivery of acme/crm that was first attempted some time
// after the start.
func (w *world) lateOne(after time.Duration) uint64 {
	w.Helper()
	d := given("acme/crm", "a")
	d.State.First = start.Add(after)
	return w.hold(d, streams.HeldLate)
}

// firstPlus is an order: the time of each ends so long after its first attempt.
func firstPlus(d time.Duration) func(first, since, made time.Time) time.Time {
	return func(first, _, _ time.Time) time.Time { return first.Add(d) }
}

// drain pops all and returns the sequences in order.
func drain(l *Late) (seqs []uint64, ends []time.Time) {
	for {
		seq, end, ok := l.Next()
		if !ok {
			return seqs, ends
		}
		seqs, ends = append(seqs, seq), append(ends, end)
		l.Pop()
	}
}

func TestLateFindsWhoseTimeRunsOutFirst(t *testing.T) {
	w := newWorld(t)
	w.hold(given("acme/crm", "new"), streams.HeldNew)
	w.hold(given("acme/crm-2", "other"), streams.HeldLate)
	l := w.store.Late("acme", "crm")
	l.Order("window", firstPlus(time.Hour))
	if _, _, ok := l.Next(); ok {
		t.Error("it knows one before its first Refresh")
	}
	l.Pop()                                      // of none
	const n = 1200                               // several batches
	after := rand.New(rand.NewPCG(1, 2)).Perm(n) //nolint:gosec // a repeatable test
	at := map[uint64]time.Duration{}
	hold := func(after []int) {
		for _, a := range after {
			d := time.Duration(a) * time.Second
			at[w.lateOne(d)] = d
		}
		w.must(l.Refresh(w.ctx))
	}
	hold(after[:n/2])
	seq, end, ok := l.Next()
	earliest := time.Duration(slices.Min(after[:n/2])) * time.Second
	if !ok || at[seq] != earliest || !end.Equal(start.Add(earliest+time.Hour)) {
		t.Errorf("Next is %d, %s, %v; want the one of %s", seq, end, ok, earliest)
	}
	hold(after[n/2:]) // those that came since are among them, each once
	seqs, ends := drain(l)
	if len(seqs) != n || !slices.IsSortedFunc(ends, time.Time.Compare) {
		t.Errorf("%d found, sorted: %v; want %d", len(seqs), slices.IsSortedFunc(ends, time.Time.Compare), n)
	}
	for i, seq := range seqs {
		if at[seq] != time.Duration(i)*time.Second {
			t.Fatalf("the one of %s is number %d", at[seq], i)
		}
	}
	w.must(l.Refresh(w.ctx))
	if _, _, ok := l.Next(); ok {
		t.Error("what was popped came again")
	}
}

func TestLateDoesNotPassOverWhatItCannotRead(t *testing.T) {
	w := newWorld(t)
	seqs := []uint64{w.lateOne(0), 0, 0}
	ack, err := w.js.PublishMsg(w.ctx, nats.NewMsg(w.names.Held("acme", "crm", streams.HeldLate)))
	w.must(err)
	unreadable := ack.Sequence
	seqs[1] = w.lateOne(time.Second)
	seqs[2] = w.hold(given("acme/crm", "c"), streams.HeldLate)
	l := w.store.Late("acme", "crm")
	w.must(l.Refresh(w.ctx))
	l.Order("window", firstPlus(time.Hour))
	got, _ := drain(l)
	if want := append([]uint64{unreadable}, seqs...); !slices.Equal(got, want) {
		t.Errorf("found %v, want %v", got, want)
	}
}

// The order follows what the endpoint's time is over by: of one that fails, the
// first attempt, and of one that is paused, the round's beginning.
func TestLateChangesItsOrder(t *testing.T) {
	w := newWorld(t)
	hold := func(first, since time.Duration) uint64 {
		d := given("acme/crm", "a")
		d.State.First, d.State.Since = start.Add(first), start.Add(since)
		return w.hold(d, streams.HeldLate)
	}
	a, b := hold(time.Minute, 3*time.Minute), hold(2*time.Minute, time.Minute)
	l := w.store.Late("acme", "crm")
	w.must(l.Refresh(w.ctx))
	next := func(what string, want uint64, at time.Duration) {
		t.Helper()
		if seq, end, _ := l.Next(); seq != want || !end.Equal(start.Add(at)) {
			t.Errorf("%s: %d at %s, want %d at %s", what, seq, end, want, start.Add(at))
		}
	}
	expiry := func(_, since, _ time.Time) time.Time { return since.Add(time.Hour) }
	l.Order("failing", firstPlus(time.Hour))
	next("failing", a, time.Hour+time.Minute)
	l.Order("failing", expiry)
	next("as before", a, time.Hour+time.Minute)
	l.Order("paused", expiry)
	next("paused", b, time.Hour+time.Minute)
	c := hold(0, 0)
	w.must(l.Refresh(w.ctx))
	next("one more", c, time.Hour)
}

func TestLateIsSmall(t *testing.T) {
	if size := unsafe.Sizeof(late{}); size != 40 {
		t.Errorf("%d bytes for each, want 40", size)
	}
}
