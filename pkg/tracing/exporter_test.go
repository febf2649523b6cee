package tracing

import (
	"context"
	"errors"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/rs/zerolog"
	sdk "go.opentelemetry.io/otel/sdk/trace"
)

// refusing takes no spans.
type refusing struct{ asked int }

func (r *refusing) ExportSpans(context.Context, []sdk.ReadOnlySpan) error {
	r.asked++
	return errors.New("refused: " + strings.Repeat("x", 20) + " body: canary " + strings.Repeat("y", 1000))
}

func (*refusing) Shutdown(context.Context) error { return nil }

// hanging takes spans and never answers, until it is shut down.
type hanging struct {
	once sync.Once
	end  chan struct{}
}

func (h *hanging) ExportSpans(context.Context, []sdk.ReadOnlySpan) error { <-h.end; return nil }

func (h *hanging) Shutdown(context.Context) error { h.once.Do(func() { close(h.end) }); return nil }

func startWith(t *testing.T, e sdk.SpanExporter) (*Tracer, *output) {
	t.Helper()
	log := &output{}
	tracer, err := Start(t.Context(), Options{Version: "test", Replica: "self", Logger: zerolog.New(log), Exporter: e})
	if err != nil {
		t.Fatal(err)
	}
	return tracer, log
}

// publishMany makes more spans than are kept for an exporter that does not take
// them.
func publishMany(tracer *Tracer) {
	for range 3 * sdk.DefaultMaxQueueSize {
		e := published()
		tracer.Event(&e, "x").End(true)
	}
}

// A collector that refuses is a line a minute in the log.
func TestExportThatFails(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		e := &refusing{}
		tracer, log := startWith(t, e)
		for range 20 {
			publishMany(tracer)
			time.Sleep(9 * time.Second)
		}
		tracer.Stop(t.Context())
		if n := strings.Count(log.String(), lost); n < 2 || n > 4 || e.asked < 20 {
			t.Errorf("%d lines in three minutes in which %d exports failed:\n%s", n, e.asked, log)
		}
		if !strings.Contains(log.String(), `"level":"warn","error":"refused: xxx`) || strings.Contains(log.String(), "canary") {
			t.Errorf("the log: %s", log)
		}
	})
}

// Spans that are more than the queue takes are a line a minute, however many.
func TestSpansThatAreDropped(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		e := &hanging{end: make(chan struct{})}
		tracer, log := startWith(t, e)
		publishMany(tracer)
		if err := e.Shutdown(t.Context()); err != nil { // it answers from now on
			t.Fatal(err)
		}
		tracer.Stop(t.Context())
		if n := strings.Count(log.String(), "\n"); n != 1 || !strings.Contains(log.String(), full) || !strings.Contains(log.String(), `"spans":`) {
			t.Errorf("the log has %d lines: %s", n, log)
		}
	})
}

// A collector that hangs delays neither an attempt nor a stop, beyond its bound.
func TestExportThatHangs(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		tracer, log := startWith(t, &hanging{end: make(chan struct{})})
		began := time.Now()
		publishMany(tracer)
		if took := time.Since(began); took > 0 {
			t.Errorf("spans waited for %s", took)
		}
		tracer.Stop(t.Context())
		if took := time.Since(began); took != stopFor {
			t.Errorf("the stop took %s, want %s", took, stopFor)
		}
		if !strings.Contains(log.String(), lost) {
			t.Errorf("the log does not say that spans are lost: %s", log)
		}
		synctest.Wait()
	})
}
