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

// drain pops all and returns the sequences in order.
func drain(l *Late) (seqs []uint64, firsts []time.Time) {
	for {
		seq, first, _, ok := l.Next()
		if !ok {
			return seqs, firsts
		}
		seqs, firsts = append(seqs, seq), append(firsts, first)
		l.Pop()
	}
}

func TestLateFindsWhoseTimeRunsOutFirst(t *testing.T) {
	w := newWorld(t)
	w.hold(given("acme/crm", "new"), streams.HeldNew)
	w.hold(given("acme/crm-2", "other"), streams.HeldLate)
	l := w.store.Late("acme", "crm")
	if _, _, _, ok := l.Next(); ok {
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
	seq, first, since, ok := l.Next()
	earliest := time.Duration(slices.Min(after[:n/2])) * time.Second
	if !ok || at[seq] != earliest || !first.Equal(start.Add(earliest)) || !since.Equal(start) {
		t.Errorf("Next is %d, %s, %s, %v; want the one of %s", seq, first, since, ok, earliest)
	}
	hold(after[n/2:]) // those that came since are among them, each once
	seqs, firsts := drain(l)
	if len(seqs) != n || !slices.IsSortedFunc(firsts, time.Time.Compare) {
		t.Errorf("%d found, sorted: %v; want %d", len(seqs), slices.IsSortedFunc(firsts, time.Time.Compare), n)
	}
	for i, seq := range seqs {
		if at[seq] != time.Duration(i)*time.Second {
			t.Fatalf("the one of %s is number %d", at[seq], i)
		}
	}
	w.must(l.Refresh(w.ctx))
	if _, _, _, ok := l.Next(); ok {
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
	got, _ := drain(l)
	if want := append([]uint64{unreadable}, seqs...); !slices.Equal(got, want) {
		t.Errorf("found %v, want %v", got, want)
	}
}

func TestLateIsSmall(t *testing.T) {
	if size := unsafe.Sizeof(late{}); size != 24 {
		t.Errorf("%d bytes for each, want 24", size)
	}
}
