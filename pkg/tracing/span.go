package tracing

import (
	"context"
	"net/http"
	"net/url"
	"strconv"

	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/codes"
	"go.opentelemetry.io/otel/trace"

	"jethook/pkg/delivery"
	"jethook/pkg/endpoint"
	"jethook/pkg/event"
)

// Reading is the span in which an event is read, or none: its zero value.
type Reading struct{ span trace.Span }

// Event begins the span of an event that was published to a subject. It notes the
// span in the event, so that its deliveries come below it.
func (t *Tracer) Event(e *event.Event, subject string) Reading {
	if t == nil {
		return Reading{}
	}
	_, span := t.tracer.Start(of(e), "process event", trace.WithSpanKind(trace.SpanKindConsumer))
	e.Trace = text(span)
	if span.IsRecording() {
		span.SetAttributes(eventAttributes(e)...)
		span.SetAttributes(attribute.String("messaging.system", "nats"), attribute.String("messaging.operation.type", "process"),
			attribute.String("messaging.operation.name", "process"), attribute.String("messaging.destination.name", subject),
			attribute.String("messaging.message.id", e.ID), attribute.Int("messaging.message.body.size", len(e.Body)))
	}
	return Reading{span}
}

// End ends the span. What was not settled goes back to NATS and is read again, in
// another span.
func (r Reading) End(settled bool) {
	if r.span == nil {
		return
	}
	if !settled {
		r.span.SetStatus(codes.Error, "")
		r.span.SetAttributes(attribute.String("error.type", "unsettled"))
	}
	r.span.End()
}

// Delivery sees to it that a delivery which is about to be stored has its span.
func (t *Tracer) Delivery(d *delivery.Delivery) {
	if t == nil || begun(d) {
		return
	}
	t.deliver(d).End()
}

func begun(d *delivery.Delivery) bool { return d.State.Trace.Delivery != "" }

// deliver begins the span of a delivery and notes it in its state.
func (t *Tracer) deliver(d *delivery.Delivery) trace.Span {
	_, span := t.tracer.Start(of(&d.Event), "deliver")
	d.State.Trace.Delivery = text(span)
	t.describe(span, d)
	return span
}

// below begins a span below the delivery's, linked to the last attempt. The
// delivery's own is returned, too, if it is begun only now.
func (t *Tracer) below(ctx context.Context, d *delivery.Delivery, name string, kind trace.SpanKind) (_ context.Context, span, whole trace.Span) {
	if !begun(d) {
		whole = t.deliver(d)
	}
	parent := trace.SpanContextFromContext(parsed(d.State.Trace.Delivery, &d.Event))
	ctx, span = t.tracer.Start(trace.ContextWithRemoteSpanContext(ctx, parent), name, append(before(d), trace.WithSpanKind(kind))...)
	t.describe(span, d)
	return ctx, span, whole
}

// Attempt is the span of an attempt, or none: its zero value.
type Attempt struct{ span, whole trace.Span }

// Attempt begins the span of an attempt, which ctx carries to Inject, and notes it
// in the delivery's state, for the next attempt to link to.
func (t *Tracer) Attempt(ctx context.Context, d *delivery.Delivery, ep *endpoint.Endpoint) (context.Context, Attempt) {
	if t == nil {
		return ctx, Attempt{}
	}
	ctx, span, whole := t.below(ctx, d, http.MethodPost, trace.SpanKindClient)
	d.State.Trace.Attempt = span.SpanContext().SpanID().String()
	if span.IsRecording() {
		span.SetAttributes(attribute.String("http.request.method", http.MethodPost), attribute.Int("jethook.attempt", d.Number()))
		span.SetAttributes(addressAttributes(ep.RedactedURL())...)
		if d.State.Attempts > 0 {
			span.SetAttributes(attribute.Int("http.request.resend_count", d.State.Attempts))
		}
	}
	return ctx, Attempt{span, whole}
}

// End ends the span of an attempt with what came of it: in bounded words, never in
// the receiver's.
func (a Attempt) End(v delivery.Verdict, r delivery.Result) {
	if a.span == nil {
		return
	}
	a.span.SetAttributes(attribute.String("jethook.outcome", string(v.Outcome)))
	if v.Reason != "" {
		a.span.SetAttributes(attribute.String("jethook.reason", string(v.Reason)))
	}
	if r.Status != 0 {
		a.span.SetAttributes(attribute.Int("http.response.status_code", r.Status))
	}
	if v.Outcome != delivery.Delivered {
		class := string(r.Fault)
		if r.Fault == delivery.FaultNone {
			class = strconv.Itoa(r.Status)
		}
		a.span.SetAttributes(attribute.String("error.type", class))
		if v.Outcome != delivery.Interrupted { // a stop is no failure
			a.span.SetStatus(codes.Error, "")
		}
	}
	a.span.End()
	if a.whole != nil {
		a.whole.End()
	}
}

// Held notes in the trace that a delivery is being held.
func (t *Tracer) Held(d *delivery.Delivery) {
	if t == nil {
		return
	}
	_, span, whole := t.below(context.Background(), d, "hold", trace.SpanKindInternal)
	end(span, whole)
}

// Dead notes in the trace that a delivery was given up. One that was given up
// before, and only waits to be stored, is not noted again.
func (t *Tracer) Dead(d *delivery.Delivery, reason delivery.Reason) {
	if t == nil || d.State.Dead != "" {
		return
	}
	_, span, whole := t.below(context.Background(), d, "dead letter", trace.SpanKindInternal)
	span.SetAttributes(attribute.String("jethook.reason", string(reason)), attribute.String("error.type", string(reason)))
	span.SetStatus(codes.Error, "")
	end(span, whole)
}

func end(span, whole trace.Span) {
	span.End()
	if whole != nil {
		whole.End()
	}
}

// describe says which delivery a span is of.
func (*Tracer) describe(span trace.Span, d *delivery.Delivery) {
	if !span.IsRecording() {
		return
	}
	span.SetAttributes(eventAttributes(&d.Event)...)
	span.SetAttributes(attribute.String("jethook.endpoint", d.Name()))
	if d.State.Replay {
		span.SetAttributes(attribute.Bool("jethook.replay", true))
	}
}

func eventAttributes(e *event.Event) []attribute.KeyValue {
	return []attribute.KeyValue{attribute.String("jethook.event_id", e.ID), attribute.String("jethook.event_type", e.Type),
		attribute.String("jethook.tenant", e.Tenant)}
}

// addressAttributes says where a request goes, by an address without its query.
func addressAttributes(address string) []attribute.KeyValue {
	u, err := url.Parse(address)
	if err != nil {
		return nil // the attempt says what is wrong with it
	}
	u.User = nil
	port, err := strconv.Atoi(u.Port())
	if err != nil {
		port = map[string]int{"http": 80, "https": 443}[u.Scheme]
	}
	return []attribute.KeyValue{attribute.String("url.full", u.String()), attribute.String("server.address", u.Hostname()), attribute.Int("server.port", port)}
}
