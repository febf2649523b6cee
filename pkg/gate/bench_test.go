package gate

import (
	"fmt"
	"runtime"
	"testing"
	"unsafe"
)

func BenchmarkEnterDone(b *testing.B) {
	for name, terms := range map[string]Terms{"plain": wide, "rate": {PerSecond: 1e9, Burst: 1e6, MaxInFlight: 1000}} {
		b.Run(name, func(b *testing.B) {
			g := NewSet(1024, alone).Of("acme/crm", terms)
			ctx := b.Context()
			b.ReportAllocs()
			for b.Loop() {
				if g.Enter(ctx) != Go {
					b.Fatal("not now")
				}
				g.Done(Vital{Fault: Alive, Ended: Delivered})
			}
		})
	}
}

func BenchmarkOf(b *testing.B) {
	s := NewSet(1024, alone)
	s.Of("acme/crm", wide)
	b.ReportAllocs()
	for b.Loop() {
		s.Of("acme/crm", wide)
	}
}

func BenchmarkParallel(b *testing.B) {
	s := NewSet(1024, alone)
	b.RunParallel(func(pb *testing.PB) {
		ctx := b.Context()
		for i := 0; pb.Next(); i++ {
			g := s.Of([]string{"acme/a", "acme/b", "globex/a", "globex/b"}[i%4], wide)
			if g.Enter(ctx) == Go {
				g.Done(Vital{Fault: Alive, Ended: Delivered})
			}
		}
	})
}

// A hundred thousand endpoints are a matter of megabytes.
func TestMemoryOfAGate(t *testing.T) {
	const n = 10_000
	var before, after runtime.MemStats
	s := NewSet(64, alone)
	names := make([]string, n)
	for i := range names {
		names[i] = fmt.Sprintf("acme/%d", i)
	}
	runtime.GC()
	runtime.ReadMemStats(&before)
	for _, name := range names {
		s.Of(name, wide)
	}
	runtime.GC()
	runtime.ReadMemStats(&after)
	each := (int64(after.HeapAlloc) - int64(before.HeapAlloc)) / n
	t.Logf("%d B a gate (%d B itself), with its place in the map", each, unsafe.Sizeof(Gate{}))
	if each > 600 {
		t.Errorf("%d B a gate, want 600 at most", each)
	}
	runtime.KeepAlive(s)
}
