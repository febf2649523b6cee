package hold

import (
	"testing"
)

// BenchmarkFeed feeds a hundred thousand held deliveries of 512 bytes back,
// their acks included.
func BenchmarkFeed(b *testing.B) {
	const n = 100_000
	for b.Loop() {
		b.StopTimer()
		w := newWorld(b)
		w.fill(n, 512, "acme/crm")
		f := w.feed()
		b.StartTimer()
		for got := 0; got < n; {
			messages := w.fetch(f, 500)
			for _, m := range messages {
				w.must(m.Ack())
			}
			got += len(messages)
		}
		w.must(w.nc.Flush())
	}
	b.ReportMetric(float64(n)*float64(b.N)/b.Elapsed().Seconds(), "deliveries/s")
}
