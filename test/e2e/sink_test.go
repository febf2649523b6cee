package e2e

import (
	"context"
	"fmt"
	"sync"
	"testing"

	"github.com/nats-io/nats.go/jetstream"

	"jethook/pkg/receiver"
	"jethook/pkg/signature"
)

// sink is a receiver that remembers which events it answered with 2xx, and all
// requests in the order in which they came.
type sink struct {
	*receiver.Receiver
	url string

	mu       sync.Mutex
	requests []receiver.Request
	ok       map[string]int // by event id
}

// newSink starts a receiver.
func newSink(t *testing.T, o receiver.Options) *sink {
	t.Helper()
	s := &sink{ok: map[string]int{}}
	o.OnRequest = func(r receiver.Request) {
		s.mu.Lock()
		defer s.mu.Unlock()
		s.requests = append(s.requests, r)
		if r.Status >= 200 && r.Status < 300 {
			s.ok[r.EventID]++
		}
	}
	s.Receiver = receiver.New(o)
	url, err := s.Listen("127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	s.url = url
	t.Cleanup(func() {
		if err := s.Close(); err != nil {
			t.Errorf("close the receiver: %v", err)
		}
	})
	return s
}

// seen returns the requests so far.
func (s *sink) seen() []receiver.Request {
	s.mu.Lock()
	defer s.mu.Unlock()
	return append([]receiver.Request(nil), s.requests...)
}

// counts returns how many events arrived, and how many copies beyond the first.
func (s *sink) counts() (events, copies int) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, n := range s.ok {
		copies += n - 1
	}
	return len(s.ok), copies
}

// missing returns an error while not all of n events with ids of publish
// arrived.
func (s *sink) missing(prefix string, n int) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	missing, example := 0, ""
	for i := range n {
		if id := eventID(prefix, i); s.ok[id] == 0 {
			missing, example = missing+1, id
		}
	}
	if missing > 0 {
		return fmt.Errorf("%d of %d events have not arrived, %s among them", missing, n, example)
	}
	return nil
}

func eventID(prefix string, i int) string { return fmt.Sprintf("%s-%d", prefix, i) }

// publish stores n events of acme and waits until NATS has all of them.
func publish(t *testing.T, js jetstream.JetStream, eventType, prefix string, n int) {
	t.Helper()
	futures := make([]jetstream.PubAckFuture, 0, n)
	for i := range n {
		f, err := js.PublishAsync("webhooks.events.acme."+eventType, fmt.Appendf(nil, `{"n":%d}`, i), jetstream.WithMsgID(eventID(prefix, i)))
		if err != nil {
			t.Fatalf("publish: %v", err)
		}
		futures = append(futures, f)
	}
	for i, f := range futures {
		select {
		case <-f.Ok():
		case err := <-f.Err():
			// NATS is being restarted: the id makes a repetition harmless.
			eventually(t, fmt.Sprintf("publish event %d again after: %v", i, err), func() error {
				_, err := js.PublishMsg(context.Background(), f.Msg())
				return err
			})
		}
	}
}

// key makes a signing secret and the key that verifies it.
func key(t *testing.T) (signature.Secret, signature.Key) {
	t.Helper()
	secret := signature.NewSecret()
	k, err := signature.ParseKey(secret)
	if err != nil {
		t.Fatal(err)
	}
	return secret, k
}
