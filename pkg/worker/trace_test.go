package worker

import (
	"bytes"
	"context"
	"encoding/json"
	"maps"
	"net/http"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/rs/zerolog"
	sdk "go.opentelemetry.io/otel/sdk/trace"
	"go.opentelemetry.io/otel/trace"

	"jethook/pkg/delivery"
	"jethook/pkg/endpoint"
	"jethook/pkg/tracing"
)

// spans are what a tracer exported.
type spans struct {
	mu  sync.Mutex
	all []sdk.ReadOnlySpan
}

// ExportSpans keeps them.
func (s *spans) ExportSpans(_ context.Context, more []sdk.ReadOnlySpan) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.all = append(s.all, more...)
	return nil
}

func (*spans) Shutdown(context.Context) error { return nil }

// traced runs a worker that traces, and returns what stops it and gives its spans by
// name.
func (w *world) traced() (*running, func() map[string][]sdk.ReadOnlySpan) {
	w.Helper()
	exported := &spans{}
	tracer, err := tracing.Start(w.ctx, tracing.Options{Version: "test", Replica: "self", Logger: zerolog.Nop(), Exporter: exported})
	w.must(err)
	w.Cleanup(func() { tracer.Stop(w.ctx) })
	r := w.run(4, time.Second, func(worker *Worker) { worker.trace = tracer })
	return r, func() map[string][]sdk.ReadOnlySpan {
		w.Helper()
		r.stop()
		tracer.Stop(w.ctx)
		byName := map[string][]sdk.ReadOnlySpan{}
		for _, s := range exported.all {
			byName[s.Name()] = append(byName[s.Name()], s)
		}
		return byName
	}
}

// wantSpans checks how many spans of each name there are, and that those of a
// delivery are one trace and stand below the delivery's own.
func (w *world) wantSpans(got map[string][]sdk.ReadOnlySpan, want map[string]int) {
	w.Helper()
	counts := map[string]int{}
	for name, all := range got {
		counts[name] = len(all)
	}
	if !maps.Equal(counts, want) {
		w.Fatalf("spans %v, want %v", counts, want)
	}
	deliveries := map[trace.SpanID]trace.TraceID{}
	for _, d := range got["deliver"] {
		deliveries[d.SpanContext().SpanID()] = d.SpanContext().TraceID()
	}
	for _, name := range []string{"POST", "hold", "dead letter"} {
		for _, s := range got[name] {
			if deliveries[s.Parent().SpanID()] != s.SpanContext().TraceID() {
				w.Errorf("span %s is not below that of its delivery", name)
			}
		}
	}
	reads := map[trace.SpanID]bool{}
	for _, e := range got["process event"] {
		reads[e.SpanContext().SpanID()] = true
	}
	for _, d := range got["deliver"] {
		if !reads[d.Parent().SpanID()] {
			w.Error("the span of a delivery is not below that of its event")
		}
	}
}

// Whatever way a delivery goes, each of its attempts and its end have their spans,
// below the one that it has itself.
func TestEveryWayIsTraced(t *testing.T) {
	t.Parallel()
	unavailable := func(n int) func(context.Context, call) delivery.Result { // until the nth attempt
		return func(_ context.Context, c call) delivery.Result {
			if c.number < n {
				return delivery.Result{Status: http.StatusRequestTimeout}
			}
			return delivery.Result{Status: 200}
		}
	}
	for _, c := range []struct {
		name  string
		far   func(context.Context, call) delivery.Result
		do    func(w *world)
		calls int
		want  map[string]int
	}{
		{"retried from the stream", unavailable(3), func(w *world) { w.endpoint("crm") }, 3,
			map[string]int{"process event": 1, "deliver": 1, "POST": 3}},
		{"given up", status(http.StatusRequestTimeout), func(w *world) { w.endpoint("crm", every(time.Millisecond, 2)) }, 2,
			map[string]int{"process event": 1, "deliver": 1, "POST": 2, "dead letter": 1}},
		{"stored first, because many want it", status(200), func(w *world) {
			for i := range direct + 1 {
				w.endpoint("e" + strconv.Itoa(i))
			}
		}, direct + 1, map[string]int{"process event": 1, "deliver": direct + 1, "POST": direct + 1}},
		{"in order", unavailable(3), func(w *world) { w.endpoint("crm", func(d *endpoint.Document) { d.Ordered = true }) }, 3,
			map[string]int{"process event": 1, "deliver": 1, "POST": 3}},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			w := newWorld(t, setting{})
			w.answer(c.far)
			c.do(w)
			_, exported := w.traced()
			w.publish("order.created", "evt_1", "{}")
			for range c.calls {
				w.next()
			}
			w.settled()
			w.wantSpans(exported(), c.want)
		})
	}
}

