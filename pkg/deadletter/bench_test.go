package deadletter

import "testing"

// BenchmarkReplay replays 100,000 dead letters of 512 bytes. The goal is more
// than 10,000 letters a second.
func BenchmarkReplay(b *testing.B) {
	const n = 100_000
	for _, c := range []struct {
		name   string
		sync   bool
		filter Filter
	}{
		{"sync-interval", false, Filter{}},
		{"sync-always", true, Filter{}},
		{"sync-always-selective", true, Filter{Type: "order.*", Limit: n}},
		{"sync-always-one-by-one", true, Filter{Since: longAgo}},
	} {
		b.Run(c.name, func(b *testing.B) {
			for b.Loop() {
				b.StopTimer()
				w := newWorld(b, setting{syncAlways: c.sync})
				w.fill(n, 512, "acme/crm", "acme/shop", "globex/crm")
				b.StartTimer()
				r := w.replay(c.filter)
				b.StopTimer()
				if r.Replayed != n || w.count(w.names.Deliveries()) != n || w.count(w.names.DeadLetters()) != 0 {
					b.Fatalf("%+v, %d deliveries, %d dead letters", r, w.count(w.names.Deliveries()), w.count(w.names.DeadLetters()))
				}
				b.StartTimer()
			}
			b.ReportMetric(n*float64(b.N)/b.Elapsed().Seconds(), "letters/s")
		})
	}
}
