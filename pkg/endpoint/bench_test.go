package endpoint

import (
	"fmt"
	"runtime"
	"testing"
	"time"

	"github.com/nats-io/nats.go/jetstream"
	"github.com/rs/zerolog"
)

const benchEndpoints = 100_000

// benchDocument gives each tenant so many endpoints.
func benchDocument(i, perTenant int) Document {
	d := numberedDocument(i)
	d.Tenant = fmt.Sprintf("tenant-%d", i/perTenant)
	return d
}

// fillBucket stores documents without waiting for each.
func fillBucket(b *testing.B, js jetstream.JetStream, n, perTenant int) {
	b.Helper()
	for i := range n {
		d := benchDocument(i, perTenant)
		subject := "$KV." + testBucket + "." + documentKey(d.Tenant, d.ID)
		if _, err := js.PublishAsync(subject, mustEncode(b, d), jetstream.WithStallWait(time.Minute)); err != nil {
			b.Fatal(err)
		}
	}
	select {
	case <-js.PublishAsyncComplete():
	case <-time.After(time.Minute):
		b.Fatal("the bucket could not be filled")
	}
}

func heap() uint64 {
	runtime.GC()
	runtime.GC()
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	return m.HeapAlloc
}

// BenchmarkRegistryLoad loads 100,000 endpoints from a real server: seconds for
// one load, and what an endpoint takes of the heap.
func BenchmarkRegistryLoad(b *testing.B) {
	for _, perTenant := range []int{1, 10, 1000} {
		b.Run(fmt.Sprintf("per tenant=%d", perTenant), func(b *testing.B) { benchmarkLoad(b, perTenant) })
	}
}

func benchmarkLoad(b *testing.B, perTenant int) {
	js := startServer(b).connect()
	kv := createBucket(b, js)
	fillBucket(b, js, benchEndpoints, perTenant)
	var bytes float64
	for b.Loop() {
		b.StopTimer()
		before := heap()
		b.StartTimer()
		r := NewRegistry(kv, zerolog.Nop())
		if err := r.Start(b.Context()); err != nil {
			b.Fatal(err)
		}
		b.StopTimer()
		r.Stop()
		if r.Len() != benchEndpoints {
			b.Fatalf("loaded %d endpoints, broken %d", r.Len(), r.BrokenLen())
		}
		bytes = float64(heap()-before) / benchEndpoints
		runtime.KeepAlive(r)
		b.StartTimer()
	}
	b.ReportMetric(bytes, "B/endpoint")
	b.ReportMetric(b.Elapsed().Seconds()/float64(b.N), "s/load")
}

// BenchmarkMatch matches among 100,000 endpoints. All or none of a tenant's want
// the event.
func BenchmarkMatch(b *testing.B) {
	for _, perTenant := range []int{1, 10, 100} {
		b.Run(fmt.Sprintf("per tenant=%d", perTenant), func(b *testing.B) { benchmarkMatch(b, perTenant) })
	}
}

func benchmarkMatch(b *testing.B, perTenant int) {
	r := NewRegistry(newBucket(b), zerolog.Nop())
	for i := range benchEndpoints {
		e, err := Compile(benchDocument(i, perTenant))
		if err != nil {
			b.Fatal(err)
		}
		r.replace(e.Name(), e)
	}
	for _, wanted := range []string{"order.created", "order.other.deep"} {
		b.Run(wanted, func(b *testing.B) {
			tenants := make([]string, 1000)
			for i := range tenants {
				tenants[i] = fmt.Sprintf("tenant-%d", i*7)
			}
			b.ReportAllocs()
			for i := 0; b.Loop(); i++ {
				r.Match(tenants[i%len(tenants)], wanted)
			}
		})
	}
}
