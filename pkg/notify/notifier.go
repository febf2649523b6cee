package notify

import (
	"context"
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
	// Said hears of each word that is published, by its type.
	Said   func(eventType string)
	Logger zerolog.Logger
}

// Notifier finds out what is to be said, and publishes it. Of the replicas, the
// one that ranks first for an endpoint looks after it; dead letters are counted by
// whoever buries. It is safe for use by many goroutines.
type Notifier struct {
	Options
	store store
	// For what goes wrong again and again.
	untold, unlisted zerolog.Logger

	wake  chan struct{} // of capacity 1
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
	return &Notifier{Options: o, untold: seldom(o.Logger), unlisted: seldom(o.Logger), store: store{o.JetStream, o.Names.WordsBucket()}, wake: make(chan struct{}, 1), now: time.Now, retry: retryAfter,
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
	death := Death{EventID: d.Event.ID, EventType: d.Event.Type, Reason: reason, Attempts: d.State.Made(), At: now.UTC()}
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
