package replica

import (
	"maps"
	"os"
	"strings"
	"sync"
	"testing"

	"github.com/nats-io/nats.go/jetstream"

	"jethook/pkg/embedded"
	"jethook/pkg/endpoint"
	"jethook/streams"
)

func TestEndpointsFile(t *testing.T) {
	const a, b = "http://127.0.0.1:9000/a", "http://127.0.0.1:9000/b"
	o, log := testOptions(t)
	o.EndpointsFile = t.TempDir() + "/endpoints.yaml"
	write(t, o.EndpointsFile, "endpoints:\n"+document("one", a))
	js := dial(t, start(t, o).URL)
	check := func(want map[string]string) {
		t.Helper()
		if got := endpoints(t, js); !maps.Equal(got, want) {
			t.Errorf("endpoints %v, want %v", got, want)
		}
	}
	check(map[string]string{"acme/one": a}) // at start

	write(t, o.EndpointsFile, "endpoints:\n"+document("one", b)+document("two", a))
	log.wait(t, "endpoint applied", 3)
	check(map[string]string{"acme/one": b, "acme/two": a})

	write(t, o.EndpointsFile, "endpoints:\n"+document("one", a)+"  - {tenant: acme, id: two, url: 'ftp://x', events: ['>']}\n")
	log.wait(t, "the endpoints file is not applied", 1)
	check(map[string]string{"acme/one": b, "acme/two": a}) // all of it or nothing
	if !strings.Contains(log.String(), "endpoints.yaml:3") {
		t.Errorf("the log does not name the line:\n%s", log)
	}

	if err := os.Remove(o.EndpointsFile); err != nil {
		t.Fatal(err)
	}
	log.wait(t, "the endpoints file is not applied", 2)
	check(map[string]string{"acme/one": b, "acme/two": a})

	// The same trouble is not reported every second, and what is left out of the
	// file stays.
	write(t, o.EndpointsFile, "endpoints:\n"+document("three", a))
	log.wait(t, "endpoint applied", 4)
	check(map[string]string{"acme/one": b, "acme/two": a, "acme/three": a})
	if n := strings.Count(log.String(), "the endpoints file is not applied"); n != 2 {
		t.Errorf("two troubles are reported %d times", n)
	}
	if err := os.Remove(o.EndpointsFile); err != nil {
		t.Fatal(err)
	}
	log.wait(t, "the endpoints file is not applied", 3) // once it was over, it is news again
}

func TestBrokenEndpointsFileAtStart(t *testing.T) {
	o, _ := testOptions(t)
	o.EndpointsFile = t.TempDir() + "/endpoints.yaml"
	write(t, o.EndpointsFile, "endpoints:\n  - {tenant: acme, id: one, url: 'http://127.0.0.1:9000', evnts: ['>']}\n")
	text := refused(t, o)
	for _, part := range []string{"JETHOOK_ENDPOINTS_FILE", "endpoints.yaml:2", "evnts", "did you mean events"} {
		if !strings.Contains(text, part) {
			t.Errorf("error %s, want one with %q", text, part)
		}
	}
}

// A secret that was made is told of, and not told.
func TestMadeSecretIsNotLogged(t *testing.T) {
	o, log := testOptions(t)
	o.EndpointsFile = t.TempDir() + "/endpoints.yaml"
	write(t, o.EndpointsFile, "endpoints:\n  - {tenant: acme, id: one, url: 'http://127.0.0.1:9000', events: ['>'], rate_limit: {per_second: 1, burst: 1}}\n")
	if err := start(t, o).stop(); err != nil {
		t.Fatal(err)
	}
	if !strings.Contains(log.String(), "made a signing secret") || strings.Contains(log.String(), "whsec_") {
		t.Errorf("the log is\n%s", log)
	}
}

