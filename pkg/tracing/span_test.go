package tracing

import (
	"context"
	"maps"
	"net/http"
	"strings"
	"testing"
	"time"

	"go.opentelemetry.io/otel/codes"
	"go.opentelemetry.io/otel/trace"

	"jethook/pkg/delivery"
	"jethook/pkg/endpoint"
	"jethook/pkg/event"
)

// The whole way: read, attempted, stored, attempted by another replica, given up,
// replayed. Every span stands where the package says.
func TestSpansOfADelivery(t *testing.T) {
	tracer, exported := start(t)
	elsewhere, exportedElsewhere := start(t)
	ep := newEndpoint(t, "https://crm.example.com:8443/hooks?key=canary")
	e := published(event.Field{Name: "traceparent", Value: producer}, event.Field{Name: "tracestate", Value: "a=1"})
	reading := tracer.Event(&e, "webhooks.events.acme.order.created")
	d := delivery.New(e, "crm")
	attempt(tracer, &d, ep, delivery.Verdict{Outcome: delivery.Retry}, delivery.Result{Status: 503, Error: "canary"})
	reading.End(true)
	d.State.Attempts++
	tracer.Held(&d)

	d = stored(t, d)
	header := attempt(elsewhere, &d, ep, delivery.Verdict{Outcome: delivery.Dead, Reason: delivery.AttemptsExhausted}, delivery.Result{Fault: delivery.FaultTimeout, Error: "canary"})
	elsewhere.Dead(&d, delivery.AttemptsExhausted)
	d.State.Dead = delivery.AttemptsExhausted // could not be stored, and is given up again
	elsewhere.Dead(&d, delivery.AttemptsExhausted)

	d = stored(t, d)
	d.State = delivery.State{Origin: "d1", Replay: true, Trace: d.State.Trace, History: d.State.History}
	attempt(elsewhere, &d, ep, delivery.Verdict{Outcome: delivery.Delivered}, delivery.Result{Status: 204})

	here, there := exported(), exportedElsewhere()
	if got, want := names(here)+"; "+names(there), "POST, deliver, hold, process event; POST, POST, dead letter"; got != want {
		t.Fatalf("spans %s, want %s", got, want)
	}
	read, deliver, first, hold := find(t, here, "process event", 0), find(t, here, "deliver", 0), find(t, here, "POST", 0), find(t, here, "hold", 0)
	second, dead, third := find(t, there, "POST", 0), find(t, there, "dead letter", 0), find(t, there, "POST", 1)
	for _, s := range append(here, there...) {
		if got := s.SpanContext.TraceID().String(); got != traceID(producer) {
			t.Errorf("span %s is of trace %s", s.Name, got)
		}
	}
	wantParent(t, read, trace.SpanID{0xb7, 0xad, 0x6b, 0x71, 0x69, 0x20, 0x33, 0x31})
	wantParent(t, deliver, read.SpanContext.SpanID())
	whole := deliver.SpanContext.SpanID()
	wantParent(t, first, whole)
	wantParent(t, hold, whole)
	wantParent(t, second, whole)
	wantParent(t, dead, whole)
	wantParent(t, third, whole)
	wantLink(t, hold, first)
	wantLink(t, second, first)
	wantLink(t, dead, second)
	wantLink(t, third, second)
	if len(first.Links) != 0 || first.SpanKind != trace.SpanKindClient || read.SpanKind != trace.SpanKindConsumer {
		t.Errorf("links %v, kinds %s and %s", first.Links, first.SpanKind, read.SpanKind)
	}
	of := map[string]string{"jethook.event_id": "evt_1", "jethook.event_type": "order.created", "jethook.tenant": "acme"}
	with := func(more ...string) map[string]string {
		all := maps.Clone(of)
		for i := 0; i < len(more); i += 2 {
			all[more[i]] = more[i+1]
		}
		return all
	}
	request := []string{"jethook.endpoint", "acme/crm", "http.request.method", "POST", "url.full", "https://crm.example.com:8443/hooks",
		"server.address", "crm.example.com", "server.port", "8443"}
	wantAttributes(t, read, with("messaging.system", "nats", "messaging.operation.type", "process", "messaging.operation.name", "process",
		"messaging.destination.name", "webhooks.events.acme.order.created", "messaging.message.id", "evt_1", "messaging.message.body.size", "2"))
	wantAttributes(t, deliver, with("jethook.endpoint", "acme/crm"))
	wantAttributes(t, first, with(append(request, "jethook.attempt", "1", "jethook.outcome", "retry", "http.response.status_code", "503", "error.type", "503")...))
	wantAttributes(t, second, with(append(request, "jethook.attempt", "2", "http.request.resend_count", "1", "jethook.outcome", "dead",
		"jethook.reason", "attempts_exhausted", "error.type", "timeout")...))
	wantAttributes(t, dead, with("jethook.endpoint", "acme/crm", "jethook.reason", "attempts_exhausted", "error.type", "attempts_exhausted"))
	wantAttributes(t, third, with(append(request, "jethook.attempt", "1", "jethook.replay", "true", "jethook.outcome", "delivered", "http.response.status_code", "204")...))
	if first.Status.Code != codes.Error || first.Status.Description != "" || dead.Status.Code != codes.Error || third.Status.Code != codes.Unset {
		t.Errorf("statuses %v, %v, %v", first.Status, dead.Status, third.Status)
	}
	want := "00-" + traceID(producer) + "-" + second.SpanContext.SpanID().String() + "-01"
	if header.Get("Traceparent") != want || header.Get("Tracestate") != "a=1" {
		t.Errorf("the receiver got %v, want %s", header, want)
	}
	if name := resourceOf(read, "service.name"); name != "jethook" || resourceOf(read, "service.version") != "test" || resourceOf(read, "service.instance.id") != "self" {
		t.Errorf("the resource is %v", read.Resource)
	}
}

