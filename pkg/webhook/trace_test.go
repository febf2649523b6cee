package webhook

import (
	"testing"
	"time"

	"go.opentelemetry.io/otel/trace"

	"jethook/pkg/event"
)

const producers = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"

// In a trace, the receiver gets the attempt's own context, whatever the producer or
// the endpoint's document says, and otherwise the producer's unchanged.
func TestTraceOfTheAttempt(t *testing.T) {
	state, err := trace.ParseTraceState("ours=1")
	if err != nil {
		t.Fatal(err)
	}
	span := trace.SpanContextConfig{TraceID: trace.TraceID{1}, SpanID: trace.SpanID{2}, TraceFlags: trace.FlagsSampled}
	const ours = "00-01000000000000000000000000000000-0200000000000000-0"
	for name, c := range map[string]struct {
		change              func(*trace.SpanContextConfig)
		traceparent, states string
	}{
		"off":              {nil, producers, "theirs=1"},
		"sampled":          {func(*trace.SpanContextConfig) {}, ours + "1", ""},
		"not sampled":      {func(s *trace.SpanContextConfig) { s.TraceFlags = 0 }, ours + "0", ""},
		"with a state too": {func(s *trace.SpanContextConfig) { s.TraceState = state }, ours + "1", "ours=1"},
	} {
		url, got := receive(t, ok)
		d := given()
		d.Event.Fields = []event.Field{{Name: "traceparent", Value: producers}, {Name: "tracestate", Value: "theirs=1"}}
		ctx := within(t, time.Minute)
		if c.change != nil {
			s := span
			c.change(&s)
			ctx = trace.ContextWithSpanContext(ctx, trace.NewSpanContext(s))
		}
		if r := NewSender(newClient(t), "test").Attempt(ctx, d, newEndpoint(t, url)); r.Status != 200 {
			t.Fatalf("%s: %+v", name, r)
		}
		if h := (<-got).header; len(h.Values("Traceparent")) != 1 || h.Get("Traceparent") != c.traceparent || h.Get("Tracestate") != c.states {
			t.Errorf("%s: the receiver got %q and %q", name, h.Values("Traceparent"), h.Values("Tracestate"))
		}
	}
}
