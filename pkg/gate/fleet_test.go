package gate

import (
	"context"
	"fmt"
	"slices"
	"testing"
	"time"

	"github.com/nats-io/nats.go/jetstream"
)

func TestFleetOpensProbesAndCloses(t *testing.T) {
	t.Parallel()
	w := newBucketWorld(t)
	a, b := w.join("a", 0), w.join("b", 0)
	if a.isOpen("acme/crm") || a.Len() != 0 {
		t.Error("open from the start")
	}
	if _, got, err := a.Claim(w.ctx, "acme/crm", 0, time.Second); got || err != nil {
		t.Errorf("claimed the probe of a closed gate: %v, %v", got, err)
	}
	first := a.opened("5 failures in a row")
	first.Prober = "nobody" // not for the caller to say
	w.must(a.Open(w.ctx, "acme/crm", first))
	if o, open := a.Get("acme/crm"); !open || o.Why != first.Why || o.LastStatus != 503 || o.Prober != "" || a.Len() != 1 {
		t.Errorf("after Open: %v, %+v", open, o)
	}
	w.until("b knows", func() bool { return b.isOpen("acme/crm") })
	w.withinASecond(a, b)
	w.must(b.Open(w.ctx, "acme/crm", b.opened("something else")))
	if o, _ := b.Get("acme/crm"); o.Why != first.Why || !o.Since.Equal(first.Since) {
		t.Errorf("the second Open wrote %+v", o)
	}

	lease, got, err := a.Claim(w.ctx, "acme/crm", 0, time.Minute)
	if !got || err != nil || lease.Name != "acme/crm" || lease.Opened.Why != first.Why {
		t.Fatalf("got %v, %v, %+v", got, err, lease)
	}
	for _, v := range []*view{a, b} { // b may not know of the lease yet
		if _, got, err := v.Claim(w.ctx, "acme/crm", 0, time.Minute); got || err != nil {
			t.Errorf("%s claimed what a has: %v, %v", v.self, got, err)
		}
		if o, _ := v.Get("acme/crm"); o.Prober != "a" {
			t.Errorf("%s knows %+v after its claim failed", v.self, o)
		}
	}
	w.must(a.Release(w.ctx, lease))
	w.until("b knows of the release", func() bool { o, _ := b.Get("acme/crm"); return o.Prober == "" })
	lease, got, err = b.Claim(w.ctx, "acme/crm", 0, time.Minute)
	if !got || err != nil {
		t.Fatalf("after the release: %v, %v", got, err)
	}
	next := lease.Opened
	next.Probes, next.NextProbe = 1, time.Now().Add(time.Hour)
	w.must(b.Failed(w.ctx, lease, next))
	for _, v := range []*view{a, b} {
		w.until("the failure is known", func() bool { o, _ := v.Get("acme/crm"); return o.Probes == 1 })
		o, _ := v.Get("acme/crm")
		if o.Prober != "" || !o.LeaseEnds.IsZero() || o.NextProbe.Sub(next.NextProbe).Abs() > time.Minute {
			t.Errorf("%s knows %+v", v.self, o)
		}
		if _, got, err := v.Claim(w.ctx, "acme/crm", 0, time.Minute); got || err != nil {
			t.Errorf("%s claimed a probe that is not due: %v, %v", v.self, got, err)
		}
	}

	w.must(a.Close(w.ctx, "acme/crm"))
	if a.isOpen("acme/crm") || a.Len() != 0 {
		t.Error("a does not know that it closed the gate")
	}
	w.until("a is told that it is closed", func() bool { return !a.isTold() })
	w.until("b knows that it is closed", func() bool { return !b.isOpen("acme/crm") && !b.isTold() })
	w.must(a.Close(w.ctx, "acme/crm"))
	w.must(b.Failed(w.ctx, lease, next)) // too late
	w.must(b.Release(w.ctx, lease))
	if b.isOpen("acme/crm") {
		t.Error("a lost lease opened a closed gate")
	}
	w.must(b.Open(w.ctx, "acme/crm", b.opened("again")))
	w.until("a knows that it is open again", func() bool { return a.isTold() && a.isOpen("acme/crm") })
	c := w.join("c", 0)
	if o, open := c.Get("acme/crm"); !open || o.Why != "again" || !c.isTold() {
		t.Errorf("who joins later knows %v, %+v", open, o)
	}
}

