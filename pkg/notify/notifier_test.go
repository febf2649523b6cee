package notify

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/nats-io/nats-server/v2/server"
	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
	"github.com/rs/zerolog"

	"jethook/pkg/delivery"
	"jethook/pkg/endpoint"
	"jethook/pkg/event"
	"jethook/streams"
)

const testTimeout = 2 * time.Minute

// gates are open gates by endpoint.
type gates struct {
	mu   sync.Mutex
	open map[string]Outage
}

func (g *gates) Outage(name string) (Outage, bool) {
	g.mu.Lock()
	defer g.mu.Unlock()
	o, open := g.open[name]
	return o, open
}

func (g *gates) Open() []string {
	g.mu.Lock()
	defer g.mu.Unlock()
	return slices.Collect(maps.Keys(g.open))
}

// world is a NATS server with the topology, and replicas that tell of endpoints.
type world struct {
	testing.TB
	ctx       context.Context
	js        jetstream.JetStream
	names     streams.Names
	topology  streams.Topology
	endpoints *directory
	gates     *gates
	replicas  []*replica
	first     atomic.Int32 // the replica that ranks first
	events    jetstream.Stream
	heard     uint64 // the sequence of the last event that next returned
}

// replica is one that tells.
type replica struct {
	*Notifier
	stop func()
	log  *lines
	said atomic.Int32
}

func newWorld(t testing.TB) *world {
	t.Helper()
	s, err := server.NewServer(&server.Options{Host: "127.0.0.1", Port: -1, JetStream: true, StoreDir: t.TempDir(), NoSigs: true, NoLog: true})
	if err != nil {
		t.Fatal(err)
	}
	s.Start()
	t.Cleanup(func() { s.Shutdown(); s.WaitForShutdown() })
	if !s.ReadyForConnections(time.Minute) {
		t.Fatal("the server is not ready")
	}
	ctx, cancel := context.WithTimeout(t.Context(), testTimeout)
	t.Cleanup(cancel)
	w := &world{TB: t, ctx: ctx, endpoints: &directory{}, gates: &gates{open: map[string]Outage{}}}
	closed := make(chan struct{})
	nc, err := nats.Connect(s.ClientURL(), nats.Timeout(testTimeout), nats.ClosedHandler(func(*nats.Conn) { close(closed) }))
	w.must(err)
	t.Cleanup(func() { nc.Close(); <-closed })
	w.js, err = jetstream.New(nc)
	w.must(err)
	w.names, err = streams.NewNames("")
	w.must(err)
	w.topology, err = streams.NewTopology(streams.Options{Names: w.names})
	w.must(err)
	_, err = w.topology.Ensure(ctx, w.js)
	w.must(err)
	w.events, err = w.js.Stream(ctx, w.names.Events())
	w.must(err)
	return w
}

func (w *world) must(err error) {
	w.Helper()
	if err != nil {
		w.Fatal(err)
	}
}

func (w *world) wrote(_ uint64, err error) {
	w.Helper()
	w.must(err)
}

// run runs a replica that tells, changed before. The first one ranks first.
func (w *world) run(s Settings, change ...func(*Notifier)) *replica {
	w.Helper()
	me := int32(len(w.replicas))
	r := &replica{log: &lines{}}
	r.Notifier = New(Options{JetStream: w.js, Names: w.names, Endpoints: w.endpoints, Gates: w.gates, Settings: s, Logger: zerolog.New(r.log), Said: func(string) { r.said.Add(1) },
		Restore: func(ctx context.Context) error {
			_, err := w.topology.Bucket(w.names.WordsBucket()).Ensure(ctx, w.js)
			return err
		},
		Rank: func(string) int {
			if w.first.Load() == me {
				return 0
			}
			return 1
		}})
	for _, f := range change {
		f(r.Notifier)
	}
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan struct{})
	go func() { defer close(done); r.Run(ctx) }()
	r.stop = func() { cancel(); <-done }
	w.Cleanup(r.stop)
	w.replicas = append(w.replicas, r)
	return r
}

// gate opens or closes an endpoint's gate, of which all replicas hear.
func (w *world) gate(name string, open bool) {
	w.gates.mu.Lock()
	if open {
		w.gates.open[name] = Outage{Since: time.Now(), Why: "5 failures in a row", LastStatus: 503, LastError: "5xx"}
	} else {
		delete(w.gates.open, name)
	}
	w.gates.mu.Unlock()
	for _, r := range w.replicas {
		r.GateChanged(name, open)
	}
}

