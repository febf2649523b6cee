package replica

import (
	"context"

	"jethook/pkg/tracing"
)

// startTracing starts the export of traces, if it is asked for. It returns nil, which
// makes no spans, if it is not.
func startTracing(ctx context.Context, o Options, self string, undo *undo) (*tracing.Tracer, error) {
	if !o.Traces {
		return nil, nil //nolint:nilnil // a nil tracer is one
	}
	t, err := tracing.Start(ctx, tracing.Options{Version: o.Version, Replica: self, Logger: o.Logger})
	if err != nil {
		return nil, err
	}
	undo.addBeside("export of traces", func() error { t.Stop(ctx); return nil })
	o.Logger.Info().Msg("traces are exported, as OpenTelemetry's variables say")
	return t, nil
}
