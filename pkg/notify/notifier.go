package notify

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	"github.com/nats-io/nats.go/jetstream"
	"github.com/rs/zerolog"

	"jethook/pkg/delivery"
	"jethook/pkg/endpoint"
	"jethook/streams"
)

// Endpoints finds endpoints.
type Endpoints interface {
	Get(tenant, id string) *endpoint.Endpoint
	// Disabled returns those that jethook disabled.
	Disabled() []*endpoint.Endpoint
	// Changed is closed by the next change.
	Changed() <-chan struct{}
	// InSync reports whether they are what the bucket says now.
	InSync() bool
}

// Gates are the gates of endpoints, by TENANT/ENDPOINT.
type Gates interface {
	// Outage returns what is known of an open gate, and whether it is open.
	Outage(name string) (Outage, bool)
	// Open returns the endpoints whose gate is open.
	Open() []string
}

// Options are what a notifier works with. All are required.
type Options struct {
	JetStream jetstream.JetStream
	Names     streams.Names
	Endpoints Endpoints
	Gates     Gates
	// Restore makes the bucket of records again where somebody deleted it.
	Restore func(context.Context) error
	// Rank says how many replicas come before this one in caring for an endpoint.
	Rank     func(name string) int
	Settings Settings
	Logger   zerolog.Logger
}

// Notifier finds out what is to be said, and publishes it. Of the replicas, the
// one that ranks first for an endpoint looks after it; dead letters are counted by
// whoever buries. It is safe for use by many goroutines.
type Notifier struct {
	Options
	store store
	odd   zerolog.Logger // for what goes wrong again and again
	wake  chan struct{}  // of capacity 1
	now   func() time.Time
	retry time.Duration

	mu     sync.Mutex
	due    map[string]time.Time // when to look at an endpoint
	well   map[string]time.Time // since when a gate is closed
	deaths map[string]Deaths    // that no record has yet
	paced  map[string]time.Time // when the next of them may be put into it
	// seen are endpoints that were looked at since this replica ranks first for
	// them, so that a sweep need not look again.
	seen map[string]bool
	// noticed are the disablings that were looked at.
	noticed map[string]time.Time
}

// New returns a notifier that says nothing before Run.
func New(o Options) *Notifier {
	o.Settings = o.Settings.withDefaults()
	return &Notifier{Options: o, odd: o.Logger.Sample(&zerolog.BurstSampler{Burst: 1, Period: time.Minute}), store: store{o.JetStream, o.Names.WordsBucket()}, wake: make(chan struct{}, 1), now: time.Now, retry: retryAfter,
		due: map[string]time.Time{}, well: map[string]time.Time{}, deaths: map[string]Deaths{}, paced: map[string]time.Time{}, seen: map[string]bool{}, noticed: map[string]time.Time{}}
}

// GateChanged hears that an endpoint's gate opened, closed or was probed.
func (n *Notifier) GateChanged(name string, open bool) {
	if n.Rank(name) != 0 {
		return
	}
	now := n.now()
	n.mu.Lock()
	defer n.mu.Unlock()
	if !open {
		if _, found := n.well[name]; !found {
			n.well[name] = now
		}
		n.lookAt(name, now)
		return
	}
	delete(n.well, name)
	if o, open := n.Gates.Outage(name); open {
		n.lookAt(name, o.Since.Add(n.Settings.After))
	}
}

// Buried hears of a dead letter that was stored. Of one that was one of jethook's
// own events nothing is said, or it would go on for ever; and nothing of those of
// an endpoint that was removed.
func (n *Notifier) Buried(d *delivery.Delivery, reason delivery.Reason) {
	if streams.IsOwn(d.Event.Type) || reason == delivery.EndpointDeleted {
		return
	}
	now := n.now()
	death := Death{EventID: d.Event.ID, EventType: d.Event.Type, Reason: reason, Attempts: max(len(d.State.History), d.State.Attempts), At: now.UTC()}
	if k := len(d.State.History); k > 0 {
		death.LastStatus = d.State.History[k-1].Status
	}
	n.mu.Lock()
	defer n.mu.Unlock()
	before := n.deaths[d.Name()]
	n.deaths[d.Name()] = before.and(one(death))
	if before.Count == 0 {
		n.lookAt(d.Name(), later(now, n.paced[d.Name()]))
	}
}

// lookAt makes an endpoint be looked at at a time, if it is not before that. The
// caller holds the mutex.
func (n *Notifier) lookAt(name string, at time.Time) {
	if before, found := n.due[name]; found && !at.Before(before) {
		return
	}
	n.due[name] = at
	select {
	case n.wake <- struct{}{}:
	default:
	}
}

// takeDue returns the endpoints that are to be looked at now.
func (n *Notifier) takeDue() (names []string) {
	now := n.now()
	n.mu.Lock()
	defer n.mu.Unlock()
	for name, at := range n.due {
		if !at.After(now) {
			names = append(names, name)
			delete(n.due, name)
		}
	}
	return names
}

// takeDeaths returns the dead letters of an endpoint that no record has yet.
func (n *Notifier) takeDeaths(name string) Deaths {
	n.mu.Lock()
	defer n.mu.Unlock()
	d := n.deaths[name]
	delete(n.deaths, name)
	return d
}

