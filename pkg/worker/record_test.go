package worker

import (
	"errors"
	"fmt"
	"slices"
	"testing"
	"time"

	"github.com/nats-io/nats.go/jetstream"

	"jethook/pkg/attempt"
	"jethook/pkg/delivery"
	"jethook/streams"
)

// A log that cannot be stored makes no attempt twice: acks wait for less than it
// takes until a message is handed out again, those of the batch after it too.
func TestNoSecondAttemptWithoutTheLog(t *testing.T) {
	t.Parallel()
	for name, spoil := range map[string]func(*world){
		"missing": func(w *world) { w.must(w.js.DeleteStream(w.ctx, w.names.Attempts())) },
		"full": func(w *world) {
			s, err := w.js.Stream(w.ctx, w.names.Attempts())
			w.must(err)
			config := s.CachedInfo().Config
			config.MaxBytes, config.Discard = 1, jetstream.DiscardNew
			_, err = w.js.UpdateStream(w.ctx, config)
			w.must(err)
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			w := newWorld(t, setting{})
			w.endpoint("crm")
			spoil(w)
			tried, err := w.nc.SubscribeSync(w.names.Ledger("*"))
			w.must(err)
			w.run(8, 0)
			w.publish("order.created", "evt_0", "{}")
			got := []string{w.next().event}
			_, err = tried.NextMsgWithContext(w.ctx) // the others' acks wait for another batch
			w.must(err)
			w.must(tried.Unsubscribe())
			for _, id := range []string{"evt_1", "evt_2"} {
				w.publish("order.created", id, "{}")
				got = append(got, w.next().event)
			}
			w.settled()
			w.quiet()
			if slices.Sort(got); !slices.Equal(got, []string{"evt_0", "evt_1", "evt_2"}) {
				t.Errorf("attempts of %v", got)
			}
		})
	}
}

// That an ordered endpoint's event died is in the ledger before it is acked, of
// events that fail and of those that are left when the endpoint is removed.
func TestOrderedDeadAreLoggedBeforeTheAck(t *testing.T) {
	t.Parallel()
	w := newWorld(t, setting{})
	w.endpoint("crm", inOrderOf, skips)
	w.answer(status(400))
	ledger := attempt.NewStore(w.js, w.names)
	acked := func(i int, seq uint64, reason delivery.Reason) {
		t.Helper()
		w.until("it is acked", func() bool {
			c, err := w.js.Consumer(w.ctx, w.names.Events(), streams.OrderedOf("acme", "crm"))
			if errors.Is(err, jetstream.ErrConsumerNotFound) {
				return reason == delivery.EndpointDeleted // or it is not made yet
			}
			return err == nil && c.CachedInfo().AckFloor.Stream >= seq
		})
		for e, err := range ledger.Event(w.ctx, fmt.Sprintf("evt_%d", i), time.Time{}) {
			w.must(err)
			if e.Dead == reason {
				return
			}
		}
		t.Errorf("event %d is acked, and the ledger does not say that it is dead (%s)", i, reason)
	}
	r := w.run(4, time.Second)
	for i := range 10 {
		acked(i, w.publish("order.created", fmt.Sprintf("evt_%d", i), "body"), delivery.Rejected)
	}
	w.endpoint("crm", inOrderOf, skips, whilePaused)
	seq := w.publish("order.created", "evt_10", "body")
	w.inHand(r)
	w.remove("crm")
	acked(10, seq, delivery.EndpointDeleted)
}
