package endpoint

import (
	"context"
	"errors"
	"maps"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
	"github.com/rs/zerolog"

	"jethook/pkg/secret"
)

// DefaultCheckEvery is how often a registry compares itself with its bucket.
const DefaultCheckEvery = 2 * time.Second

// Registry holds the endpoints and lanes of a bucket in memory and follows its
// changes. What was in force stays in force until the bucket says otherwise: a
// document that turns out broken, a lost connection or a deleted bucket change
// nothing.
type Registry struct {
	kv         jetstream.KeyValue
	log        zerolog.Logger
	checkEvery time.Duration
	reconnects func() uint64 // how often the connection was lost and made again
	opens      opener

	// synced is one more than reconnects was when the watch began whose load
	// completed last. 0 is before the first.
	synced atomic.Uint64

	mu        sync.RWMutex
	byName    map[string]*Endpoint // TENANT/ID
	ordered   map[string]*Endpoint // those of byName that are
	disabled  map[string]*Endpoint // likewise
	laneByKey map[string]*laneInForce
	broken    map[string]brokenDocument
	index     index
	revision  uint64
	changed   chan struct{} // closed and made anew after each change

	bucketMade atomic.Pointer[time.Time] // of the bucket that is followed

	lanes atomic.Pointer[[]*laneInForce] // those of laneByKey by id; nil: there are none

	stop    context.CancelFunc
	stopped chan struct{}
}

type brokenDocument struct {
	err      error
	revision uint64
	created  int64
}

// RegistryOption changes how a registry works.
type RegistryOption func(*Registry)

// CheckEvery sets how often the registry compares itself with its bucket, to
// notice a watch that died silently. DefaultCheckEvery by default.
func CheckEvery(interval time.Duration) RegistryOption {
	return func(r *Registry) { r.checkEvery = interval }
}

// Connection names the connection that the bucket is read through. A watch that
// began before it was lost is started again at once when it is back, and until
// it has loaded the registry is not in sync.
func Connection(nc *nats.Conn) RegistryOption {
	return func(r *Registry) { r.reconnects = func() uint64 { return nc.Stats().Reconnects } }
}

// Opening gives the registry the master keys. An endpoint whose secrets are sealed
// with another one is not available: its events wait.
func Opening(ring *secret.Ring) RegistryOption { return func(r *Registry) { r.opens.ring = ring } }

// NewRegistry returns a registry of the bucket's documents, empty until Start.
func NewRegistry(kv jetstream.KeyValue, log zerolog.Logger, options ...RegistryOption) *Registry {
	r := &Registry{
		kv: kv, log: log.With().Str("bucket", kv.Bucket()).Logger(), checkEvery: DefaultCheckEvery,
		byName: make(map[string]*Endpoint), ordered: make(map[string]*Endpoint), disabled: make(map[string]*Endpoint), laneByKey: make(map[string]*laneInForce), broken: make(map[string]brokenDocument),
		index: make(index), changed: make(chan struct{}),
		reconnects: func() uint64 { return 0 },
	}
	for _, option := range options {
		option(r)
	}
	r.opens.log = r.log
	r.bucketMade.Store(&time.Time{})
	return r
}

// Start loads the bucket and returns when all of its documents are in force.
// It then follows the bucket until ctx ends or Stop is called. It fails when
// the bucket cannot be read; a later failure is survived.
func (r *Registry) Start(ctx context.Context) error {
	ctx, cancel := context.WithCancel(ctx)
	r.mu.Lock()
	if r.stop != nil {
		r.mu.Unlock()
		cancel()
		return errors.New("the endpoint registry was started before: make a new one")
	}
	r.stop, r.stopped = cancel, make(chan struct{})
	r.mu.Unlock()

	loaded := make(chan error, 1)
	go r.run(ctx, loaded)
	err := <-loaded
	if err != nil {
		r.Stop()
	}
	return err
}

// Stop ends the watch and returns when it has ended. The endpoints stay in
// force. It may be called at any time and more than once.
func (r *Registry) Stop() {
	r.mu.RLock()
	stop, stopped := r.stop, r.stopped
	r.mu.RUnlock()
	if stop != nil {
		stop()
		<-stopped
	}
}

// InSync reports whether the registry follows its bucket. It does not from the
// moment at which a lost connection is back until all documents were read
// again: what they are then is unknown, and nothing should be decided by them.
func (r *Registry) InSync() bool { return r.synced.Load() == r.reconnects()+1 }

// Match returns the endpoints that want events of the type, each once, sorted
// by name. Endpoints that are paused or disabled are among them.
func (r *Registry) Match(tenant, eventType string) []*Endpoint {
	r.mu.RLock()
	defer r.mu.RUnlock()
	return r.index.match(tenant, eventType)
}

// Get returns an endpoint by name, nil if there is none.
func (r *Registry) Get(tenant, id string) *Endpoint {
	r.mu.RLock()
	defer r.mu.RUnlock()
	return r.byName[tenant+"/"+id]
}

// Ordered returns the endpoints that get their events in order, in any order.
func (r *Registry) Ordered() []*Endpoint {
	r.mu.RLock()
	defer r.mu.RUnlock()
	return slices.Collect(maps.Values(r.ordered))
}