// attempt makes the spans of an attempt and returns what the receiver gets.
func attempt(tracer *Tracer, d *delivery.Delivery, ep *endpoint.Endpoint, v delivery.Verdict, r delivery.Result) http.Header {
	ctx, span := tracer.Attempt(context.Background(), d, ep)
	header := http.Header{"Traceparent": {"the producer's"}, "Tracestate": {"the=producer's"}}
	Inject(ctx, header)
	span.End(v, r)
	return header
}

// A delivery that nobody traced before, such as one that was stored while traces
// were off, is begun with its next attempt, below the producer's span.
func TestBegunLate(t *testing.T) {
	tracer, exported := start(t)
	d := stored(t, delivery.New(published(event.Field{Name: "traceparent", Value: producer}), "crm"))
	attempt(tracer, &d, newEndpoint(t, "http://127.0.0.1"), delivery.Verdict{Outcome: delivery.Delivered}, delivery.Result{Status: 200})
	deliver, post := find(t, exported(), "deliver", 0), find(t, exported(), "POST", 0)
	wantParent(t, deliver, trace.SpanID{0xb7, 0xad, 0x6b, 0x71, 0x69, 0x20, 0x33, 0x31})
	wantParent(t, post, deliver.SpanContext.SpanID())
	if port := attributes(post)["server.port"]; port != "80" {
		t.Errorf("port %s, want 80", port)
	}
}

// A producer without a trace, or with one that is none, begins a new one here.
func TestNoProducer(t *testing.T) {
	for _, parent := range []string{"", "nonsense", strings.Replace(producer, "0af7651916cd43dd8448eb211c80319c", strings.Repeat("0", 32), 1)} {
		tracer, exported := start(t)
		e := published(event.Field{Name: "traceparent", Value: parent}, event.Field{Name: "tracestate", Value: "a=1"})
		tracer.Event(&e, "x").End(false)
		d := delivery.New(e, "crm")
		header := attempt(tracer, &d, newEndpoint(t, "http://127.0.0.1"), delivery.Verdict{Outcome: delivery.Delivered}, delivery.Result{Status: 200})
		read := find(t, exported(), "process event", 0)
		if read.Parent.IsValid() || read.Status.Code != codes.Error {
			t.Errorf("traceparent %q: a child of %v, status %v", parent, read.Parent, read.Status)
		}
		if got := header.Get("Traceparent"); traceID(got) != read.SpanContext.TraceID().String() || header.Get("Tracestate") != "" {
			t.Errorf("traceparent %q: the receiver got %v", parent, header)
		}
	}
}