// next returns the next word that is published.
func (w *world) next() (word Word, m *jetstream.RawStreamMsg) {
	w.Helper()
	w.until("something is published", func() (found bool) {
		var err error
		if m, err = w.events.GetMsg(w.ctx, w.heard+1); errors.Is(err, jetstream.ErrMsgNotFound) {
			return false
		}
		w.must(err)
		return true
	})
	w.heard++
	w.must(json.Unmarshal(m.Data, &word))
	return word, m
}

// tells fails unless the next word is of a type, about acme/crm.
func (w *world) tells(eventType string) Word {
	w.Helper()
	word, m := w.next()
	if word.Type != eventType || word.Endpoint != "acme/crm" {
		w.Fatalf("it tells %s of %s, want %s of acme/crm", word.Type, word.Endpoint, eventType)
	}
	if m.Subject != "webhooks.events.acme."+eventType || m.Header.Get(About) != "crm" || m.Header.Get("Content-Type") != "application/json" ||
		event.CheckID(m.Header.Get(jetstream.MsgIDHeader)) != nil || word.URL != "https://example.com/crm" {
		w.Errorf("it is published to %s with %v about %s", m.Subject, m.Header, word.URL)
	}
	return word
}

// quiet fails if anything more was published.
func (w *world) quiet() {
	w.Helper()
	info, err := w.events.Info(w.ctx)
	w.must(err)
	if w.heard < info.State.LastSeq {
		word, _ := w.next()
		w.Errorf("it also tells %s of %s", word.Type, word.Endpoint)
	}
}

// record returns what is stored about an endpoint.
func (w *world) record(name string) stored {
	w.Helper()
	s := store{w.js, w.names.WordsBucket()}
	kv, err := s.kv(w.ctx)
	w.must(err)
	r, err := s.get(w.ctx, kv, name)
	w.must(err)
	return r
}

func (w *world) until(what string, fact func() bool) {
	w.Helper()
	ticker := time.NewTicker(5 * time.Millisecond)
	defer ticker.Stop()
	for !fact() {
		select {
		case <-w.ctx.Done():
			w.Fatalf("it never came to this: %s", what)
		case <-ticker.C:
		}
	}
}

func dead(name, id string) *delivery.Delivery {
	tenant, ep, _ := strings.Cut(name, "/")
	d := delivery.New(event.Event{ID: id, Tenant: tenant, Type: "order.created", Time: time.Now(), Body: []byte("CANARY")}, ep)
	d.State.Attempts, d.State.History = 2, []delivery.Attempt{{Status: 500, Error: "CANARY"}, {Status: 503, Error: "CANARY"}}
	return &d
}

var quick = Settings{After: 100 * time.Millisecond, Every: time.Minute}

func TestWhateverReplicaLooksAWordIsSaidOnce(t *testing.T) {
	w := newWorld(t)
	w.endpoints.put(t, "acme", "crm")
	for range 3 {
		w.run(quick)
	}
	w.gate("acme/crm", true)
	word := w.tells(streams.EndpointFailing)
	if word.LastStatus != 503 || word.LastError != "5xx" || word.Why == "" || word.Since.IsZero() {
		t.Errorf("it says %+v", word)
	}
	w.first.Store(1) // the first is gone, and another one looks after its endpoints
	w.gate("acme/crm", false)
	if word := w.tells(streams.EndpointRecovered); word.Until.Before(word.Since) || word.Since.IsZero() {
		t.Errorf("it says %+v", word)
	}
	w.quiet()
}

func TestAReplicaThatComesLaterGoesOnWhereAnotherOneWas(t *testing.T) {
	w := newWorld(t)
	w.endpoints.put(t, "acme", "crm")
	first := w.run(quick)
	w.gate("acme/crm", true)
	w.tells(streams.EndpointFailing)
	w.until("that is remembered", func() bool { return w.record("acme/crm").Down != nil })
	first.stop()
	w.gates.mu.Lock()
	clear(w.gates.open) // nobody hears of it
	w.gates.mu.Unlock()
	w.first.Store(1)
	w.run(quick)
	w.tells(streams.EndpointRecovered)
	w.quiet()
}