// Disabled returns the endpoints that are disabled, in any order.
func (r *Registry) Disabled() []*Endpoint {
	r.mu.RLock()
	defer r.mu.RUnlock()
	return slices.Collect(maps.Values(r.disabled))
}

// Len says how many endpoints are in force.
func (r *Registry) Len() int {
	r.mu.RLock()
	defer r.mu.RUnlock()
	return len(r.byName)
}

// Changed returns a channel that is closed at the next change of the bucket, once
// that is in force. Whoever waits for a change asks for the channel first and
// looks at the registry then.
func (r *Registry) Changed() <-chan struct{} {
	r.mu.RLock()
	defer r.mu.RUnlock()
	return r.changed
}

// Revision returns the last revision of the bucket that was taken in.
func (r *Registry) Revision() uint64 {
	r.mu.RLock()
	defer r.mu.RUnlock()
	return r.revision
}

// BucketMade returns when the bucket was made that the endpoints come from, by the clock
// of the server that did.
func (r *Registry) BucketMade() time.Time { return *r.bucketMade.Load() }

// Broken returns what is wrong with documents in the bucket that cannot be put
// in force, by key. If there was a good one before, that one still is.
func (r *Registry) Broken() map[string]error {
	r.mu.RLock()
	defer r.mu.RUnlock()
	errs := make(map[string]error, len(r.broken))
	for key, document := range r.broken {
		errs[key] = document.err
	}
	return errs
}

// BrokenLen says how many documents are broken, for a gauge.
func (r *Registry) BrokenLen() int {
	r.mu.RLock()
	defer r.mu.RUnlock()
	return len(r.broken)
}

// change is one entry of the bucket, decoded. Without an endpoint or a lane, and
// without an error, the key was removed.
type change struct {
	key       string
	endpoint  *Endpoint
	lane      *laneInForce
	err       error
	revision  uint64
	created   int64
	unchanged bool
}

// apply puts changes in force, in order and all at once: an event is matched
// against the documents before or after them, never against something between.
func (r *Registry) apply(changes []change) {
	r.mu.Lock()
	defer r.mu.Unlock()
	var locked []string
	for _, c := range changes {
		r.revision = max(r.revision, c.revision)
		if c.endpoint != nil && c.endpoint.locked.Load() {
			locked = append(locked, c.endpoint.name)
		}
		switch {
		case c.unchanged:
		case c.err != nil:
			r.applyBroken(c)
		case isLaneKey(c.key):
			delete(r.broken, c.key)
			r.replaceLane(c.key, c.lane)
		default:
			delete(r.broken, c.key)
			r.replace(nameOf(c.key), c.endpoint)
		}
	}
	if len(locked) > 0 { // in one line, because without keys it is all of them
		r.log.Warn().Int("endpoints", len(locked)).Str("endpoint", locked[0]).
			Msg("their secrets are sealed with a master key that is not in JETHOOK_MASTER_KEYS: this replica makes no attempts at them and holds their events")
	}
	r.announce()
}

func (r *Registry) applyBroken(c change) {
	good := r.byName[nameOf(c.key)] != nil || r.laneByKey[c.key] != nil
	broken := &BrokenError{Key: c.key, Err: c.err}
	r.log.Warn().Err(broken).Str("key", c.key).Uint64("revision", c.revision).Bool("last_good_in_force", good).
		Msg("the last good document stays in force, if there is one")
	r.broken[c.key] = brokenDocument{err: c.err, revision: c.revision, created: c.created}
}

// replace puts e, or nothing if e is nil, in the place of an endpoint.
func (r *Registry) replace(name string, e *Endpoint) {
	if old := r.byName[name]; old != nil {
		r.index.remove(old)
		delete(r.byName, name)
		delete(r.ordered, name)
		delete(r.disabled, name)
	}
	if e == nil {
		return
	}
	if err := r.index.insert(e); err != nil {
		// Patterns are validated before, by stricter rules than the index has.
		r.log.Error().Err(err).Str("endpoint", name).Msg("endpoint cannot be matched")
		return
	}
	r.byName[e.name] = e // a name of its own would be a second one in memory
	if e.Ordered {
		r.ordered[e.name] = e
	}
	if e.Disabled != nil {
		r.disabled[e.name] = e
	}
}

// retain removes what is not in the bucket any more: the keys that a complete
// load did not meet. Afterwards the registry is at the given revision, even if
// that is a lower one, of a bucket made anew.
func (r *Registry) retain(met map[string]bool, revision uint64) {
	r.mu.Lock()
	defer r.mu.Unlock()
	for name, e := range r.byName {
		if !met[documentKey(e.Tenant, e.ID)] {
			r.replace(name, nil)
		}
	}
	for _, l := range r.allLanes() {
		if key := laneKey(l.ID); !met[key] {
			r.replaceLane(key, nil)
		}
	}
	maps.DeleteFunc(r.broken, func(key string, _ brokenDocument) bool { return !met[key] })
	r.revision = revision
	r.announce()
}

// announce wakes who waits for a change.
func (r *Registry) announce() {
	close(r.changed)
	r.changed = make(chan struct{})
}