// returnDeaths puts back what could not be stored.
func (n *Notifier) returnDeaths(name string, d Deaths) {
	n.mu.Lock()
	defer n.mu.Unlock()
	if sum := d.and(n.deaths[name]); sum.Count > 0 {
		n.deaths[name] = sum
	}
}

// facts returns what is known of an endpoint now.
func (n *Notifier) facts(ep *endpoint.Endpoint) Facts {
	f := Facts{Now: n.now(), Name: ep.Name(), URL: ep.RedactedURL()}
	if d := ep.Disabled; d != nil {
		f.Disabled = &Disablement{At: d.At, Why: d.Plain()}
	}
	if o, open := n.Gates.Outage(ep.Name()); open {
		f.Outage = &o
		return f
	}
	n.mu.Lock()
	defer n.mu.Unlock()
	since, found := n.well[ep.Name()]
	if !found {
		since = f.Now
		n.well[ep.Name()] = since
	}
	f.WellSince = since
	return f
}

// bucket opens the bucket of records, which is made again if it is not there.
func (n *Notifier) bucket(ctx context.Context) (jetstream.KeyValue, error) {
	kv, err := n.store.kv(ctx)
	if !errors.Is(err, jetstream.ErrBucketNotFound) {
		return kv, err
	}
	if err := n.Restore(ctx); err != nil {
		return nil, fmt.Errorf("make bucket %s again: %w", n.store.bucket, err)
	}
	return n.store.kv(ctx)
}

// rounds bounds how often a record is written anew that another replica wrote
// meanwhile.
const rounds = 5

// review says what is to be said of an endpoint now.
func (n *Notifier) review(ctx context.Context, name string) (err error) {
	tenant, id, err := endpoint.ParseName(name)
	if err != nil {
		return nil //nolint:nilerr // not written by jethook
	}
	kv, err := n.bucket(ctx)
	if err != nil {
		return err
	}
	first := n.Rank(name) == 0
	ep := n.Endpoints.Get(tenant, id)
	if ep == nil {
		n.takeDeaths(name)
		n.settled(name, false, Record{}, time.Time{})
		if last, err := n.store.get(ctx, kv, name); !first || err != nil || last.revision == 0 {
			return err
		}
		return n.store.forget(ctx, kv, name)
	}
	deaths := n.takeDeaths(name)
	defer func() {
		if err != nil {
			n.returnDeaths(name, deaths)
		}
	}()
	for range rounds {
		last, err := n.store.get(ctx, kv, name)
		if err != nil {
			return err
		}
		f := n.facts(ep)
		f.Deaths = deaths
		step := last.StepDead
		if first {
			step = last.Step
		}
		next, words, look := step(n.Settings, f)
		switch err := n.say(ctx, kv, last, next, f, words); {
		case errors.Is(err, errOvertaken):
			continue
		case err != nil:
			return err
		}
		n.settled(name, first, next, look)
		return nil
	}
	return errOvertaken
}

// say publishes words, and then stores that they were said. If this replica dies
// between, another one says the same again, which NATS drops.
func (n *Notifier) say(ctx context.Context, kv jetstream.KeyValue, last stored, next Record, f Facts, words []Word) error {
	for _, w := range words {
		if err := Publish(ctx, n.JetStream, n.Names, w); err != nil {
			return err
		}
	}
	if len(words) == 0 && f.Deaths.Count == 0 && next.same(last.Record) {
		return nil
	}
	if err := n.store.put(ctx, kv, f.Name, next, last.revision); err != nil {
		return err
	}
	for _, w := range words {
		n.Logger.Info().Str("endpoint", w.Endpoint).Str("type", w.Type).Msg("the endpoint's owner was told")
	}
	return nil
}

// same reports whether two records differ in nothing that must be remembered.
func (r Record) same(other Record) bool {
	if (r.Down == nil) != (other.Down == nil) || (r.Digest == nil) != (other.Digest == nil) {
		return false
	}
	return (r.Digest == nil || *r.Digest == *other.Digest) && r.Disabled.Equal(other.Disabled)
}

// settled notes that an endpoint was looked at, and when to look again.
func (n *Notifier) settled(name string, first bool, r Record, look time.Time) {
	n.mu.Lock()
	defer n.mu.Unlock()
	delete(n.seen, name)
	if first {
		n.seen[name] = true
	}
	delete(n.paced, name)
	if now := n.now(); r.Dead.Until.After(now) {
		n.paced[name] = earliest(r.Dead.Until, now.Add(countEvery))
	}
	if !first || r.Down == nil {
		delete(n.well, name) // nothing waits for it to be well
	}
	if !look.IsZero() {
		n.lookAt(name, look.Add(time.Duration(n.Rank(name))*behind))
	}
}

// countEvery is how often at most dead letters that wait to be told of are put into
// the record: where they come by the thousand, each would be a write.
const countEvery = 10 * time.Second

func later(a, b time.Time) time.Time {
	if a.After(b) {
		return a
	}
	return b
}

// behind is by how much a replica leaves precedence to each that ranks before it.
const behind = time.Second
