package replica

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
	"github.com/rs/zerolog"

	"jethook/pkg/attempt"
	"jethook/pkg/freeport"
	"jethook/pkg/natsconn"
	"jethook/pkg/receiver"
)

func get(t *testing.T, url string) (int, string) {
	t.Helper()
	req, err := http.NewRequestWithContext(t.Context(), http.MethodGet, url, nil)
	if err != nil {
		t.Fatal(err)
	}
	client := &http.Client{Transport: &http.Transport{DisableKeepAlives: true}}
	res, err := client.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	defer res.Body.Close()
	body, err := io.ReadAll(res.Body)
	if err != nil {
		t.Fatal(err)
	}
	return res.StatusCode, string(body)
}

// ready waits until the replica says that it delivers.
func ready(t *testing.T, s started) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), testTimeout)
	defer cancel()
	for {
		status, body := get(t, "http://"+s.HTTP+"/readyz")
		if status == http.StatusOK {
			return
		}
		if ctx.Err() != nil {
			t.Fatalf("not ready: %s", body)
		}
	}
}

// far returns the address of a receiver and the requests that it gets.
func far(t *testing.T) (url string, requests <-chan receiver.Request) {
	t.Helper()
	got := make(chan receiver.Request, 100)
	r := receiver.New(receiver.Options{OnRequest: func(req receiver.Request) { got <- req }})
	url, err := r.Listen("127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := r.Close(); err != nil {
			t.Error(err)
		}
	})
	return url, got
}

func document(id, url string) string {
	return "  - {tenant: acme, id: " + id + ", url: '" + url + "', events: ['>'], signing: none}\n"
}

// One call is a working system: it serves, delivers, is joined by another
// replica, stops cleanly, and goes on where it stopped.
func TestReplica(t *testing.T) {
	url, requests := far(t)
	o, log := testOptions(t)
	o.EndpointsFile = t.TempDir() + "/endpoints.yaml"
	write(t, o.EndpointsFile, "endpoints:\n"+document("local", url))

	o.HTTPAddr = fmt.Sprintf("127.0.0.1:%d", freeport.Get(t)) // which nobody else takes when it is free again
	first := start(t, o)
	ready(t, first)
	js := dial(t, first.URL)
	publish := func(body string) {
		t.Helper()
		if _, err := js.Publish(t.Context(), "webhooks.events.acme.order.created", []byte(body)); err != nil {
			t.Fatal(err)
		}
	}
	publish("one")
	if r := <-requests; string(r.Body) != "one" {
		t.Errorf("got %q", r.Body)
	}
	if status, _ := get(t, "http://"+first.HTTP+"/healthz"); status != http.StatusOK {
		t.Errorf("/healthz: %d", status)
	}
	if _, body := get(t, "http://"+first.HTTP+"/metrics"); !strings.Contains(body, "jethook_endpoints 1") || !strings.Contains(body, "jethook_in_flight") {
		t.Error("/metrics does not tell of the endpoint and of what is in flight")
	}

	second := o
	second.NATS, second.EndpointsFile, second.HTTPAddr = natsconn.Options{URL: first.URL}, "", "127.0.0.1:0"
	joined := start(t, second)
	ready(t, joined)
	if err := joined.stop(); err != nil {
		t.Errorf("the second replica ended with %v", err)
	}
	publish("two")
	if r := <-requests; string(r.Body) != "two" {
		t.Errorf("got %q", r.Body)
	}
	if err := first.stop(); err != nil {
		t.Errorf("the replica ended with %v", err)
	}
	if _, err := net.Dial("tcp", first.HTTP); err == nil { //nolint:noctx // refused at once
		t.Error("the stopped replica still listens")
	}
	if strings.Contains(log.String(), `"level":"error"`) {
		t.Errorf("a run without trouble logs errors:\n%s", log)
	}

	again := start(t, o) // on the same store
	js = dial(t, again.URL)
	publish("three")
	r := <-requests
	for string(r.Body) == "two" { // whose ack may have come too late for the stop
		r = <-requests
	}
	if string(r.Body) != "three" {
		t.Errorf("after the restart got %q, want what is new only", r.Body)
	}
}

// Started and stopped in all states of starting, it leaves nothing behind.
func TestStopsAtAnyMoment(t *testing.T) {
	o, _ := testOptions(t)
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if err := Run(ctx, o); !errors.Is(err, context.Canceled) {
		t.Errorf("canceled before the start: %v", err)
	}
	for range 5 {
		if err := start(t, o).stop(); err != nil {
			t.Fatalf("stopped as soon as started: %v", err)
		}
	}
}

func TestDoesNotStart(t *testing.T) {
	taken, err := net.Listen("tcp", "127.0.0.1:0") //nolint:noctx // returns at once
	if err != nil {
		t.Fatal(err)
	}
	defer taken.Close() //nolint:errcheck // nothing was written
	for name, c := range map[string]struct {
		change func(*Options)
		parts  []string
	}{
		"HTTP port taken":     {func(o *Options) { o.HTTPAddr = taken.Addr().String() }, []string{"JETHOOK_HTTP_ADDR"}},
		"NATS port taken":     {func(o *Options) { o.Embedded.Listen = taken.Addr().String() }, []string{"JETHOOK_NATS_LISTEN", "NATS_URL"}},
		"no NATS":             {func(o *Options) { o.NATS.URL = "nats://127.0.0.1:1" }, []string{"cannot reach NATS"}},
		"no file":             {func(o *Options) { o.EndpointsFile = "nofile" }, []string{"JETHOOK_ENDPOINTS_FILE", "nofile"}},
		"no embedded, no URL": {func(o *Options) { o.Embedded, o.NATS.URL = nil, "nats://127.0.0.1:1" }, []string{"cannot reach NATS"}},
	} {
		o, _ := testOptions(t)
		c.change(&o)
		text := refused(t, o)
		for _, part := range c.parts {
			if !strings.Contains(text, part) {
				t.Errorf("%s: %s, want %q", name, text, part)
			}
		}
	}
}

