package tracing

import (
	"context"
	"strings"
	"sync"
	"time"

	"github.com/go-logr/logr"
	"github.com/rs/zerolog"
	"go.opentelemetry.io/otel"
	sdk "go.opentelemetry.io/otel/sdk/trace"
)

// lost is what the log says of spans that nobody took.
const lost = "traces could not be exported; deliveries go on without"

// full is what it says of spans that waited in vain. Their number is that since the
// start.
const full = "spans were dropped because their queue was full; deliveries go on without"

// exporter keeps to itself that an export failed: a line a minute is enough.
type exporter struct {
	sdk.SpanExporter
	log zerolog.Logger
}

func newExporter(e sdk.SpanExporter, log zerolog.Logger) *exporter {
	return &exporter{e, seldom(log)}
}

// ExportSpans exports what it can.
func (e *exporter) ExportSpans(ctx context.Context, spans []sdk.ReadOnlySpan) error {
	if err := e.SpanExporter.ExportSpans(ctx, spans); err != nil {
		e.log.Warn().Str("error", short(err)).Int("spans", len(spans)).Msg(lost)
	}
	return nil // the SDK would only pass it on to what report sets
}

// report lets the SDK, which knows of one place only for what goes wrong in a
// process, log there. Its own messages quote the values of variables, and those may
// be credentials: they are left out. Configured has looked at the values before.
func report(log zerolog.Logger) {
	otel.SetLogger(logr.New(&dropped{log: seldom(log)}))
	log = seldom(log)
	otel.SetErrorHandler(otel.ErrorHandlerFunc(func(err error) {
		log.Warn().Str("error", short(err)).Msg("OpenTelemetry reports an error")
	}))
}

// dropped is what the SDK logs to, of which one thing is of interest: how many spans
// its queue had no room for. It says that nowhere else.
type dropped struct {
	log zerolog.Logger
	mu  sync.Mutex
	all uint32
}

// Info hears of each export.
func (d *dropped) Info(_ int, _ string, pairs ...any) {
	for i := 0; i+1 < len(pairs); i += 2 {
		if n, ok := pairs[i+1].(uint32); ok && pairs[i] == "total_dropped" {
			d.mu.Lock()
			more := n != d.all
			d.all = n
			d.mu.Unlock()
			if more {
				d.log.Warn().Uint32("spans", n).Msg(full)
			}
		}
	}
}

// Init, Enabled, Error, WithValues and WithName are what a logr.LogSink has beside.
func (*dropped) Init(logr.RuntimeInfo)            {}
func (*dropped) Enabled(int) bool                 { return true }
func (*dropped) Error(error, string, ...any)      {}
func (d *dropped) WithValues(...any) logr.LogSink { return d }
func (d *dropped) WithName(string) logr.LogSink   { return d }

// seldom returns a logger that says something once a minute.
func seldom(log zerolog.Logger) zerolog.Logger {
	return log.Sample(&zerolog.BurstSampler{Burst: 1, Period: time.Minute})
}

// short leaves out of an error what the collector answered, as far as it is told
// apart, and bounds the rest.
func short(err error) string {
	const most = 200
	text, _, _ := strings.Cut(err.Error(), "body: ")
	return text[:min(len(text), most)]
}
