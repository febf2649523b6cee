//go:build security

package egress

import (
	"os"
	"runtime"
	"sync"
	"testing"
	"time"
)

// The zoo, many of each at a time, again and again: memory stays flat, and so do
// goroutines and open files.
func TestZooInMemoryManyTimes(t *testing.T) {
	zooTogether(t, 2) // what is made once and kept
	goroutines, files, heap := runtime.NumGoroutine(), openFiles(t), heapAfterGC()
	for range 3 {
		zooTogether(t, 20)
		eventually(t, "goroutines", func() bool { return runtime.NumGoroutine() <= goroutines+10 })
		eventually(t, "open files", func() bool { return openFiles(t) <= files+10 })
	}
	if after := heapBelow(heap + 4<<20); after > heap+4<<20 {
		t.Errorf("heap of %d KiB before, %d KiB after", heap>>10, after>>10)
	}
}

// One client meets the same beast over and over: nothing adds up, and each
// exchange ends as the first did.
func TestEachBeastManyTimes(t *testing.T) {
	_, _ = elevenMiB(), bomb() // what beasts share is none of the client's
	before := heapAfterGC()
	t.Run("all", func(t *testing.T) { // ends when its parallel parts have
		for _, h := range zoo() {
			for _, b := range h.beasts {
				t.Run(h.name+"/"+b.name, func(t *testing.T) {
					t.Parallel()
					manyTimes(t, h, b)
				})
			}
		}
	})
	if after := heapBelow(before + 8<<20); after > before+8<<20 {
		t.Errorf("heap of %d KiB before, %d KiB after", before>>10, after>>10)
	}
}

func manyTimes(t *testing.T, h house, b beast) {
	c := newZooClient(t)
	url := h.scheme + "://" + serve(t, b.handle)
	for range 10 {
		start := time.Now()
		_, err := c.Do(post(t, url, "{}", b.deadline()))
		if took := time.Since(start); took > b.deadline()+late {
			t.Errorf("took %v with a deadline of %v", took, b.deadline())
		}
		if Classify(err) != b.failure {
			t.Errorf("failure %q (%v; %v), want %q", Classify(err), err, cause(err), b.failure)
		}
		c.Close() // a script answers the first request on a connection
	}
}

// With the deadline that endpoints have by default, and not a moment more.
func TestDripsEndWithTheDeadline(t *testing.T) {
	const deadline = 15 * time.Second
	var all sync.WaitGroup
	for _, h := range zoo() {
		for _, b := range h.beasts {
			if b.failure != Timeout {
				continue
			}
			c := newTestClient(t, Options{Allow: loopback, RootCAs: zooRoots(), DialTimeout: time.Minute})
			url := h.scheme + "://" + serve(t, b.handle)
			all.Go(func() {
				start := time.Now()
				_, err := c.Do(post(t, url, "{}", deadline))
				if took := time.Since(start); Classify(err) != b.failure || took > deadline+late {
					t.Errorf("%s: %v after %v, want %s after %v", b.name, err, took, b.failure, deadline)
				}
			})
		}
	}
	all.Wait()
}

func eventually(t *testing.T, what string, ok func() bool) {
	t.Helper()
	deadline := time.After(20 * time.Second)
	tick := time.NewTicker(20 * time.Millisecond)
	defer tick.Stop()
	for !ok() {
		select {
		case <-tick.C:
		case <-deadline:
			t.Errorf("%s do not return to where they were", what)
			return
		}
	}
}

// openFiles counts this process's, 0 where the system does not tell.
func openFiles(t *testing.T) int {
	t.Helper()
	list, err := os.ReadDir("/proc/self/fd")
	if err != nil {
		return 0
	}
	return len(list)
}