// Two that both think that they rank first do not say more than one does.
func TestTwoThatLookAtATimeSayItOnce(t *testing.T) {
	w := newWorld(t)
	const endpoints = 20
	ranksFirst := func(n *Notifier) { n.Rank = func(string) int { return 0 } }
	w.run(quick, ranksFirst)
	w.run(quick, ranksFirst)
	for i := range endpoints {
		w.endpoints.put(t, "acme", fmt.Sprintf("e%d", i))
	}
	for i := range endpoints {
		w.gate(fmt.Sprintf("acme/e%d", i), true)
	}
	said := map[string]int{}
	for range endpoints {
		word, _ := w.next()
		said[word.Endpoint]++
	}
	for i := range endpoints {
		w.until("all is remembered", func() bool { return w.record(fmt.Sprintf("acme/e%d", i)).Down != nil })
	}
	w.quiet()
	w.until("each is counted once", func() bool { return w.replicas[0].said.Load()+w.replicas[1].said.Load() == endpoints })
	if len(said) != endpoints {
		t.Errorf("it is said of %v", said)
	}
}

// Of two that write at a time one has to look again, or what the other one counted
// would be lost.
func TestARecordIsNotWrittenOver(t *testing.T) {
	w := newWorld(t)
	s := store{w.js, w.names.WordsBucket()}
	kv, err := s.kv(w.ctx)
	w.must(err)
	const name = "acme/crm"
	w.wrote(s.put(w.ctx, kv, name, Record{Disabled: moment}, 0))
	first := w.record(name)
	if _, err := s.put(w.ctx, kv, name, Record{}, 0); !errors.Is(err, errOvertaken) {
		t.Errorf("a record is made where there is one: %v", err)
	}
	w.wrote(s.put(w.ctx, kv, name, Record{Down: &Outage{Since: moment}}, first.revision))
	if _, err := s.put(w.ctx, kv, name, Record{}, first.revision); !errors.Is(err, errOvertaken) {
		t.Errorf("a record is written over: %v", err)
	}
	if r := w.record(name); r.Down == nil || !r.Disabled.IsZero() {
		t.Errorf("it is %+v", r)
	}
	w.must(s.forget(w.ctx, kv, name))
	if r := w.record(name); r.revision != 0 {
		t.Errorf("it is %+v", r)
	}
	w.wrote(s.put(w.ctx, kv, name, Record{}, 0)) // made anew
	if _, err := kv.PutString(w.ctx, key(name), `{"dead": {"count": 7}}`); err != nil {
		t.Fatal(err)
	}
	if r := w.record(name); r.Dead.Count != 0 || r.revision == 0 {
		t.Errorf("what makes no sense is read as %+v", r)
	}
	names, err := s.names(w.ctx)
	if w.must(err); !slices.Equal(names, []string{name}) {
		t.Errorf("there are records of %q", names)
	}
}

func TestAnEndpointThatJethookDisabledIsToldOf(t *testing.T) {
	w := newWorld(t)
	w.endpoints.put(t, "acme", "crm")
	w.run(quick)
	w.run(quick)
	disabled := func(d *endpoint.Document) {
		d.Disabled = &endpoint.Disabled{Reason: "event e1 could not be delivered (rejected after 1 attempts" + endpoint.Quote + "CANARY) and so on", At: time.Now()}
	}
	w.endpoints.put(t, "acme", "crm", disabled)
	word := w.tells(streams.EndpointDisabled)
	if word.Why != "event e1 could not be delivered (rejected after 1 attempts) and holds those behind it" {
		t.Errorf("it says %q", word.Why)
	}
	w.endpoints.put(t, "acme", "crm")
	w.endpoints.put(t, "acme", "crm", disabled)
	w.tells(streams.EndpointDisabled)
	w.quiet()
}

func TestDeadLettersOfAllReplicasAreCounted(t *testing.T) {
	w := newWorld(t)
	w.endpoints.put(t, "acme", "crm")
	a, b := w.run(Settings{After: time.Second, Every: time.Second}), w.run(Settings{After: time.Second, Every: time.Second})
	b.Buried(dead("acme/crm", "first"), delivery.Rejected) // by one that does not rank first
	word := w.tells(streams.DeliveryDead)
	if word.EventID != "first" || word.Count != 1 || word.Reason != delivery.Rejected || word.Attempts != 2 || word.LastStatus != 503 {
		t.Errorf("it says %+v", word)
	}
	const each = 500
	began := time.Now()
	var burying sync.WaitGroup
	for i, r := range []*replica{a, b} {
		burying.Go(func() {
			for j := range each {
				r.Buried(dead("acme/crm", fmt.Sprintf("e%d-%d", i, j)), delivery.Expired)
				time.Sleep(time.Millisecond) // in which it could tell of it
			}
		})
	}
	burying.Wait()
	count, words := 0, 0
	for ; count < 2*each; words++ {
		word := w.tells(streams.DeliveryDead)
		if word.Reasons[delivery.Expired] != word.Count || len(word.Events) > MaxDeaths {
			t.Errorf("it says %+v", word)
		}
		count += word.Count
	}
	most := 3 + int(time.Since(began)/time.Second) // one for each second
	if count != 2*each || words > most {
		t.Errorf("%d words tell of %d dead letters, want %d, and %d words at the most", words, count, 2*each, most)
	}
	w.quiet()
}

