package worker

import (
	"slices"
	"testing"

	"github.com/nats-io/nats.go/jetstream"
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