// A fleet that is not started knows nothing but its own writes and what it
// reads when they are refused.
func TestFleetWithoutItsWatch(t *testing.T) {
	t.Parallel()
	w := newBucketWorld(t)
	a, b := w.join("a", 0), w.join("b", 0)
	w.must(a.Open(w.ctx, "acme/crm", a.opened("down")))
	w.until("b knows", func() bool { return b.isOpen("acme/crm") })
	b.Stop()
	w.must(a.Close(w.ctx, "acme/crm"))
	if _, got, err := b.Claim(w.ctx, "acme/crm", 0, time.Second); got || err != nil || b.isOpen("acme/crm") || b.isTold() {
		t.Errorf("b claimed a closed gate (%v, %v) or takes it for open", got, err)
	}
	w.must(a.Open(w.ctx, "acme/crm", a.opened("down again")))
	if b.isOpen("acme/crm") {
		t.Fatal("b watches")
	}
	w.must(b.Close(w.ctx, "acme/crm"))
	w.until("a knows", func() bool { return !a.isOpen("acme/crm") })

	w.must(b.Open(w.ctx, "acme/crm", b.opened("down")))
	if !b.isOpen("acme/crm") {
		t.Error("b does not know that it opened the gate")
	}
	w.must(b.Close(w.ctx, "acme/crm"))
	if b.isOpen("acme/crm") {
		t.Error("b does not know that it closed the gate")
	}

	w.must(a.Open(w.ctx, "acme/crm", a.opened("down")))
	w.must(b.Open(w.ctx, "acme/crm", b.opened("down")))
	lease, got, err := b.Claim(w.ctx, "acme/crm", 0, time.Second)
	if !got || err != nil {
		t.Fatalf("got %v, %v", got, err)
	}
	w.must(w.kv.Purge(w.ctx, "acme.crm")) // as if it had expired
	w.must(b.Failed(w.ctx, lease, lease.Opened))
	if b.isOpen("acme/crm") {
		t.Error("a record that is gone is open")
	}
	if _, err := w.kv.Get(w.ctx, "acme.crm"); err == nil {
		t.Error("a lost lease wrote a record")
	}
}

// What the watch brings late does not undo what was written here since.
func TestFleetIgnoresWhatIsOlder(t *testing.T) {
	t.Parallel()
	f := NewFleet(newBucketWorld(t).kv, "a", testNop)
	var told []bool
	f.OnChange(func(_ string, open bool) { told = append(told, open) })
	f.put("acme/crm", Opened{Probes: 1}, 11)
	f.put("acme/crm", Opened{Probes: 2}, 12)
	f.put("acme/crm", Opened{Probes: 1}, 11)
	f.closed("acme/crm", 10, true)
	if o, open := f.Get("acme/crm"); !open || o.Probes != 2 {
		t.Errorf("older entries made it %v, %+v", open, o)
	}
	f.closed("acme/crm", 12, false) // written here
	f.put("acme/crm", Opened{}, 12)
	if _, open := f.Get("acme/crm"); open || f.Len() != 0 {
		t.Error("an older record opened it")
	}
	f.closed("acme/crm", 13, true)
	if len(f.marks) != 0 {
		t.Error("a closed gate is not forgotten")
	}
	f.put("acme/crm", Opened{}, 14)
	// Opened, a record that changed, closed, opened.
	if want := []bool{true, true, false, true}; !slices.Equal(told, want) {
		t.Errorf("told %v", told)
	}
}

func TestFleetSurvives(t *testing.T) {
	t.Parallel()
	outages := map[string]func(w *bucketWorld){
		"a restart of the server": func(w *bucketWorld) { w.shutdown(); w.start() },
		"an emptied bucket": func(w *bucketWorld) {
			s, err := w.js.Stream(w.ctx, "KV_"+gatesBucket)
			w.must(err)
			w.must(s.Purge(w.ctx))
		},
		"a bucket made anew": func(w *bucketWorld) {
			w.must(w.js.DeleteKeyValue(w.ctx, gatesBucket))
			w.bucket()
		},
	}
	for name, outage := range outages {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			want := 3
			if name != "a restart of the server" {
				want = 1
			}
			var took time.Duration
			for range 3 { // an answer that is lost costs seven seconds, and a machine may stand still
				took = newBucketWorld(t).survive(outage, want)
				t.Logf("%s: agreed after %s", name, took)
				if took <= 10*time.Second {
					return
				}
			}
			t.Errorf("it took %s", took)
		})
	}
}

// survive returns how long it takes after an outage until two agree on so many open
// gates.
func (w *bucketWorld) survive(outage func(*bucketWorld), want int) time.Duration {
	w.Helper()
	a, b := w.join("a", 0), w.join("b", 0)
	for _, name := range []string{"acme/crm", "acme/shop", "globex/crm"} {
		w.must(a.Open(w.ctx, name, a.opened("down")))
	}
	w.must(a.Close(w.ctx, "acme/shop"))
	w.until("b knows", func() bool { return b.state() == a.state() && b.Len() == 2 })
	outage(w)
	open := func() error {
		// An answer that went with the server never comes.
		ctx, cancel := context.WithTimeout(w.ctx, time.Second)
		defer cancel()
		return b.Open(ctx, "acme/new", b.opened("down"))
	}
	w.until("b can open another", func() bool { return open() == nil })
	took := w.until("both agree", func() bool {
		return a.Len() == want && a.state() == b.state() && a.state() == a.toldState() && b.state() == b.toldState()
	})
	w.withinASecond(a, b)
	return took
}

