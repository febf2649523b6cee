package endpoint

import (
	"bytes"
	"context"
	"runtime"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
	"github.com/rs/zerolog"
)

// syncBuffer is a log that is read while it is written.
type syncBuffer struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (s *syncBuffer) Write(p []byte) (int, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.b.Write(p)
}

func (s *syncBuffer) count(text string) int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return strings.Count(s.b.String(), text)
}

func startRegistry(t testing.TB, kv jetstream.KeyValue, log *syncBuffer, options ...RegistryOption) *Registry {
	t.Helper()
	r := NewRegistry(kv, zerolog.New(log), append(options, CheckEvery(20*time.Millisecond))...)
	if err := r.Start(t.Context()); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(r.Stop)
	return r
}

// await returns when the registry is as it should be.
func await(t testing.TB, r *Registry, what string, is func() bool) {
	t.Helper()
	timeout := time.After(testTimeout)
	for {
		changed := r.Changed()
		if is() {
			return
		}
		select {
		case <-changed:
		case <-timeout:
			t.Fatalf("in vain waited until %s; %d endpoints, revision %d, broken %v", what, r.Len(), r.Revision(), r.Broken())
		}
	}
}

func names(endpoints []*Endpoint) string {
	var list []string
	for _, e := range endpoints {
		list = append(list, e.Name())
	}
	return strings.Join(list, " ")
}

func TestRegistryFollowsItsBucket(t *testing.T) {
	kv := newBucket(t)
	s := NewStore(kv)
	d := testDocument()
	first := apply(t, s, d)
	other := testDocument()
	other.ID, other.Events = "all", []string{">", "order.>", "order.created"}
	apply(t, s, other)

	var log syncBuffer
	r := startRegistry(t, kv, &log)
	if got := names(r.Match("acme", "order.created")); got != "acme/all acme/crm" {
		t.Errorf("after Start order.created matches %q", got)
	}
	if got := names(r.Match("acme", "invoice")); got != "acme/all" {
		t.Errorf("invoice matches %q", got)
	}
	if e := r.Get("acme", "crm"); e == nil || e.Revision != first.Revision || len(parsed(t, e).keys) != 1 || r.Len() != 2 {
		t.Errorf("got %v", e)
	}
	if r.Get("acme", "none") != nil || r.Match("none", "order.created") != nil {
		t.Error("found what is not there")
	}

	d.Events, d.Paused = []string{"invoice"}, true
	changed := apply(t, s, d)
	await(t, r, "the change arrives", func() bool { return r.Revision() == changed.Revision })
	if got := names(r.Match("acme", "order.created")); got != "acme/all" {
		t.Errorf("after the change order.created matches %q", got)
	}
	if got := names(r.Match("acme", "invoice")); got != "acme/all acme/crm" {
		t.Errorf("after the change invoice matches %q: a paused endpoint matches too", got)
	}
	if reason, _ := r.Get("acme", "crm").Unavailable(); reason != ReasonPaused {
		t.Errorf("got %q", reason)
	}

	if err := s.Remove(testContext(t), "acme/all"); err != nil {
		t.Fatal(err)
	}
	await(t, r, "the removal arrives", func() bool { return r.Len() == 1 })
	if got := names(r.Match("acme", "invoice")); got != "acme/crm" {
		t.Errorf("after the removal invoice matches %q", got)
	}
}

func TestRegistryKeepsTheLastGoodDocument(t *testing.T) {
	kv := newBucket(t)
	s := NewStore(kv)
	apply(t, s, testDocument())
	put(t, kv, "acme.never", `{"tenant":"acme"}`)
	var log syncBuffer
	r := startRegistry(t, kv, &log)
	if broken := r.Broken(); len(broken) != 1 || r.BrokenLen() != 1 || !strings.Contains(broken["acme.never"].Error(), "url: is required") {
		t.Errorf("got %v", broken)
	}

	put(t, kv, "acme.crm", `{"unheard_of":1}`)
	await(t, r, "the broken document arrives", func() bool { return r.BrokenLen() == 2 })
	if got := names(r.Match("acme", "order.created")); got != "acme/crm" {
		t.Errorf("with a broken document order.created matches %q", got)
	}
	if log.count(`"last_good_in_force":true`) != 1 || log.count(`"last_good_in_force":false`) != 1 {
		t.Errorf("got the log %s", log.b.String())
	}

	d := testDocument()
	d.Events = []string{"invoice"}
	d.Secrets = secrets(testSecret)
	apply(t, s, d)
	await(t, r, "it is mended", func() bool { return r.BrokenLen() == 1 })
	if got := names(r.Match("acme", "invoice")); got != "acme/crm" {
		t.Errorf("mended: invoice matches %q", got)
	}
	if err := s.Remove(testContext(t), "acme/never"); err != nil {
		t.Fatal(err)
	}
	await(t, r, "the broken one is removed", func() bool { return r.BrokenLen() == 0 })
}

