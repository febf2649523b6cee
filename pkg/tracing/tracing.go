// Package tracing promises spans of OpenTelemetry for those who ask for them, at
// no cost for those who do not: all methods of a nil Tracer do nothing, and
// allocate nothing.
//
// An event has a span, which is a child of its producer's. Each of its deliveries
// has one below that, which ends with the first attempt; and each attempt has one
// below the delivery's, however much later and on whichever replica, linked to the
// attempt before it. Where a delivery stands in its trace travels in its state, and
// so through retries, holds, dead letters and replays.
//
// Spans hold names, numbers, statuses and addresses without their query strings:
// no payload, no secret, and nothing that a receiver answered. What fails here
// never stops a delivery.
package tracing

import (
	"context"
	"fmt"
	"time"

	"github.com/rs/zerolog"
	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/exporters/otlp/otlptrace/otlptracehttp"
	"go.opentelemetry.io/otel/sdk/resource"
	sdk "go.opentelemetry.io/otel/sdk/trace"
	"go.opentelemetry.io/otel/trace"
)

// Options say who traces. All are required but Exporter.
type Options struct {
	Version string // of jethook
	Replica string // that is told apart from others by it
	Logger  zerolog.Logger
	// Exporter takes the spans. Nil is OTLP over HTTP, as OpenTelemetry's
	// variables say.
	Exporter sdk.SpanExporter
}

// Tracer makes spans. A nil Tracer makes none.
type Tracer struct {
	provider *sdk.TracerProvider
	exporter *exporter
	tracer   trace.Tracer
	log      zerolog.Logger
}

// Start returns a tracer whose sampling, batches, resource and limits are as
// OpenTelemetry's variables say, which the SDK reads itself. It connects to
// nothing yet.
func Start(ctx context.Context, o Options) (*Tracer, error) {
	report(o.Logger)
	if o.Exporter == nil {
		otlp, err := otlptracehttp.New(ctx)
		if err != nil {
			return nil, fmt.Errorf("exporter of traces: %w", err)
		}
		o.Exporter = otlp
	}
	// What the environment says comes last and counts.
	about, err := resource.New(ctx, resource.WithTelemetrySDK(), resource.WithAttributes(
		attribute.String("service.name", "jethook"), attribute.String("service.version", o.Version),
		attribute.String("service.instance.id", o.Replica)), resource.WithFromEnv())
	if err != nil {
		return nil, fmt.Errorf("resource of traces: %w", err)
	}
	e := newExporter(o.Exporter, o.Logger)
	provider := sdk.NewTracerProvider(sdk.WithBatcher(e), sdk.WithResource(about))
	return &Tracer{provider: provider, exporter: e, log: o.Logger,
		tracer: provider.Tracer("jethook", trace.WithInstrumentationVersion(o.Version))}, nil
}

// stopFor bounds how long a stop waits for the last spans to be taken. With the grace
// of attempts before it, a stop is over within the 30 s that Kubernetes gives it.
const stopFor = 3 * time.Second

// Stop exports what is left and ends the tracer, within three seconds. What could
// not be exported by then is lost, and logged.
func (t *Tracer) Stop(ctx context.Context) {
	if t == nil {
		return
	}
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), stopFor)
	defer cancel()
	err := t.provider.Shutdown(ctx)
	if ctx.Err() != nil {
		// The provider gave up waiting, which is the error below; this ends what it waited for.
		_ = t.exporter.SpanExporter.Shutdown(ctx)
	}
	if err != nil {
		t.log.Warn().Err(err).Msg(lost)
	}
}
