package worker

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"jethook/pkg/delivery"
)

// fakeMsg is a message of which only the answer matters.
type fakeMsg struct {
	rawMsg
	mu    sync.Mutex
	naked []time.Duration
}

func (f *fakeMsg) NakWithDelay(d time.Duration) error {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.naked = append(f.naked, d)
	return nil
}

// Naks go out together, with silence between, and what is left at the end goes
// out at once.
func TestNaksComeInBursts(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var sent []time.Duration
		start := time.Now()
		n := newNaks(func(err error, _ string) {
			if err != nil {
				t.Error(err)
			}
			sent = append(sent, time.Since(start))
		})
		ctx, cancel := context.WithCancel(t.Context())
		ended := make(chan struct{})
		go func() { defer close(ended); n.run(ctx) }()
		messages := make([]*fakeMsg, 1000)
		for i := range messages {
			messages[i] = &fakeMsg{}
			n.add(&message{Msg: messages[i]}, time.Now().Add(time.Second))
			<-time.After(3 * time.Millisecond)
		}
		last := &fakeMsg{}
		<-time.After(time.Second)
		synctest.Wait()
		bursts := slices.Compact(slices.Clone(sent))
		if len(sent) != len(messages) || len(bursts) > 16 {
			t.Errorf("%d naks in %d bursts, want %d in at most 16", len(sent), len(bursts), len(messages))
		}
		for i := 1; i < len(bursts); i++ {
			if gap := bursts[i] - bursts[i-1]; gap < burst {
				t.Errorf("a gap of %v between bursts, want %v at least", gap, burst)
			}
		}
		for _, m := range messages {
			if len(m.naked) != 1 || m.naked[0] < time.Second-burst || m.naked[0] > time.Second {
				t.Fatalf("nak'd with %v, want what is left of a second", m.naked)
			}
		}
		n.add(&message{Msg: last}, time.Now().Add(-time.Hour))
		cancel()
		<-ended
		if len(last.naked) != 1 || last.naked[0] != time.Millisecond {
			t.Errorf("at the end nak'd with %v, want a millisecond, once", last.naked)
		}
	})
}

// With 300 short waits a second going on for ten seconds, a delivery that waits
// comes back within 500 ms of its time, unless the machine stands still. Naks that are
// sent as they come starve all of them.
func TestShortWaitsDoNotStarve(t *testing.T) {
	t.Parallel()
	w := newWorld(t, setting{})
	w.endpoint("crm")
	const n, every = 3000, time.Second / 300
	due := make([]time.Time, n)
	w.run(64, time.Second)
	start := time.Now()
	ticker := time.NewTicker(every)
	defer ticker.Stop()
	for i := range n {
		<-ticker.C
		due[i] = time.Now().Add(2 * time.Second)
		w.put(given("crm", fmt.Sprintf("evt_%d", i), delivery.State{Due: due[i]}))
	}
	fed := time.Since(start)
	late := make([]time.Duration, 0, n)
	for range n {
		c := w.next()
		var i int
		if _, err := fmt.Sscanf(c.event, "evt_%d", &i); err != nil {
			t.Fatal(err)
		}
		late = append(late, c.at.Sub(due[i]))
	}
	slices.Sort(late)
	t.Logf("%d waits in %v: lateness p50 %v, p99 %v, max %v", n, fed, late[n/2], late[n*99/100], late[n-1])
	if late[0] < 0 {
		t.Errorf("a delivery came %v before its time", -late[0])
	}
	// Starved, half of them come only when no more waits begin: seconds late.
	if half, worst := late[n/2], late[n-1]; half > 500*time.Millisecond || worst > 5*time.Second {
		t.Errorf("half of the deliveries came %v after their time or later, the last %v", half, worst)
	}
	w.settled()
}

var errNotForThis = errors.New("not for this test")