// What was started is stopped, the last first, whatever goes wrong on the way.
func TestUndo(t *testing.T) {
	var u undo
	var order []string
	one, two := errors.New("one"), errors.New("two")
	u.add("a", func() error { order = append(order, "a"); return nil })
	u.add("b", func() error { order = append(order, "b"); return one })
	u.add("c", func() error { order = append(order, "c"); return two })
	err := u.all(zerolog.Nop())
	if !errors.Is(err, one) || !errors.Is(err, two) {
		t.Errorf("error %v, want both", err)
	}
	if want := []string{"c", "b", "a"}; !slices.Equal(order, want) {
		t.Errorf("stopped %q, want %q", order, want)
	}
	if err := u.all(zerolog.Nop()); err != nil || len(order) != 3 {
		t.Errorf("a second time: %v, %q", err, order)
	}
}

// What waits for others when it stops does so beside the rest, and what all need stops
// when they have.
func TestUndoBeside(t *testing.T) {
	var u undo
	words, traces := make(chan struct{}), make(chan struct{})
	ended := 0
	u.add("connection", func() error { ended++; return nil })
	u.addBeside("traces", func() error { close(traces); <-words; return nil })
	u.addBeside("words", func() error { close(words); <-traces; return nil })
	u.add("server", func() error { <-traces; return nil })
	if err := u.all(zerolog.Nop()); err != nil || ended != 1 {
		t.Errorf("%v, and the connection ended %d times", err, ended)
	}
}

// Without the bucket of open gates a replica is not ready: what goes to endpoints
// that fail would wait for ever. It makes the bucket again itself.
func TestGatesAreMadeAgain(t *testing.T) {
	o, _ := testOptions(t)
	s := start(t, o)
	ready(t, s)
	js := dial(t, s.URL)
	ctx, cancel := context.WithTimeout(t.Context(), testTimeout)
	defer cancel()
	var deleted time.Time
	for status, body := 0, ""; status != http.StatusServiceUnavailable || !strings.Contains(body, "open gates"); {
		// It makes the bucket again within a moment, in which the machine may stand still.
		if time.Since(deleted) > 5*time.Second {
			err := js.DeleteKeyValue(ctx, o.Names.GatesBucket())
			if err != nil && !errors.Is(err, jetstream.ErrBucketNotFound) {
				t.Fatal(err)
			}
			deleted = time.Now()
		}
		if status, body = get(t, "http://"+s.HTTP+"/readyz"); ctx.Err() != nil {
			t.Fatalf("/readyz: %d %s", status, body)
		}
	}
	ready(t, s)
	if _, err := js.KeyValue(t.Context(), o.Names.GatesBucket()); err != nil {
		t.Error(err)
	}
}

// Where somebody deletes the stream of the attempt log, it is made again, and
// nothing that was kept meanwhile is missing in it.
func TestAttemptLogIsMadeAgain(t *testing.T) {
	url, requests := far(t)
	o, log := testOptions(t)
	o.EndpointsFile = t.TempDir() + "/endpoints.yaml"
	if err := os.WriteFile(o.EndpointsFile, []byte("endpoints:\n"+document("crm", url)), 0o600); err != nil {
		t.Fatal(err)
	}
	s := start(t, o)
	ready(t, s)
	js, err := jetstream.New(connected(t, s.URL))
	must(t, err)
	must(t, js.DeleteStream(t.Context(), o.Names.Attempts()))
	_, err = js.Publish(t.Context(), "webhooks.events.acme.x", nil)
	must(t, err)
	<-requests
	log.wait(t, "the stream of the attempt log was gone; made it again", 1)
	must(t, s.stop()) // which stores the rest
	if said := log.String(); strings.Contains(said, "does not store the attempt log") {
		t.Errorf("something is missing in the log: %s", said)
	}
	s = start(t, o)
	js, err = jetstream.New(connected(t, s.URL))
	must(t, err)
	// The ack of the event may come too late for the stop: then it is attempted again.
	kept, events := map[time.Time]bool{}, map[string]bool{}
	for r, err := range attempt.NewStore(js, o.Names).Records(t.Context(), attempt.Filter{}) {
		must(t, err)
		if r.Name() != "acme/crm" || kept[r.At] {
			t.Errorf("a record of %s, at %s", r.Name(), r.At)
		}
		kept[r.At], events[r.EventID] = true, true
	}
	if len(events) != 1 {
		t.Errorf("%d attempts of %d events are kept, want those of one", len(kept), len(events))
	}
}

func connected(t *testing.T, url string) *nats.Conn {
	t.Helper()
	nc, err := nats.Connect(url, nats.Timeout(testTimeout))
	must(t, err)
	t.Cleanup(nc.Close)
	return nc
}