// A replica that starts has in force what those have that were there when a document
// broke.
func TestRegistryLoadsTheLastGoodDocument(t *testing.T) {
	js, kv := newJetStream(t)
	s := NewStore(kv)
	for _, id := range []string{"crm", "gone", "worn"} {
		d := testDocument()
		d.ID = id
		apply(t, s, d)
		d.Events = []string{"invoice"} // the one that counts
		apply(t, s, d)
	}
	put(t, kv, laneKey("bulk"), `{"id":"bulk","filters":["*.bulk.>"],"weight":1}`)
	if err := s.Remove(testContext(t), "acme/gone"); err != nil {
		t.Fatal(err)
	}
	junk := `{"stream":"WEBHOOKS_EVENTS","seq":1}` // what somebody can have NATS write
	for _, key := range []string{"acme.crm", "acme.crm", "acme.crm", "acme.gone", "acme.never", laneKey("bulk")} {
		put(t, kv, key, junk)
	}
	if _, err := js.Publish(testContext(t), "$KV."+testBucket+".no!key", []byte(junk)); err != nil {
		t.Fatal(err)
	}
	for range 5 { // more than the bucket remembers
		put(t, kv, "acme.worn", junk)
	}
	var log syncBuffer
	r := startRegistry(t, kv, &log)
	if got := names(r.Match("acme", "invoice")); got != "acme/crm" || r.Len() != 1 {
		t.Errorf("invoice matches %q, and %d endpoints are in force", got, r.Len())
	}
	if lanes := r.Lanes(); len(lanes) != 1 || lanes[0].ID != "bulk" {
		t.Errorf("the lanes are %v", lanes)
	}
	if r.BrokenLen() != 6 || log.count(`"last_good_in_force":true`) != 2 || log.count(`"last_good_in_force":false`) != 4 {
		t.Errorf("broken are %v, the log is %s", r.Broken(), log.b.String())
	}
	d := testDocument()
	d.Secrets = secrets(testSecret)
	apply(t, s, d)
	await(t, r, "it is mended", func() bool { return r.BrokenLen() == 5 })
	if got := names(r.Match("acme", "order.created")); got != "acme/crm" {
		t.Errorf("mended: order.created matches %q", got)
	}
}

func TestRegistrySurvivesServerRestart(t *testing.T) {
	ts := startServer(t)
	js := ts.connect()
	kv := createBucket(t, js)
	s := NewStore(kv)
	apply(t, s, testDocument())
	put(t, kv, "acme.broken", "{}")
	var log syncBuffer
	r := startRegistry(t, kv, &log)
	before := r.Get("acme", "crm")

	ts.restart()
	if got := names(r.Match("acme", "order.created")); got != "acme/crm" {
		t.Errorf("during the restart order.created matches %q", got)
	}
	d := testDocument()
	d.ID = "after"
	applied := applyWhenBack(t, s, d)
	await(t, r, "what was written after the restart arrives", func() bool { return r.Revision() == applied.Revision })
	if got := names(r.Match("acme", "order.created")); got != "acme/after acme/crm" {
		t.Errorf("after the restart order.created matches %q", got)
	}
	if r.Get("acme", "crm") != before {
		t.Error("an endpoint that did not change was replaced")
	}
	if n := log.count("is broken"); n != 1 {
		t.Errorf("the broken document was logged %d times", n)
	}
}

// From the moment at which a lost connection is back until the documents were
// read again, the registry says that it is not in sync: what was written
// meanwhile is in force once it says that it is.
func TestRegistryIsNotInSyncUntilItHasReadAgain(t *testing.T) {
	ts := startServer(t)
	slow := ts.connect(nats.ReconnectWait(500 * time.Millisecond))
	kv := createBucket(t, slow)
	r := NewRegistry(kv, zerolog.Nop(), Connection(slow.Conn()))
	if r.InSync() {
		t.Error("in sync before it was started")
	}
	if err := r.Start(testContext(t)); err != nil {
		t.Fatal(err)
	}
	defer r.Stop()
	if !r.InSync() {
		t.Error("not in sync after it was started")
	}
	other, err := ts.connect().KeyValue(testContext(t), testBucket)
	if err != nil {
		t.Fatal(err)
	}
	for i, tested := 0, false; !tested; i++ {
		ts.restart()
		d := numberedDocument(i)
		applyWhenBack(t, NewStore(other), d)
		tested = !slow.Conn().IsConnected() // else the document was there when it came back
		for ctx := testContext(t); !slow.Conn().IsConnected() || !r.InSync(); {
			if ctx.Err() != nil {
				t.Fatal("never in sync again")
			}
			runtime.Gosched()
		}
		if tested && r.Get(d.Tenant, d.ID) == nil {
			t.Error("in sync without a document that was written before the connection was back")
		}
	}
}

