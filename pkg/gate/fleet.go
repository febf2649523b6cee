package gate

import (
	"context"
	"fmt"
	"sync"
	"sync/atomic"
	"time"

	"github.com/nats-io/nats.go/jetstream"
	"github.com/rs/zerolog"
)

// Opened is what the bucket says of an open gate.
type Opened struct {
	// Why says in words why the gate opened.
	Why string `json:"why"`
	// Since is when it opened.
	Since time.Time `json:"since"`
	// FailingSince is since when the endpoint has had no success.
	FailingSince time.Time `json:"failing_since"`
	// Probes counts the probes that failed.
	Probes int `json:"probes"`
	// NextProbe is when the next one may be made, by the clock of the replica
	// that asks: what another one wrote was turned into that.
	NextProbe time.Time `json:"next_probe"`
	// Document is the revision of the endpoint's document by which the last attempt
	// was made; 0 is unknown.
	Document uint64 `json:"document,omitempty"`
	// LastError and LastStatus are those of the last attempt.
	LastError  string `json:"last_error,omitempty"`
	LastStatus int    `json:"last_status,omitempty"`
	// LastClass is what came of that attempt in one word, without anything that a
	// receiver said: why no answer came, or the class of its status, such as 5xx.
	LastClass string `json:"last_class,omitempty"`
	// Prober is the replica that has the lease of a probe, or empty.
	Prober string `json:"prober,omitempty"`
	// LeaseEnds is when that lease ends, by the clock of the replica that asks.
	LeaseEnds time.Time `json:"lease_ends,omitzero"`
}

// Precedes reports whether the last attempt was made before the endpoint's document
// came to a revision. A newer one may name another address, and somebody who wrote
// it wants to know.
func (o Opened) Precedes(document uint64) bool { return o.Document > 0 && document > o.Document }

// Due returns when the next probe of an endpoint may be made whose document is at a
// revision: at once where no attempt was made by that yet.
func (o Opened) Due(document uint64) time.Time {
	switch {
	case o.Prober != "":
		return o.LeaseEnds
	case o.Precedes(document):
		return time.Time{}
	}
	return o.NextProbe
}

// Fleet is what all replicas agree on: which gates are open, and which of them
// makes the next probe of an endpoint. It is read from memory and written to
// the bucket, which decides when two replicas write at a time. What was written
// here is known here at once, and within a fraction of a second everywhere.
type Fleet struct {
	kv   jetstream.KeyValue
	self string
	log  zerolog.Logger
	now  func() time.Time

	count  atomic.Int64 // of open gates, so that Get is cheap when there are none
	synced atomic.Bool  // a watch has loaded the bucket and goes on

	mu      sync.RWMutex // of all below
	marks   map[string]mark
	seen    uint64    // the highest revision that was met
	created time.Time // of the bucket that marks are from
	changes           // what OnChange is told

	stop    context.CancelFunc
	stopped chan struct{}
}

// NewFleet returns what the bucket of open gates says, empty until Start, as
// seen by the replica that is called self.
func NewFleet(kv jetstream.KeyValue, self string, log zerolog.Logger) *Fleet {
	return &Fleet{
		kv: kv, self: self, log: log.With().Str("bucket", kv.Bucket()).Logger(), now: time.Now,
		marks: make(map[string]mark),
	}
}

// Start loads the bucket and returns when all open gates are known. It then
// follows the bucket until ctx ends or Stop is called. It fails when the bucket
// cannot be read; a later failure is survived. It may be called once.
func (f *Fleet) Start(ctx context.Context) error {
	ctx, cancel := context.WithCancel(ctx)
	stopped := make(chan struct{})
	f.mu.Lock()
	f.stop, f.stopped = cancel, stopped
	f.mu.Unlock()
	loaded := make(chan error, 1)
	go func() {
		defer close(stopped)
		f.run(ctx, loaded)
	}()
	if err := <-loaded; err != nil {
		f.Stop()
		return fmt.Errorf("load open gates from bucket %s: %w", f.kv.Bucket(), err)
	}
	return nil
}

// Stop ends the watch and returns when it has ended. What was known stays. It
// may be called at any time and more than once.
func (f *Fleet) Stop() {
	f.mu.RLock()
	stop, stopped := f.stop, f.stopped
	f.mu.RUnlock()
	if stop != nil {
		stop()
		<-stopped
	}
}

// InSync reports whether the bucket is being followed. Where it is gone, it is not,
// and no gate can be opened, probed or closed.
func (f *Fleet) InSync() bool { return f.synced.Load() }

// Get returns what is known of an endpoint's gate, by TENANT/ENDPOINT, and
// whether it is open. It costs next to nothing while no gate is.
func (f *Fleet) Get(name string) (Opened, bool) {
	if f.count.Load() == 0 {
		return Opened{}, false
	}
	f.mu.RLock()
	defer f.mu.RUnlock()
	m, found := f.marks[name]
	return m.opened, found && !m.closed
}

// Len says how many gates are open.
func (f *Fleet) Len() int { return int(f.count.Load()) }

// Each calls call for each open gate, in no order. It may ask the fleet, and
// what changes meanwhile may be told or not.
func (f *Fleet) Each(call func(name string, o Opened)) {
	f.mu.RLock()
	open := make(map[string]Opened, f.count.Load())
	for name, m := range f.marks {
		if !m.closed {
			open[name] = m.opened
		}
	}
	f.mu.RUnlock()
	for name, o := range open {
		call(name, o)
	}
}

// OnChange has call told of each gate that opens or closes, or whose record
// changes, whoever did that. The calls come one at a time, and the last one for
// a gate is always right about it. A call may ask the fleet and change it.
func (f *Fleet) OnChange(call func(name string, open bool)) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.calls = append(f.calls, call)
}
