package worker

import (
	"context"
	"strconv"
	"sync/atomic"
	"testing"
	"time"

	"github.com/rs/zerolog"
	"go.opentelemetry.io/otel/sdk/trace/tracetest"

	"jethook/pkg/delivery"
	"jethook/pkg/endpoint"
	"jethook/pkg/tracing"
)

// BenchmarkEvent is the way of an event whose first attempt succeeds, without
// HTTP: fetch, match, settle, ack.
func BenchmarkEvent(b *testing.B) { benchmarkEvent(b) }

// BenchmarkEventUnderARate is the same for a tenant with a rate that it keeps.
func BenchmarkEventUnderARate(b *testing.B) { benchmarkEvent(b, limited(1e9)) }

// BenchmarkEventTraced is the same with spans of all that happens, which nobody
// takes.
func BenchmarkEventTraced(b *testing.B) {
	tracer, err := tracing.Start(b.Context(), tracing.Options{Version: "test", Replica: "self", Logger: zerolog.Nop(), Exporter: tracetest.NewNoopExporter()})
	if err != nil {
		b.Fatal(err)
	}
	b.Cleanup(func() { tracer.Stop(context.Background()) })
	benchmarkEvent(b, func(worker *Worker) { worker.trace = tracer })
}

func benchmarkEvent(b *testing.B, change ...func(*Worker)) {
	w := newWorld(b, setting{})
	w.endpoint("crm")
	for done := 0; done < b.N; done += 4000 {
		w.publishMany("order.created", "evt_"+time.Now().Format("150405.000000")+"_", min(4000, b.N-done))
	}
	counter := &counter{n: int64(b.N), all: make(chan struct{})}
	b.ReportAllocs()
	b.ResetTimer()
	w.run(64, time.Second, append(change, func(worker *Worker) { worker.sender = checked{timed{counter, worker.metrics}} })...)
	<-counter.all
	b.StopTimer()
	b.ReportMetric(float64(b.N)/b.Elapsed().Seconds(), "events/s")
}

// counter answers 200 until it has answered n times.
type counter struct {
	n   int64
	all chan struct{}
	got atomic.Int64
}

func (c *counter) Attempt(context.Context, *delivery.Delivery, *endpoint.Endpoint) delivery.Result {
	if c.got.Add(1) == c.n {
		close(c.all)
	}
	return delivery.Result{Status: 200, At: time.Now()}
}

// BenchmarkFeed is the way back of what was held, without HTTP: fetch, attempt,
// settle, ack.
func BenchmarkFeed(b *testing.B) {
	w := newWorld(b, setting{})
	w.endpoint("crm", func(d *endpoint.Document) { d.Paused, d.MaxInFlight = true, 256 })
	r := w.run(512, time.Second)
	for done := 0; done < b.N; done += 4000 {
		w.publishMany("order.created", "evt_"+strconv.Itoa(done)+"_", min(4000, b.N-done))
	}
	w.held(uint64(b.N))
	counter := &counter{n: int64(b.N), all: make(chan struct{})}
	r.stop()
	w.endpoint("crm", func(d *endpoint.Document) { d.MaxInFlight = 256 })
	b.ReportAllocs()
	b.ResetTimer()
	w.run(512, time.Second, func(worker *Worker) { worker.sender = checked{timed{counter, worker.metrics}} })
	<-counter.all
	b.StopTimer()
	b.ReportMetric(float64(b.N)/b.Elapsed().Seconds(), "deliveries/s")
}
