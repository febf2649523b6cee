package hold

import (
	"fmt"
	"slices"
	"testing"
	"time"

	"github.com/nats-io/nats.go/jetstream"

	"jethook/pkg/delivery"
)

// What is scheduled comes as it would have come, each delivery once, and what is
// another endpoint's stays.
func TestHurry(t *testing.T) {
	w := newWorld(t)
	w.besides()
	const n = hurryBatch + 3
	var want []string
	for i := range n {
		d := given("acme/crm", fmt.Sprintf("e%04d", i))
		d.State.Attempts, d.State.Due = 2, time.Now().Add(time.Hour).Truncate(0)
		m, err := d.Encode(w.names.Scheduled("acme", "crm", d.Event.ID, "o1"), w.nc.MaxPayload())
		w.must(err)
		m.Header.Set("Nats-Schedule", "@at "+d.State.Due.UTC().Format(time.RFC3339Nano))
		m.Header.Set("Nats-Schedule-Target", w.names.Delivery("fast", "acme", "crm"))
		_, err = w.js.PublishMsg(w.ctx, m)
		w.must(err)
		want = append(want, d.Event.ID)
	}
	hurried, err := w.store.Hurry(w.ctx, "acme", "crm")
	if err != nil || hurried != n {
		t.Fatalf("%d deliveries, %v", hurried, err)
	}
	w.messages(w.names.Scheduled("acme", "crm", "*", "*"), 0)
	w.messages(w.names.Delivery("fast", "acme", "crm"), n)
	c, err := w.js.CreateConsumer(w.ctx, w.names.Deliveries(), jetstream.ConsumerConfig{FilterSubject: w.names.Delivery("fast", "acme", "crm"), AckPolicy: jetstream.AckExplicitPolicy})
	w.must(err)
	var got []string
	for len(got) < n {
		batch, err := c.Fetch(n-len(got), jetstream.FetchMaxWait(30*time.Second))
		w.must(err)
		for m := range batch.Messages() {
			d, err := delivery.Decode("acme", "crm", m.Headers(), m.Data())
			w.must(err)
			if d.State.Attempts != 2 || m.Headers().Get("Nats-Schedule") != "" {
				t.Fatalf("it comes with state %+v and headers %v", d.State, m.Headers())
			}
			got = append(got, d.Event.ID)
		}
	}
	if !slices.Equal(got, want) {
		t.Errorf("%d deliveries came, in another order or not each once", len(got))
	}
	if again, err := w.store.Hurry(w.ctx, "acme", "crm"); again != 0 || err != nil {
		t.Errorf("once more: %d, %v", again, err)
	}
	for _, name := range neighbours {
		w.waiting(name, Waiting{New: 1, Late: 1})
	}
	w.messages("webhooks.scheduled.>", len(neighbours))
}