// A flood of dead letters is not one of writes.
func TestWhatWaitsToBeToldOfIsCountedNowAndThen(t *testing.T) {
	for range 3 {
		if floodIsCounted(t) {
			return
		}
	}
	t.Error("no stop had the time to store what was to be counted")
}

// floodIsCounted reports false where the stop was cut off, as on a machine that stands
// still: then it is open whether the last were counted.
func floodIsCounted(t *testing.T) bool {
	t.Helper()
	w := newWorld(t)
	w.endpoints.put(t, "acme", "crm")
	began := time.Now()
	r := w.run(quick)
	r.Buried(dead("acme/crm", "first"), delivery.Rejected)
	w.tells(streams.DeliveryDead)
	w.until("that is remembered", func() bool { return w.record("acme/crm").revision > 0 })
	w.until("that is noted", func() bool { r.mu.Lock(); defer r.mu.Unlock(); return len(r.paced) == 1 })
	before := w.record("acme/crm").revision
	for range 200 {
		r.Buried(dead("acme/crm", "more"), delivery.Rejected)
		w.endpoints.put(t, "acme", "other") // wakes it
		time.Sleep(time.Millisecond)        // in which it could write
	}
	stopping := time.Now()
	r.stop() // which looks once more
	if time.Since(stopping) >= lastWords {
		return false
	}
	most := before + 1 + 2*uint64(time.Since(began)/countEvery) // it counts, and looks at all, every ten seconds
	if got := w.record("acme/crm"); got.revision > most || got.Dead.Count != 200 {
		t.Errorf("%d are counted, in %d writes", got.Dead.Count, got.revision-before)
	}
	return true
}

func TestWhatIsStillToBeCountedAtAStopIsLeftToOthers(t *testing.T) {
	w := newWorld(t)
	w.endpoints.put(t, "acme", "crm")
	s := Settings{After: time.Second, Every: 2 * time.Second}
	a := w.run(s)
	a.Buried(dead("acme/crm", "first"), delivery.Rejected)
	w.tells(streams.DeliveryDead)
	a.stop()
	a.Buried(dead("acme/crm", "last"), delivery.Rejected)
	a.leave(w.ctx)
	w.first.Store(1)
	w.run(s)
	if word := w.tells(streams.DeliveryDead); word.EventID != "last" || word.Count != 1 {
		t.Errorf("it says %+v", word)
	}
}

// What would go on for ever, and what somebody decided by hand, is not told of.
func TestSomeDeadLettersAreNotToldOf(t *testing.T) {
	w := newWorld(t)
	w.endpoints.put(t, "acme", "crm")
	r := w.run(quick)
	own := dead("acme/crm", "own")
	own.Event.Type = streams.EndpointFailing
	r.Buried(own, delivery.AttemptsExhausted)
	r.Buried(dead("acme/crm", "removed"), delivery.EndpointDeleted)
	r.Buried(dead("acme/gone", "gone"), delivery.Rejected)
	r.Buried(dead("acme/crm", "told"), delivery.Rejected)
	if word := w.tells(streams.DeliveryDead); word.EventID != "told" || word.Count != 1 {
		t.Errorf("it says %+v", word)
	}
	w.quiet()
}

func TestOfAnEndpointThatIsGoneNothingIsRemembered(t *testing.T) {
	w := newWorld(t)
	w.endpoints.put(t, "acme", "crm")
	w.run(quick)
	w.gate("acme/crm", true)
	w.tells(streams.EndpointFailing)
	w.until("that is remembered", func() bool { return w.record("acme/crm").revision > 0 })
	w.endpoints.remove("acme/crm")
	w.gate("acme/crm", false)
	w.until("that is forgotten", func() bool { return w.record("acme/crm").revision == 0 })
	w.quiet()
}

