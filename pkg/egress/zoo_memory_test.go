package egress

import (
	"runtime"
	"runtime/debug"
	"slices"
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
// on both included: 64 KiB of header and of body, windows of 128 KiB, buffers. The
// slack is for garbage, of which there is little: it is collected when the heap has
// grown by a tenth.
const (
	perExchange = 256 << 10
	slack       = 8 << 20
)

// bound is that of one exchange with a house's beasts. Among 64 KiB of headers there
// is room for thousands, each of which costs ten times its bytes.
func bound(h house) uint64 {
	if len(h.beasts) == 1 && h.beasts[0].name == "endless tiny headers" {
		return 4 * perExchange
	}
	return perExchange
}

// collectOften makes what the heap holds be what is in use, until the function that
// it returns is called.
func collectOften() (asBefore func()) {
	percent := debug.SetGCPercent(10)
	return func() { debug.SetGCPercent(percent) }
}

// floodBeasts returns those that send without end or far too much, each in a house of
// its own.
func floodBeasts() (all []house) {
	for _, h := range zoo() {
		h.beasts = slices.DeleteFunc(h.beasts, func(b beast) bool {
			return b.failure == Timeout || !strings.Contains(b.name, "endless") && !strings.Contains(b.name, "flood") && !strings.Contains(b.name, "iB")
		})
		for _, b := range h.beasts {
			all = append(all, house{b.name, h.scheme, []beast{b}})
		}
	}
	return all
}

// Each kind of flood by itself, where nothing that takes little hides what it takes:
// a bound on header or body that was a megabyte would show.
func TestFloodsInMemory(t *testing.T) {
	floods := floodBeasts()
	if len(floods) < 30 {
		t.Errorf("only %d kinds of flood", len(floods))
	}
	inMemory(t, floods, 24)
}

// zooTogether meets each beast n times at once, house by house, and watches the
// heap: at its highest, and of what is left behind.
func zooTogether(t *testing.T, n int) {
	t.Helper()
	inMemory(t, zoo(), n)
}

func inMemory(t *testing.T, houses []house, n int) {
	t.Helper()
	defer collectOften()()
	for _, h := range houses {
		t.Run(h.name, func(t *testing.T) {
			_, _ = elevenMiB(), bomb() // what beasts share is none of the client's
			before := heapAfterGC()
			watch := watchHeap()
			together(t, h, n)
			peak := watch()
			after := heapBelow(before + 2<<20)
			exchanges := uint64(n * len(h.beasts))
			t.Logf("%d exchanges at once: heap %d KiB before, %d KiB at most, %d KiB after", exchanges, before>>10, peak>>10, after>>10)
			if bound := before + exchanges*bound(h) + slack; peak > bound {
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
		c := newZooClient(t)
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

// newZooClient makes a client that forgets soon: net/http holds on to an HTTP/2
// connection that died with a request on it, 50 KiB, until IdleTimeout has passed.
func newZooClient(t *testing.T) *Client {
	t.Helper()
	return newTestClient(t, Options{Allow: loopback, RootCAs: zooRoots(), IdleTimeout: time.Second})
}

// heapBelow waits until the heap is below the bound, and tells how large it is then,
// or after 20 s in which it never was.
func heapBelow(bound uint64) (heap uint64) {
	for end := time.Now().Add(20 * time.Second); ; time.Sleep(50 * time.Millisecond) {
		if heap = heapAfterGC(); heap <= bound || time.Now().After(end) {
			return heap
		}
	}
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
