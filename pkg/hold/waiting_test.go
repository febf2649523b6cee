package hold

import (
	"reflect"
	"strconv"
	"testing"
	"time"

	"github.com/nats-io/nats.go"

	"jethook/streams"
)

func TestAllTellsEndpointsAndKindsApart(t *testing.T) {
	w := newWorld(t)
	want := map[string]Waiting{"acme/crm": {New: 2, Late: 1, Probe: 1}, "acme/crm-2": {Late: 1}, "acme2/crm": {New: 1}}
	for name, n := range want {
		for kind, n := range map[streams.Kind]uint64{streams.HeldNew: n.New, streams.HeldLate: n.Late, streams.HeldProbe: n.Probe} {
			for range n {
				w.hold(given(name, "a"), kind)
			}
		}
	}
	// What lies beside them and is none.
	for _, subject := range []string{w.names.OrderedState("acme", "crm"), w.names.ReplayMark("x"), w.names.Unreadable(),
		w.names.Delivery("default", "acme", "crm"), w.names.Scheduled("acme", "crm", "a", "e1")} {
		_, err := w.js.PublishMsg(w.ctx, nats.NewMsg(subject))
		w.must(err)
	}
	all, err := w.store.All(w.ctx)
	w.must(err)
	if !reflect.DeepEqual(all, want) {
		t.Errorf("All is %+v, want %+v", all, want)
	}
	for name := range want {
		w.waiting(name, want[name])
	}
	w.waiting("acme/none", Waiting{})
	if total := all["acme/crm"].Total(); total != 4 {
		t.Errorf("Total is %d, want 4", total)
	}
}

func TestAllWithNothingHeld(t *testing.T) {
	w := newWorld(t)
	all, err := w.store.All(w.ctx)
	w.must(err)
	if len(all) != 0 {
		t.Errorf("All is %v, want none", all)
	}
}

func TestAllOfTenThousandEndpoints(t *testing.T) {
	w := newWorld(t)
	const n = 10_000
	names := make([]string, n)
	for i := range names {
		names[i] = "acme/ep-" + strconv.Itoa(i)
	}
	w.fill(n, 16, names...)
	began := time.Now()
	all, err := w.store.All(w.ctx)
	w.must(err)
	t.Logf("All of %d endpoints took %s", n, time.Since(began))
	if len(all) != n {
		t.Fatalf("All has %d endpoints, want %d", len(all), n)
	}
	for name, held := range all {
		if held != (Waiting{New: 1}) {
			t.Fatalf("%s has %+v held, want one new", name, held)
		}
	}
}