func TestTheBucketOfRecordsIsMadeAgain(t *testing.T) {
	w := newWorld(t)
	w.endpoints.put(t, "acme", "crm")
	w.run(quick)
	w.must(w.js.DeleteStream(w.ctx, "KV_"+w.names.WordsBucket()))
	w.gate("acme/crm", true)
	w.tells(streams.EndpointFailing)
	w.until("that is remembered", func() bool {
		kv, err := w.js.KeyValue(w.ctx, w.names.WordsBucket())
		return err == nil && kv.Bucket() != "" && w.record("acme/crm").Down != nil
	})
}

// While NATS takes no events, what is to be said waits.
func TestWhatCannotBeSaidIsSaidLater(t *testing.T) {
	w := newWorld(t)
	w.endpoints.put(t, "acme", "crm")
	stream, err := w.js.Stream(w.ctx, w.names.Events())
	w.must(err)
	full := stream.CachedInfo().Config
	full.MaxMsgs = 1
	_, err = w.js.Publish(w.ctx, "webhooks.events.acme.filler", []byte(`{}`))
	w.must(err)
	_, err = w.js.UpdateStream(w.ctx, full)
	w.must(err)
	r := w.run(quick, func(n *Notifier) { n.retry = 100 * time.Millisecond })
	w.gate("acme/crm", true)
	w.until("it is in the log", func() bool { return strings.Contains(r.log.String(), "cannot be told") })
	w.gate("acme/crm", false) // before it could be said
	full.MaxMsgs = -1
	_, err = w.js.UpdateStream(w.ctx, full)
	w.must(err)
	if word, _ := w.next(); word.Type != "" {
		t.Fatalf("the filler comes first, not %+v", word)
	}
	w.tells(streams.EndpointFailing)
	w.tells(streams.EndpointRecovered)
	if n := strings.Count(r.log.String(), "cannot be told"); n != 1 {
		t.Errorf("it is in the log %d times", n)
	}
	w.until("all is said", func() bool { return w.record("acme/crm").Saying == nil && r.said.Load() == 2 })
	w.quiet()
}

// before is a JetStream that lets something happen before a word is published.
type before struct {
	jetstream.JetStream
	happen func()
}

func (b *before) PublishMsg(ctx context.Context, m *nats.Msg, opts ...jetstream.PublishOpt) (*jetstream.PubAck, error) {
	b.happen()
	return b.JetStream.PublishMsg(ctx, m, opts...)
}

// Of two that tell at the same time, each dead letter is told of once.
func TestDeadLettersThatComeWhileOthersAreToldOf(t *testing.T) {
	w := newWorld(t)
	w.endpoints.put(t, "acme", "crm")
	s := Settings{After: time.Second, Every: time.Second}
	b := &replica{}
	var once sync.Once
	meanwhile := &before{w.js, func() {
		once.Do(func() {
			revision := w.record("acme/crm").revision
			b.Buried(dead("acme/crm", "second"), delivery.Rejected)
			w.until("the other one counted", func() bool { return w.record("acme/crm").revision > revision })
		})
	}}
	a := w.run(s, func(n *Notifier) { n.JetStream = meanwhile })
	b = w.run(s)
	a.Buried(dead("acme/crm", "first"), delivery.Rejected)
	if word := w.tells(streams.DeliveryDead); word.EventID != "first" || word.Count != 1 {
		t.Errorf("it says %+v", word)
	}
	if word := w.tells(streams.DeliveryDead); word.EventID != "second" || word.Count != 1 {
		t.Errorf("it says %+v", word)
	}
	w.until("both are said", func() bool { return w.record("acme/crm").Saying == nil && a.said.Load()+b.said.Load() == 2 })
	w.quiet()
}

// What one that was killed was about to say, the next one says, as the same event.
func TestWhatIsNotSaidAtAKillIsSaid(t *testing.T) {
	w := newWorld(t)
	w.endpoints.put(t, "acme", "crm")
	killed := Word{Type: streams.EndpointFailing, Endpoint: "acme/crm", URL: "https://example.com/crm", At: time.Now().UTC(), identity: "this"}
	kv, err := w.js.KeyValue(w.ctx, w.names.WordsBucket())
	w.must(err)
	w.wrote((store{w.js, w.names.WordsBucket()}).put(w.ctx, kv, "acme/crm", Record{Saying: saying([]Word{killed})}, 0))
	r := w.run(quick)
	word, m := w.next()
	if word.Type != killed.Type || !word.At.Equal(killed.At) || m.Header.Get(jetstream.MsgIDHeader) != killed.ID() {
		t.Errorf("it says %+v as %v", word, m.Header)
	}
	w.until("that is remembered", func() bool { return w.record("acme/crm").Saying == nil && r.said.Load() == 1 })
	w.quiet()
}
