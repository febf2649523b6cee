package worker

import (
	"context"
	"sync"
	"time"
)

// burst is the time between two bursts of delayed naks. The server sets its one
// timer for a consumer anew to 10 ms at each delayed nak: naks that keep coming
// closer than that starve every delayed redelivery, and every expiry of
// AckWait, on the consumer. The silence between bursts lets the timer fire.
const burst = 200 * time.Millisecond

// naks collects messages that wait, and sends their delayed naks in bursts.
type naks struct {
	mu      sync.Mutex
	waiting []waiting
	first   chan struct{} // of capacity 1: something waits
	failed  func(error, string)
}

type waiting struct {
	m   *message
	due time.Time
}

func newNaks(failed func(error, string)) *naks {
	return &naks{first: make(chan struct{}, 1), failed: failed}
}

// add lets a message come back when it is due. The caller has let go of it.
func (n *naks) add(m *message, due time.Time) {
	n.mu.Lock()
	n.waiting = append(n.waiting, waiting{m, due})
	n.mu.Unlock()
	select {
	case n.first <- struct{}{}:
	default:
	}
}

// run sends bursts until ctx ends, and then what is left.
func (n *naks) run(ctx context.Context) {
	timer := time.NewTimer(burst)
	defer timer.Stop()
	for {
		select {
		case <-ctx.Done():
			n.flush()
			return
		case <-n.first:
		}
		timer.Reset(burst)
		select {
		case <-ctx.Done():
		case <-timer.C:
		}
		n.flush()
	}
}

func (n *naks) flush() {
	n.mu.Lock()
	list := n.waiting
	n.waiting = nil
	n.mu.Unlock()
	for _, w := range list {
		// Less than a millisecond would mean at once, and out of turn.
		n.failed(w.m.NakWithDelay(max(time.Until(w.due), time.Millisecond)), "nak")
	}
}