// withinASecond fails unless b knows within a second that a opened a gate, in one of
// three tries: a machine may stand still.
func (w *bucketWorld) withinASecond(a, b *view) {
	w.Helper()
	var took time.Duration
	for i := range 3 {
		name := fmt.Sprintf("acme/try-%d", i)
		w.must(a.Open(w.ctx, name, a.opened("down")))
		took = w.until("the other knows", func() bool { return b.isOpen(name) })
		w.must(a.Close(w.ctx, name))
		w.until("the other knows that it is closed", func() bool { return !b.isOpen(name) })
		if took <= time.Second {
			return
		}
	}
	w.Errorf("it took %s until the other knew", took)
}

// A document that changed is a reason for one probe, whichever replica makes it.
func TestFleetProbesByANewDocument(t *testing.T) {
	t.Parallel()
	w := newBucketWorld(t)
	a, b := w.join("a", 0), w.join("b", 0)
	o := a.opened("asked to wait")
	o.NextProbe, o.Document = a.now().Add(time.Hour), 5
	w.must(a.Open(w.ctx, "acme/crm", o))
	w.until("b knows", func() bool { return b.isOpen("acme/crm") })
	claims := func(v *view, document uint64, want bool) (l Lease) {
		t.Helper()
		l, got, err := v.Claim(w.ctx, "acme/crm", document, time.Minute)
		if got != want || err != nil {
			t.Fatalf("%s claimed the probe by document %d: %v, %v", v.self, document, got, err)
		}
		return l
	}
	claims(a, 5, false)
	lease := claims(b, 6, true)
	claims(a, 6, false)
	next := lease.Opened
	next.Document, next.Probes = 6, 1
	w.must(b.Failed(w.ctx, lease, next))
	w.until("a knows", func() bool { o, _ := a.Get("acme/crm"); return o.Probes == 1 })
	claims(a, 6, false)
	claims(a, 7, true)
}

// Without its bucket a fleet says so, until somebody made that again.
func TestFleetIsOutOfSyncWithoutItsBucket(t *testing.T) {
	t.Parallel()
	w := newBucketWorld(t)
	f := w.join("a", 0)
	if !f.InSync() {
		t.Error("it does not follow its bucket")
	}
	w.must(w.js.DeleteKeyValue(w.ctx, gatesBucket))
	w.until("it knows that the bucket is gone", func() bool { return !f.InSync() })
	w.bucket()
	w.until("it follows the new one", f.InSync)
	f.Stop()
	if f.InSync() {
		t.Error("it follows its bucket after it was stopped")
	}
}

func TestFleetWithABrokenRecord(t *testing.T) {
	t.Parallel()
	w := newBucketWorld(t)
	_, err := w.kv.PutString(w.ctx, "acme.crm", "{")
	w.must(err)
	a := w.join("a", 0)
	if o, open := a.Get("acme/crm"); !open || o.Why == "" || w.log.count("acme.crm") == 0 {
		t.Errorf("got %v, %+v", open, o)
	}
	lease, got, err := a.Claim(w.ctx, "acme/crm", 0, time.Second)
	if !got || err != nil {
		t.Fatalf("got %v, %v", got, err)
	}
	w.must(a.Failed(w.ctx, lease, lease.Opened))
	if n := w.log.count("acme.crm"); n != 1 {
		t.Errorf("%d warnings", n)
	}
	b := w.join("b", 0)
	if b.Len() != 1 || w.log.count("acme.crm") != 1 {
		t.Error("the record is still broken")
	}
}

func TestFleetStartFails(t *testing.T) {
	t.Parallel()
	w := newBucketWorld(t)
	f := NewFleet(w.kv, "a", testNop)
	f.Stop()
	ended, cancel := context.WithCancel(w.ctx)
	cancel()
	if err := NewFleet(w.kv, "a", testNop).Start(ended); err == nil {
		t.Error("started with a context that had ended")
	}
	if err := f.Open(w.ctx, "acme crm", Opened{}); err == nil {
		t.Error("opened under an invalid name")
	}
	w.must(w.js.DeleteKeyValue(w.ctx, gatesBucket))
	if err := f.Start(w.ctx); err == nil {
		t.Error("started without a bucket")
	}
	f.Stop()
	if err := f.Open(w.ctx, "acme/crm", Opened{}); err == nil || f.Len() != 0 {
		t.Errorf("opened without a bucket: %v", err)
	}
}

func TestOvertaken(t *testing.T) {
	t.Parallel()
	for code, want := range map[jetstream.ErrorCode]bool{
		jetstream.JSErrCodeStreamWrongLastSequence: true, jetstream.JSErrCodeStreamWrongLastSequenceConstant: true,
		jetstream.JSErrCodeStreamNotFound: false,
	} {
		if overtaken(&jetstream.APIError{ErrorCode: code}) != want {
			t.Errorf("%d: %v", code, !want)
		}
	}
}

func BenchmarkFleetGetNothingOpen(b *testing.B) {
	f := NewFleet(newBucketWorld(b).kv, "a", testNop)
	for b.Loop() {
		f.Get("acme/crm")
	}
}

func BenchmarkFleetGet(b *testing.B) {
	f := NewFleet(newBucketWorld(b).kv, "a", testNop)
	f.put("acme/shop", Opened{}, 1)
	for b.Loop() {
		f.Get("acme/crm")
	}
}
