package e2e

import (
	"context"
	"fmt"
	"maps"
	"net/http"
	"net/http/httptest"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/nats-io/nats.go/jetstream"

	"jethook/pkg/receiver"
	"jethook/pkg/secret"
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

// saysNothing is an answer that asks for another try and says nothing of how the
// endpoint fares, so that its gate stays closed.
const saysNothing = http.StatusRequestTimeout

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

// repeated tells of an event that arrived more than once.
func (s *sink) repeated() string {
	s.mu.Lock()
	defer s.mu.Unlock()
	for id, n := range s.ok {
		if n < 2 {
			continue
		}
		text := id + " came"
		for _, r := range s.requests {
			if r.EventID == id {
				text += fmt.Sprintf(" at %s (attempt %d, answered %d)", r.At.Format(time.TimeOnly+".000"), r.Attempt, r.Status)
			}
		}
		return text
	}
	return "no event came twice"
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

// door is a receiver that can be down: then it answers as told, and the sink
// behind it sees nothing.
type door struct {
	*sink
	answer atomic.Pointer[answer] // nil: it works
	turned atomic.Int64           // requests that found it down
}

type answer struct {
	status int
	header http.Header
}

// newDoor starts a receiver that works until it goes down.
func newDoor(t *testing.T, o receiver.Options) *door {
	t.Helper()
	d := &door{sink: newSink(t, o)}
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		a := d.answer.Load()
		if a == nil {
			d.ServeHTTP(w, r)
			return
		}
		d.turned.Add(1)
		maps.Copy(w.Header(), a.header)
		w.WriteHeader(a.status)
	}))
	d.url = server.URL
	t.Cleanup(server.Close)
	return d
}

// goDown lets the receiver answer with a status, and headers if there are any.
func (d *door) goDown(status int, header http.Header) { d.answer.Store(&answer{status, header}) }

func (d *door) comeUp() { d.answer.Store(nil) }

// wide are events for several endpoints, each for one: an endpoint of which
// nothing is known gets a few attempts at a time.
type wide struct{ endpoints, each int }

// documents returns the endpoints, all at one receiver.
func (w wide) documents(url string) string {
	text := "endpoints:\n"
	for i := range w.endpoints {
		text += fmt.Sprintf("- {tenant: acme, id: e%d, url: '%s', events: [kind%d], retry: {base: 200ms, max_delay: 1s, max_attempts: 16}}\n", i, url, i)
	}
	return text
}

func (w wide) publish(t *testing.T, js jetstream.JetStream) {
	t.Helper()
	for i := range w.endpoints {
		publish(t, js, fmt.Sprintf("kind%d", i), fmt.Sprintf("w%d", i), w.each)
	}
}

// allArrived waits for the whole promise about these events.
func (w wide) allArrived(t *testing.T, js jetstream.JetStream, s *sink) (copies int) {
	t.Helper()
	for i := range w.endpoints {
		copies = everyEventArrived(t, js, s, fmt.Sprintf("w%d", i), w.each)
	}
	return copies
}

// key makes a signing secret and the key that verifies it.
func key(t *testing.T) (secret.Secret, signature.Key) {
	t.Helper()
	secret := signature.NewSecret()
	k, err := signature.ParseKey(secret)
	if err != nil {
		t.Fatal(err)
	}
	return secret, k
}
