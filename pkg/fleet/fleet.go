// Package fleet promises that a replica knows which others are alive, within
// a fraction of a second when one joins or leaves and within five when one is
// killed, and that one which lives is not taken for dead because NATS was away.
//
// Each replica writes a heartbeat to a KV bucket and follows those of the
// others. From that it knows how many share a limit ([Fleet.Count]) and whose
// turn it is where one of them is to do something ([Fleet.Rank]). [InForce]
// tells an operator that every replica knows a change.
package fleet

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/nats-io/nats.go/jetstream"
	"github.com/rs/zerolog"
)

// Member is what a live replica says of itself.
type Member struct {
	// ID is the replica's name, which no other has. It is its key in the
	// bucket too.
	ID string `json:"id"`
	// Version is the version of jethook that it runs.
	Version string `json:"version,omitempty"`
	// Started is when it started.
	Started time.Time `json:"started"`
	// Endpoints is the revision of the endpoints' bucket that it has in force.
	Endpoints uint64 `json:"endpoints"`
	// Lanes are those that it serves: every lane when there are none.
	Lanes []string `json:"lanes,omitempty"`
	// Keyless says that it cannot open the endpoints' secrets: it makes no attempts
	// at endpoints that have any.
	Keyless bool `json:"keyless,omitempty"`
	// Restricted says that its NATS user may not make consumers of events, which
	// lanes and ordered endpoints take.
	Restricted bool `json:"restricted,omitempty"`
}

// Serves reports whether the replica serves a lane.
func (m Member) Serves(lane string) bool {
	return len(m.Lanes) == 0 || slices.Contains(m.Lanes, lane)
}

// Options say who joins, and where.
type Options struct {
	// KV is the bucket of the replicas.
	KV jetstream.KeyValue
	// Self is this replica. Its field Endpoints is not read: see Revision.
	Self Member
	// Revision returns the revision of the endpoints' bucket that is in force
	// here. Nil means that there is none.
	Revision func() uint64
	// Changed returns a channel that is closed when Revision changes: the
	// others then hear of it at once, not with the next heartbeat. It may be
	// nil.
	Changed func() <-chan struct{}
	// Restore makes the bucket again when it is gone: a single server keeps one
	// in memory only until it is restarted. Every replica calls it then. Without
	// it somebody else has to.
	Restore func(ctx context.Context) error
	// Logger hears of heartbeats that fail, once for each trouble.
	Logger zerolog.Logger
}

// Fleet is the live replicas as one of them sees them. While that one hears
// nothing at all, because NATS is away, they stay what they were.
type Fleet struct {
	o        Options
	log      zerolog.Logger
	ranking  atomic.Pointer[ranking]
	stop     context.CancelFunc
	running  sync.WaitGroup
	leaving  sync.Once
	mu       sync.Mutex // of all below
	roster   roster
	written  time.Time // when the last heartbeat was acknowledged
	onChange []func()
}

// Join makes this replica known to the others and returns when it knows them.
// It fails when the bucket cannot be written and read; later failures are
// survived. Heartbeats go on after ctx has ended, until Leave.
func Join(ctx context.Context, o Options) (*Fleet, error) {
	if o.Revision == nil {
		o.Revision = func() uint64 { return 0 }
	}
	if o.Changed == nil {
		o.Changed = func() <-chan struct{} { return nil }
	}
	f := &Fleet{
		o: o, roster: newRoster(o.Self, time.Now()),
		log: o.Logger.With().Str("bucket", o.KV.Bucket()).Str("replica", o.Self.ID).Logger(),
	}
	f.ranking.Store(rankingOf(f.roster.live(), o.Self.ID))
	if err := f.write(ctx); err != nil {
		return nil, fmt.Errorf("join the replicas in bucket %s as %q: %w", o.KV.Bucket(), o.Self.ID, err)
	}
	life, stop := context.WithCancel(context.WithoutCancel(ctx))
	f.stop = stop
	loaded := make(chan error, 1)
	f.running.Go(func() { f.beat(life) })
	f.running.Go(func() { f.follow(life, loaded) })
	var err error
	select {
	case err = <-loaded:
	case <-ctx.Done():
		err = context.Cause(ctx)
	}
	if err != nil {
		f.Leave(context.WithoutCancel(ctx))
		return nil, fmt.Errorf("read the replicas in bucket %s: %w", o.KV.Bucket(), err)
	}
	return f, nil
}

// Leave ends the heartbeats and tells the others that this replica is gone. If
// that fails they notice it themselves, some seconds later. It may be called
// more than once. What the fleet says afterwards is what it knew last.
func (f *Fleet) Leave(ctx context.Context) {
	f.leaving.Do(func() {
		f.stop()
		f.running.Wait()
		ctx, cancel := context.WithTimeout(ctx, beatTimeout)
		defer cancel()
		if err := f.o.KV.Delete(ctx, f.o.Self.ID); err != nil {
			f.log.Warn().Err(err).Msg("could not tell the other replicas that this one leaves: they notice it in a few seconds")
		}
	})
}

// Count says how many replicas are alive, this one included. It is cheap
// enough to be asked for each event.
func (f *Fleet) Count() int { return len(f.ranking.Load().hashes) }

// Rank says at which place this replica is among the live ones for a key: 0 is
// the one that owns it, 1 the one that would if that one died, and so on. All
// replicas that see the same others agree, and one that dies moves only the
// keys that it owned.
func (f *Fleet) Rank(key string) int {
	r := f.ranking.Load()
	return r.rank(r.hashes, key)
}

// CountOf says how many of the live replicas serve a lane, and how many there
// are at all when none does: it is at least 1. The limits of an endpoint with a lane
// of its own are shared by those that make its attempts; a share given to a replica
// that serves other lanes only would be lost. It is as cheap as Count.
func (f *Fleet) CountOf(lane string) int { return len(f.ranking.Load().of(lane)) }

// RankOf is Rank among the replicas that CountOf counts, for what only they
// can do or have a share of. A replica that is none of them comes behind them
// all: its rank is their number, and so never 0.
func (f *Fleet) RankOf(lane, key string) int {
	r := f.ranking.Load()
	return r.rank(r.of(lane), key)
}

// Live returns the live replicas, this one included, sorted by ID.
func (f *Fleet) Live() []Member {
	f.mu.Lock()
	defer f.mu.Unlock()
	members := f.roster.live()
	slices.SortFunc(members, func(a, b Member) int { return strings.Compare(a.ID, b.ID) })
	return members
}

// OnChange has f called after each change of the set of live replicas, or of
// the lanes that one serves. Count, Rank and Live know of it by then. The calls come one at a time, and the next
// change is not looked at before they return.
func (f *Fleet) OnChange(call func()) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.onChange = append(f.onChange, call)
}

// change changes the roster, and if others are alive than before, says so.
func (f *Fleet) change(how func(r *roster) bool) {
	f.mu.Lock()
	if !how(&f.roster) {
		f.mu.Unlock()
		return
	}
	next := rankingOf(f.roster.live(), f.o.Self.ID)
	f.ranking.Store(next)
	calls := slices.Clone(f.onChange)
	f.mu.Unlock()
	f.log.Info().Int("replicas", len(next.hashes)).Msg("the live replicas changed")
	for _, call := range calls {
		call()
	}
}