// applyWhenBack tries until the server answers again.
func applyWhenBack(t *testing.T, s *Store, d Document) Applied {
	t.Helper()
	ctx := testContext(t)
	for {
		attempt, cancel := context.WithTimeout(ctx, time.Second)
		applied, err := s.Apply(attempt, d)
		cancel()
		if err == nil {
			return applied
		}
		if ctx.Err() != nil {
			t.Fatal(err)
		}
	}
}

func TestRegistrySurvivesDeletedConsumer(t *testing.T) {
	js := startServer(t).connect()
	kv := createBucket(t, js)
	s := NewStore(kv)
	var log syncBuffer
	r := startRegistry(t, kv, &log)
	ctx := testContext(t)
	stream, err := js.Stream(ctx, "KV_"+testBucket)
	if err != nil {
		t.Fatal(err)
	}
	consumers := stream.ConsumerNames(ctx)
	deleted := 0
	for name := range consumers.Name() {
		if err := stream.DeleteConsumer(ctx, name); err != nil {
			t.Fatal(err)
		}
		deleted++
	}
	if deleted != 1 || consumers.Err() != nil {
		t.Fatalf("deleted %d consumers, %v", deleted, consumers.Err())
	}
	applied := apply(t, s, testDocument())
	await(t, r, "what was written without a consumer arrives", func() bool { return r.Revision() == applied.Revision && r.Len() == 1 })
	// Without the registry's own check the client would notice too, much later.
	if log.count("stands still") == 0 {
		t.Errorf("the registry did not notice that its watch stood still: %s", log.b.String())
	}
}

func TestRegistrySurvivesDeletedBucket(t *testing.T) {
	js := startServer(t).connect()
	kv := createBucket(t, js)
	s := NewStore(kv)
	apply(t, s, testDocument())
	other := testDocument()
	other.ID = "other"
	apply(t, s, other)
	var log syncBuffer
	r := startRegistry(t, kv, &log)

	if err := js.DeleteKeyValue(testContext(t), testBucket); err != nil {
		t.Fatal(err)
	}
	if got := names(r.Match("acme", "order.created")); got != "acme/crm acme/other" {
		t.Errorf("without a bucket order.created matches %q", got)
	}
	createBucket(t, js)
	d := testDocument()
	d.Events = []string{"invoice"}
	apply(t, s, d)
	await(t, r, "the new bucket's endpoint is the only one", func() bool { return names(r.Match("acme", "invoice")) == "acme/crm" && r.Len() == 1 })
	if r.Revision() != 1 {
		t.Errorf("revision is %d", r.Revision())
	}
}

func TestRegistryStart(t *testing.T) {
	js := startServer(t).connect()
	kv := createBucket(t, js)
	if err := js.DeleteKeyValue(testContext(t), testBucket); err != nil {
		t.Fatal(err)
	}
	var log syncBuffer
	r := NewRegistry(kv, zerolog.New(&log))
	r.Stop() // before Start
	if err := r.Start(t.Context()); err == nil || !strings.Contains(err.Error(), testBucket) {
		t.Errorf("without a bucket: got %v", err)
	}
	r.Stop()

	kv = createBucket(t, js)
	r = NewRegistry(kv, zerolog.New(&log))
	ctx, cancel := context.WithCancel(t.Context())
	if err := r.Start(ctx); err != nil {
		t.Fatal(err)
	}
	if err := r.Start(ctx); err == nil || !strings.Contains(err.Error(), "started before") {
		t.Errorf("a second start: got %v", err)
	}
	cancel()
	<-r.stopped // the end of the context is enough
	r.Stop()
	r.Stop()

	r = NewRegistry(kv, zerolog.New(&log))
	if err := r.Start(ctx); err == nil {
		t.Error("started with a context that had ended")
	}
}

// While one endpoint's patterns change back and forth, an event that both
// versions want always finds it, exactly once.
func TestRegistryChangesAreAtomic(t *testing.T) {
	r := NewRegistry(newBucket(t), zerolog.Nop())
	var versions []*Endpoint
	for _, events := range [][]string{{"order.*", "x"}, {"order.created", ">"}} {
		d := testDocument()
		d.Events = events
		e, err := Compile(d)
		if err != nil {
			t.Fatal(err)
		}
		versions = append(versions, e)
	}
	r.apply([]change{{key: "acme.crm", endpoint: versions[0]}})
	done := make(chan struct{})
	go func() {
		defer close(done)
		for i := range 2000 {
			r.apply([]change{{key: "acme.crm", endpoint: versions[i%2]}})
		}
	}()
	for running := true; running; {
		select {
		case <-done:
			running = false
		default:
		}
		if found := r.Match("acme", "order.created"); len(found) != 1 {
			t.Fatalf("found it %d times", len(found))
		}
	}
}
