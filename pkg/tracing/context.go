package tracing

import (
	"context"
	"net/http"

	"go.opentelemetry.io/otel/propagation"
	"go.opentelemetry.io/otel/trace"

	"jethook/pkg/delivery"
	"jethook/pkg/event"
)

// w3c reads and writes trace contexts as headers, as the W3C has it.
var w3c propagation.TraceContext

const (
	traceparent = "traceparent"
	tracestate  = "tracestate"
)

// Inject puts the context of the span in ctx into the headers of a request, in the
// place of the producer's. Without a span it leaves them as they are.
func Inject(ctx context.Context, h http.Header) {
	if !trace.SpanContextFromContext(ctx).IsValid() {
		return
	}
	h.Del(tracestate)
	w3c.Inject(ctx, propagation.HeaderCarrier(h))
}

// of returns the context in which an event is published, or being read.
func of(e *event.Event) context.Context {
	if e.Trace != "" {
		return parsed(e.Trace, e)
	}
	return parsed(e.Field(traceparent), e)
}

// parsed returns the context that a traceparent tells, with the producer's
// tracestate if that is of the same trace. One that tells none is an empty context.
func parsed(parent string, e *event.Event) context.Context {
	carrier := propagation.MapCarrier{traceparent: parent}
	if state := e.Field(tracestate); state != "" && traceID(parent) == traceID(e.Field(traceparent)) {
		carrier[tracestate] = state
	}
	return w3c.Extract(context.Background(), carrier)
}

// traceID returns the part of a traceparent that says which trace it is of.
func traceID(parent string) string {
	const from, to = len("00-"), len("00-0af7651916cd43dd8448eb211c80319c")
	if len(parent) < to {
		return ""
	}
	return parent[from:to]
}

// text returns a span's context as a traceparent.
func text(span trace.Span) string {
	carrier := propagation.MapCarrier{}
	w3c.Inject(trace.ContextWithSpan(context.Background(), span), carrier)
	return carrier[traceparent]
}

// before returns a link to the delivery's last attempt, if there was one.
func before(d *delivery.Delivery) []trace.SpanStartOption {
	id, err := trace.SpanIDFromHex(d.State.Trace.Attempt)
	if err != nil {
		return nil
	}
	whole := trace.SpanContextFromContext(parsed(d.State.Trace.Delivery, &d.Event))
	return []trace.SpanStartOption{trace.WithLinks(trace.Link{SpanContext: whole.WithSpanID(id)})}
}