// What was held is traced on when it is fed back, by another replica, too; what is
// given up there ends its trace.
func TestHeldIsTracedOn(t *testing.T) {
	t.Parallel()
	w := newWorld(t, setting{})
	paused := func(d *endpoint.Document) { d.Paused = true }
	w.endpoint("crm", paused)
	w.endpoint("old", paused, func(d *endpoint.Document) { d.ExpireAfter = endpoint.Duration(5 * time.Second) }) // after it was held
	_, first := w.traced()
	w.publish("order.created", "evt_1", "{}")
	w.held(1)
	w.dead(1) // of old
	before := first()
	w.wantSpans(before, map[string]int{"process event": 1, "deliver": 2, "hold": 2, "dead letter": 1})
	w.endpoint("crm")
	_, second := w.traced()
	w.next()
	w.until("it is not held any more", func() bool { return w.state(w.names.Deliveries()).Msgs == 0 })
	after := second()
	if len(after["POST"]) != 1 || len(after["deliver"]) != 0 {
		t.Fatalf("spans %v, want one attempt's", after)
	}
	deliver := map[trace.SpanID]bool{}
	for _, d := range before["deliver"] {
		deliver[d.SpanContext().SpanID()] = true
	}
	if post := after["POST"][0]; !deliver[post.Parent().SpanID()] {
		t.Error("the attempt is not below the span that the delivery got on another replica")
	}
}

// The probe of an open gate is an attempt like another.
func TestProbeIsTraced(t *testing.T) {
	t.Parallel()
	w := newWorld(t, setting{})
	w.endpoint("crm", every(time.Hour, 5))
	var mu sync.Mutex
	calls := 0
	w.answer(func(context.Context, call) delivery.Result {
		mu.Lock()
		defer mu.Unlock()
		if calls++; calls <= 5 {
			return delivery.Result{Status: 500}
		}
		return delivery.Result{Status: 200}
	})
	r, exported := w.traced()
	for i := range 5 { // open it
		w.publish("order.created", "evt_"+strconv.Itoa(i), "{}")
		w.next()
		w.until("what came of it is known", func() bool { return r.busy() == 0 })
	}
	w.until("the gate is open", func() bool { return r.fleet.Len() == 1 })
	w.publish("order.created", "probe", "{}")
	w.next()
	w.until("the gate is closed", func() bool { return r.fleet.Len() == 0 })
	got := exported()
	if len(got["POST"]) != 6 || len(got["hold"]) != 1 {
		t.Errorf("%d attempts and %d holds have spans, want 6 and 1", len(got["POST"]), len(got["hold"]))
	}
}

// An attempt is a line at debug, a few a second, with nothing that the receiver said;
// and costs nothing when nobody looks.
func TestAttemptIsLogged(t *testing.T) {
	var out bytes.Buffer
	w := &Worker{log: zerolog.New(&out).Level(zerolog.DebugLevel), each: &zerolog.BurstSampler{Burst: eachPerSecond, Period: time.Hour}}
	d := given("crm", "evt_1", delivery.State{Attempts: 2})
	r := delivery.Result{Fault: delivery.FaultTimeout, Error: "canary", Duration: 1500 * time.Microsecond}
	for range 2 * eachPerSecond {
		w.logAttempt(&made{d: &d, result: r, verdict: delivery.Verdict{Outcome: delivery.Retry}})
	}
	if n := strings.Count(out.String(), "\n"); n != eachPerSecond {
		t.Errorf("%d lines, want %d", n, eachPerSecond)
	}
	var got map[string]any
	line, _, _ := strings.Cut(out.String(), "\n")
	if err := json.Unmarshal([]byte(line), &got); err != nil {
		t.Fatal(err)
	}
	want := map[string]any{"level": "debug", "message": "attempt", "event_id": "evt_1", "tenant": "acme", "endpoint": "acme/crm", "attempt": 3.0,
		"outcome": "retry", "reason": "timeout", "status": 0.0, "duration": 1.5}
	if !maps.Equal(got, want) {
		t.Errorf("the line says %v, want %v", got, want)
	}
	w.log = w.log.Level(zerolog.InfoLevel)
	if n := testing.AllocsPerRun(100, func() { w.logAttempt(&made{d: &d, result: r, verdict: delivery.Verdict{Outcome: delivery.Retry}}) }); n != 0 {
		t.Errorf("%v allocations for an attempt that is not logged", n)
	}
}