// A lane that is in the way of one in the file keeps neither the replica from
// starting nor the rest from being applied, and is replaced when it is gone.
func TestALaneInTheWay(t *testing.T) {
	const address = "http://127.0.0.1:9000/a"
	const refused = "lanes of the endpoints file are not applied"
	lanes := func(filter string) string { return "lanes: [{id: urgent, filters: ['" + filter + "']}]\nendpoints:\n" }
	o, log := testOptions(t)
	js, store := startStore(t, o)
	o.EndpointsFile = t.TempDir() + "/endpoints.yaml"
	// follow starts to follow the file, as a replica does when it starts.
	follow := func() (stop func()) {
		t.Helper()
		var undo undo
		if err := followFile(t.Context(), o, store, &undo); err != nil {
			t.Fatalf("the replica does not start: %v", err)
		}
		return sync.OnceFunc(func() { _ = undo.all(o.Logger) }) // it has no errors
	}
	write(t, o.EndpointsFile, lanes("*.auth.>")+document("one", address))
	stop := follow()
	defer func() { stop() }()
	write(t, o.EndpointsFile, lanes("*.bank.>")+document("two", address))
	log.wait(t, refused, 1)
	log.wait(t, "endpoint applied", 2)
	stop()
	stop = follow()
	log.wait(t, refused, 2)

	again := &follower{o: o, store: store}
	for range 2 { // once for the trouble, not for each look
		if err := again.lanes(t.Context(), []endpoint.Lane{{ID: "urgent", Weight: 1}}); err != nil || len(again.waiting) != 1 {
			t.Errorf("got %v, %v", again.waiting, err)
		}
	}

	// To try again is not to undo what an operator changed meanwhile.
	if _, err := store.Update(t.Context(), "acme/two", func(d *endpoint.Document) error { d.MaxInFlight = 7; return nil }); err != nil {
		t.Fatal(err)
	}
	if err := store.RemoveLane(t.Context(), "urgent"); err != nil {
		t.Fatal(err)
	}
	log.wait(t, "being removed", 1)
	if err := store.DeleteLane(t.Context(), "urgent"); err != nil {
		t.Fatal(err)
	}
	log.wait(t, "lane applied", 2)
	if found, _, err := store.Lanes(t.Context()); err != nil || len(found) != 1 || found[0].Filters[0] != "*.bank.>" {
		t.Errorf("lanes %+v, %v", found, err)
	}
	if d, err := store.Get(t.Context(), "acme/two"); err != nil || d.MaxInFlight != 7 {
		t.Errorf("max_in_flight %d, %v", d.MaxInFlight, err)
	}
	if got := endpoints(t, js); len(got) != 2 {
		t.Errorf("endpoints %v, want two", got)
	}
	if n := strings.Count(log.String(), refused); n != 4 { // by three followers, and when it is being removed
		t.Errorf("four troubles are reported %d times", n)
	}
}

// An ordered endpoint whose events of before nobody has handed out yet keeps its
// document until somebody does, and the replica, which is to do that, starts.
func TestAnOrderedEndpointThatNobodyServes(t *testing.T) {
	const address = "http://127.0.0.1:9000/a"
	ordered := func(events string) string {
		return "  - {tenant: acme, id: one, url: '" + address + "', events: ['" + events + "'], ordered: true}\n"
	}
	o, log := testOptions(t)
	js, store := startStore(t, o)
	file, err := endpoint.ParseFile("before", []byte("endpoints:\n"+ordered("wa")), endpoint.Rules{AllowHTTP: true})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := store.Apply(t.Context(), file.Endpoints[0]); err != nil {
		t.Fatal(err)
	}
	if _, err := js.Publish(t.Context(), "webhooks.events.acme.wa", nil); err != nil {
		t.Fatal(err)
	}
	o.EndpointsFile = t.TempDir() + "/endpoints.yaml"
	write(t, o.EndpointsFile, "endpoints:\n"+ordered("wb")+document("two", address))
	var undo undo
	defer func() { _ = undo.all(o.Logger) }()
	if err := followFile(t.Context(), o, store, &undo); err != nil {
		t.Fatalf("the replica does not start: %v", err)
	}
	if got := endpoints(t, js); len(got) != 2 {
		t.Errorf("endpoints %v, want two: the rest of the file is applied", got)
	}
	log.wait(t, "the endpoints file is not applied", 1)
	c := streams.Ordered(o.Names, "acme", "one", []string{"wa"}, 1)
	c.Config.Name = streams.OrderedSince("acme", "one", []string{"wa"}, 1)
	c.Config.Durable = c.Config.Name
	if _, err := js.CreateConsumer(t.Context(), c.Stream, c.Config); err != nil {
		t.Fatal(err)
	}
	log.wait(t, "endpoint applied", 2)
	if d, err := store.Get(t.Context(), "acme/one"); err != nil || d.Events[0] != "wb" || d.EventsFrom != 2 {
		t.Errorf("it wants %q from %d on, %v", d.Events, d.EventsFrom, err)
	}
}

// startStore starts a server with the topology and no replica.
func startStore(t *testing.T, o Options) (jetstream.JetStream, *endpoint.Store) {
	t.Helper()
	server, err := embedded.Start(*o.Embedded)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := server.Stop(); err != nil {
			t.Error(err)
		}
	})
	js := dial(t, server.URL())
	if _, err := ensure(t.Context(), o, js); err != nil {
		t.Fatal(err)
	}
	kv, err := js.KeyValue(t.Context(), o.Names.EndpointsBucket())
	if err != nil {
		t.Fatal(err)
	}
	return js, endpoint.NewStore(kv, endpoint.Events(streams.NewEventLog(js, o.Names)))
}