// What the producer did not sample is not exported, and the receiver is told so, in
// the same trace.
func TestUnsampledStaysUnsampled(t *testing.T) {
	tracer, exported := start(t)
	e := published(event.Field{Name: "traceparent", Value: unsampled})
	reading := tracer.Event(&e, "x")
	d := delivery.New(e, "crm")
	for range 2 {
		header := attempt(tracer, &d, newEndpoint(t, "http://127.0.0.1"), delivery.Verdict{Outcome: delivery.Retry}, delivery.Result{Status: 500})
		if got := header.Get("Traceparent"); traceID(got) != traceID(unsampled) || !strings.HasSuffix(got, "-00") || got == unsampled {
			t.Errorf("the receiver got %s", got)
		}
		d = stored(t, d)
	}
	tracer.Held(&d)
	tracer.Dead(&d, delivery.Expired)
	reading.End(true)
	if spans := exported(); len(spans) != 0 {
		t.Errorf("exported: %s", names(spans))
	}
}

// The sampler is the one that the environment names.
func TestSamplerOfTheEnvironment(t *testing.T) {
	for sampler, want := range map[string]int{"always_off": 0, "parentbased_always_off": 1, "always_on": 2} {
		t.Setenv("OTEL_TRACES_SAMPLER", sampler)
		tracer, exported := start(t)
		for _, parent := range []string{producer, ""} {
			e := published(event.Field{Name: "traceparent", Value: parent})
			tracer.Event(&e, "x").End(true)
		}
		if got := len(exported()); got != want {
			t.Errorf("%s: %d spans, want %d", sampler, got, want)
		}
	}
}

// An interrupted attempt is no failure.
func TestInterrupted(t *testing.T) {
	tracer, exported := start(t)
	d := delivery.New(published(), "crm")
	attempt(tracer, &d, newEndpoint(t, "http://127.0.0.1"), delivery.Verdict{Outcome: delivery.Interrupted}, delivery.Result{Fault: delivery.FaultInterrupted})
	if post := find(t, exported(), "POST", 0); post.Status.Code != codes.Unset || attributes(post)["error.type"] != "interrupted" {
		t.Errorf("status %v, attributes %v", post.Status, attributes(post))
	}
}

// While traces are off, nothing is allocated, stored, or changed in a request.
func TestOffCostsNothing(t *testing.T) {
	var off *Tracer
	ep := newEndpoint(t, "http://127.0.0.1")
	e := published(event.Field{Name: "traceparent", Value: producer})
	d := delivery.New(e, "crm")
	header := http.Header{"Traceparent": {producer}}
	ctx, cancel := context.WithTimeout(t.Context(), time.Hour)
	defer cancel()
	n := testing.AllocsPerRun(100, func() {
		reading := off.Event(&e, "x")
		off.Delivery(&d)
		ctx, span := off.Attempt(ctx, &d, ep)
		Inject(ctx, header)
		span.End(delivery.Verdict{Outcome: delivery.Retry}, delivery.Result{Status: 500})
		off.Held(&d)
		off.Dead(&d, delivery.Expired)
		reading.End(true)
	})
	if n != 0 {
		t.Errorf("%v allocations", n)
	}
	off.Stop(ctx)
	if header.Get("Traceparent") != producer || d.State.Trace != (delivery.Trace{}) || e.Trace != "" {
		t.Errorf("the header is %v, the state %+v, the event's trace %q", header, d.State.Trace, e.Trace)
	}
	m, err := d.Encode("x", 0)
	if err != nil || strings.Contains(m.Header.Get(delivery.Header), "trace") {
		t.Errorf("stored: %v %v", m.Header, err)
	}
}

// BenchmarkAttempt is what an attempt costs beside the request itself.
func BenchmarkAttempt(b *testing.B) {
	on, _ := start(b)
	ep := newEndpoint(b, "http://127.0.0.1")
	for name, c := range map[string]struct {
		tracer *Tracer
		parent string
	}{"off": {nil, producer}, "unsampled": {on, unsampled}, "on": {on, producer}} {
		b.Run(name, func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				e := published(event.Field{Name: "traceparent", Value: c.parent})
				reading := c.tracer.Event(&e, "x")
				d := delivery.New(e, "crm")
				ctx, span := c.tracer.Attempt(context.Background(), &d, ep)
				Inject(ctx, http.Header{})
				span.End(delivery.Verdict{Outcome: delivery.Delivered}, delivery.Result{Status: 200})
				reading.End(true)
			}
		})
	}
}
