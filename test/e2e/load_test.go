package e2e

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/nats-io/nats.go/jetstream"
	"golang.org/x/time/rate"
)

// load publishes events of acme one after the other, each until NATS has
// acknowledged it. What goes wrong meanwhile is the point of the test.
type load struct {
	prefix  string
	stopped context.CancelFunc
	running sync.WaitGroup

	mu    sync.Mutex
	next  int // the next event to publish
	limit int // no event from here on
	acked atomic.Int64
}

// begin starts a load of up to limit events, perSecond of them if that is not
// 0, from several publishers at a time. It ends at the limit, with stop or with
// the test.
func begin(t *testing.T, js jetstream.JetStream, prefix string, limit int, perSecond float64) *load {
	t.Helper()
	ctx, cancel := context.WithCancel(context.Background())
	l := &load{prefix: prefix, stopped: cancel, limit: limit}
	pace := rate.NewLimiter(rate.Inf, 1)
	if perSecond > 0 {
		pace.SetLimit(rate.Limit(perSecond))
	}
	const publishers = 8
	for range publishers {
		l.running.Go(func() {
			for pace.Wait(ctx) == nil {
				i, ok := l.take(ctx)
				if !ok {
					return
				}
				insist(js, eventID(prefix, i))
				l.acked.Add(1)
			}
		})
	}
	t.Cleanup(func() { l.stop() })
	return l
}

// take returns the number of the next event, unless the load is over.
func (l *load) take(ctx context.Context) (i int, ok bool) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if ctx.Err() != nil || l.next == l.limit {
		return 0, false
	}
	l.next++
	return l.next - 1, true
}

// insist publishes an event under the same id again and again until NATS has
// it, or for as long as a test is patient. An event that never got through is
// missed at the sink.
func insist(js jetstream.JetStream, id string) {
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	// Who has no connection waits for the whole of a try, not for an error.
	const try = time.Second
	ticker := time.NewTicker(50 * time.Millisecond)
	defer ticker.Stop()
	for ctx.Err() == nil {
		once, done := context.WithTimeout(ctx, try)
		_, err := js.Publish(once, "webhooks.events.acme.order.created", []byte(id), jetstream.WithMsgID(id))
		done()
		if err == nil {
			return
		}
		<-ticker.C
	}
}

// stop ends the load, when the events that were begun are acknowledged too, and
// returns how many they are: those with the ids from 0 on.
func (l *load) stop() int {
	l.stopped()
	return l.wait()
}

// wait waits for the limit, and returns how many events that is.
func (l *load) wait() int {
	l.running.Wait()
	return l.next
}

// reached waits until n events have arrived at the sink.
func (s *sink) reached(t *testing.T, n int) {
	t.Helper()
	aslong(t, fmt.Sprintf("%d events arrived", n), s.arrived, func() error {
		if events := s.arrived(); events < n {
			return fmt.Errorf("%d have", events)
		}
		return nil
	})
}

// arrived returns how many different events arrived.
func (s *sink) arrived() int {
	events, _ := s.counts()
	return events
}

// settled waits until nothing is on its way any more: each event was handed out
// and acked, no delivery waits. With as many events at the sink as were
// published and no dead letter, that is the whole promise.
func settled(t *testing.T, js jetstream.JetStream) {
	t.Helper()
	eventually(t, "nothing is on its way", func() error {
		fanout, err := js.Consumer(context.Background(), "WEBHOOKS_EVENTS", "fanout")
		if err != nil {
			return err
		}
		if i := fanout.CachedInfo(); i.NumPending > 0 || i.NumAckPending > 0 {
			return fmt.Errorf("fanout has %d events to hand out and waits for %d acks", i.NumPending, i.NumAckPending)
		}
		if n, err := stored(js, "WEBHOOKS_DELIVERIES"); err != nil || n > 0 {
			return errors.Join(err, fmt.Errorf("%d deliveries wait", n))
		}
		return nil
	})
	if n, err := stored(js, "WEBHOOKS_DLQ"); err != nil || n > 0 {
		t.Errorf("%d dead letters where every event arrived (%v)", n, err)
	}
}

// handedOut fails until fanout was given every event that is stored. What it says
// is pending does not tell: it counts an event a moment after it is stored.
func handedOut(js jetstream.JetStream) error {
	fanout, err := js.Consumer(context.Background(), "WEBHOOKS_EVENTS", "fanout")
	if err != nil {
		return err
	}
	events, err := js.Stream(context.Background(), "WEBHOOKS_EVENTS")
	if err != nil {
		return err
	}
	if had, last := fanout.CachedInfo().Delivered.Stream, events.CachedInfo().State.LastSeq; had < last {
		return fmt.Errorf("fanout was given %d of %d events", had, last)
	}
	return nil
}

// stored returns how many messages a stream holds.
func stored(js jetstream.JetStream, stream string) (uint64, error) {
	s, err := js.Stream(context.Background(), stream)
	if err != nil {
		return 0, err
	}
	return s.CachedInfo().State.Msgs, nil
}

// everyEventArrived waits for the whole promise about n events of a load.
func everyEventArrived(t *testing.T, js jetstream.JetStream, s *sink, prefix string, n int) (copies int) {
	t.Helper()
	aslong(t, "every event arrived", s.arrived, func() error { return s.missing(prefix, n) })
	settled(t, js)
	_, copies = s.counts()
	return copies
}
