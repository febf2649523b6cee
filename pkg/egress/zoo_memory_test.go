package egress

import (
	"runtime"
	"strings"
	"sync"
	"testing"
	"time"
)

// Many of each at a time take no more memory than their bounds allow, and give it
// back. The heavy tests do the same with more.
func TestZooInMemory(t *testing.T) {
	zooTogether(t, 3)
}

// perExchange bounds the memory of one exchange here, the receiver's side and TLS
// on both included: 64 KiB of header and of body, windows of 128 KiB, buffers.
const perExchange = 1 << 20

// zooTogether meets each beast n times at once, house by house, and watches the
// heap: at its highest, and of what is left behind.
func zooTogether(t *testing.T, n int) {
	t.Helper()
	for _, h := range zoo() {
		t.Run(h.name, func(t *testing.T) {
			_, _ = elevenMiB(), bomb() // what beasts share is none of the client's
			before := heapAfterGC()
			watch := watchHeap()
			together(t, h, n)
			peak, after := watch(), heapAfterGC()
			exchanges := uint64(n * len(h.beasts))
			t.Logf("%d exchanges at once: heap %d KiB before, %d KiB at most, %d KiB after", exchanges, before>>10, peak>>10, after>>10)
			// A garbage collection comes when the heap has doubled.
			if bound := 2 * (before + exchanges*perExchange); peak > bound {
				t.Errorf("%d KiB of heap at most, want under %d", peak>>10, bound>>10)
			}
			if bound := before + 2<<20; after > bound {
				t.Errorf("%d KiB of heap after, want under %d", after>>10, bound>>10)
			}
		})
	}
}

func together(t *testing.T, h house, n int) {
	t.Helper()
	t.Run("all", func(t *testing.T) { // its cleanups end the receivers
		c := newTestClient(t, Options{Allow: loopback, RootCAs: zooRoots()})
		var all sync.WaitGroup
		for _, b := range h.beasts {
			url := h.scheme + "://" + serve(t, b.handle)
			for range n {
				all.Go(func() {
					req := post(t, url+"/in", strings.Repeat("x", 512), 300*time.Millisecond)
					if res, _ := c.Do(req); len(res.Body) > MaxBody {
						t.Errorf("%s: %d bytes of body", b.name, len(res.Body))
					}
				})
			}
		}
		all.Wait()
	})
}

func heapAfterGC() uint64 {
	runtime.GC()
	runtime.GC() // the second frees what finalizers and pools held
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	return m.HeapAlloc
}

// watchHeap looks at the heap again and again until the function it returns is
// called, which tells the most that it saw.
func watchHeap() func() uint64 {
	var peak uint64
	var watching sync.WaitGroup
	stop := make(chan struct{})
	watching.Go(func() {
		tick := time.NewTicker(5 * time.Millisecond)
		defer tick.Stop()
		for {
			var m runtime.MemStats
			runtime.ReadMemStats(&m)
			peak = max(peak, m.HeapAlloc)
			select {
			case <-tick.C:
			case <-stop:
				return
			}
		}
	})
	return func() uint64 {
		close(stop)
		watching.Wait()
		return peak
	}
}
