package endpoint

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"runtime"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/nats-io/nats.go/jetstream"

	"jethook/pkg/retry"
	"jethook/streams"
)

const (
	// loadStall bounds the wait for the next document of a load.
	loadStall = 15 * time.Second
	// connectionEvery is how often it is looked whether the connection was lost:
	// nothing is delivered from then on until the documents are read again.
	connectionEvery = 20 * time.Millisecond
	// statusTimeout bounds one look at the bucket's status.
	statusTimeout = 5 * time.Second
	// batchSize is how many documents are decoded and put in force at a time.
	batchSize = 4096
)

// rewatch says how soon a watch that ended is started again.
var rewatch = retry.Policy{
	Base: 100 * time.Millisecond, Factor: 2, MaxDelay: 5 * time.Second, MaxAttempts: 100, Jitter: retry.JitterEqual,
}

// run watches until ctx ends, again and again if need be. The outcome of the
// first load goes to loaded, and if it failed, that is the end.
func (r *Registry) run(ctx context.Context, loaded chan<- error) {
	defer close(r.stopped)
	failed := 0
	ready := func() {
		failed = 0
		if loaded != nil {
			loaded <- nil
			loaded = nil
		}
	}
	for {
		err := r.watch(ctx, ready)
		if loaded != nil {
			loaded <- fmt.Errorf("load endpoints from bucket %s: %w", r.kv.Bucket(), err)
			return
		}
		if ctx.Err() != nil {
			return
		}
		failed++
		if failed == 1 {
			r.log.Warn().Err(err).Msg("watch of endpoints ended: starting it again, with the known endpoints in force")
		}
		select {
		case <-ctx.Done():
			return
		case <-time.After(rewatch.Delay(failed, rand.Float64)):
		}
	}
}

// bucketState is what tells whether a watch still follows its bucket.
type bucketState struct {
	created  time.Time
	revision uint64
}

func (r *Registry) state(ctx context.Context) (bucketState, error) {
	ctx, cancel := context.WithTimeout(ctx, statusTimeout)
	defer cancel()
	info, err := streams.BucketInfo(ctx, r.kv)
	if err != nil {
		return bucketState{}, err
	}
	return bucketState{created: info.Created, revision: info.State.LastSeq}, nil
}

// watch loads the bucket, calls ready and follows it until the watch ends or
// is found dead. It always returns an error: what ended it.
func (r *Registry) watch(ctx context.Context, ready func()) error {
	began := r.reconnects()
	start, err := r.state(ctx)
	if err != nil {
		return err
	}
	watch, err := streams.WatchBucket(ctx, r.kv, jetstream.AllKeys)
	if err != nil {
		return err
	}
	defer watch.Stop()
	r.bucketMade.Store(&start.created)
	if err := r.load(ctx, watch, start); err != nil {
		return err
	}
	r.synced.Store(began + 1)
	ready()
	return r.follow(ctx, watch, start, began)
}

// errReconnected ends a watch whose consumer may have gone with the server.
var errReconnected = errors.New("the connection was lost and is back")

// load takes in everything up to the marker that follows the last document.
func (r *Registry) load(ctx context.Context, watch *streams.Watch, start bucketState) error {
	began := time.Now()
	met := make(map[string]bool)
	revision := start.revision
	batch := make([]jetstream.KeyValueEntry, 0, batchSize)
	stall := time.NewTimer(loadStall)
	defer stall.Stop()
	for complete := false; !complete; {
		select {
		case <-ctx.Done():
			return context.Cause(ctx)
		case <-stall.C:
			return fmt.Errorf("no document came for %s", loadStall)
		case entry, open := <-watch.Updates():
			if !open {
				return watch.Err()
			}
			if complete = entry == nil; !complete {
				met[entry.Key()] = entry.Operation() == jetstream.KeyValuePut
				revision = max(revision, entry.Revision())
				batch = append(batch, entry)
			}
		}
		if complete || len(batch) == batchSize {
			changes, err := r.afterLastGood(ctx, r.decode(batch))
			if err != nil {
				return err
			}
			r.apply(changes)
			batch = batch[:0]
			stall.Reset(loadStall)
		}
	}
	r.retain(met, revision)
	r.log.Info().Int("endpoints", r.Len()).Int("broken", r.BrokenLen()).Dur("duration", time.Since(began)).Msg("endpoints loaded")
	return nil
}

// afterLastGood puts before each document that is broken the last one that was not,
// or its removal, as far back as the bucket remembers. That is what replicas have in
// force that were there when it broke; without it, events of the endpoint would be
// taken for such that nobody wants.
func (r *Registry) afterLastGood(ctx context.Context, changes []change) ([]change, error) {
	all := make([]change, 0, len(changes))
	for _, c := range changes {
		if c.err != nil {
			earlier, err := r.history(ctx, c.key)
			if err != nil {
				return nil, fmt.Errorf("look for the last good document under key %s: %w", c.key, err)
			}
			for _, entry := range slices.Backward(earlier) {
				// What came since comes by the watch.
				if good := r.changeOf(entry); good.revision < c.revision && good.err == nil {
					all = append(all, good)
					break
				}
			}
		}
		all = append(all, c)
	}
	return all, nil
}

// history returns what the bucket remembers of a key, the latest last.
func (r *Registry) history(ctx context.Context, key string) ([]jetstream.KeyValueEntry, error) {
	ctx, cancel := context.WithTimeout(ctx, loadStall)
	defer cancel()
	entries, err := r.kv.History(ctx, key)
	if err == nil { // it returns what it has when ctx ends
		err = ctx.Err()
	}
	if errors.Is(err, jetstream.ErrKeyNotFound) || errors.Is(err, jetstream.ErrInvalidKey) { // a key that only the server takes
		return nil, ctx.Err()
	}
	return entries, err
}

// follow takes in changes, several at a time when they come fast.
func (r *Registry) follow(ctx context.Context, watch *streams.Watch, start bucketState, began uint64) error {
	check := time.NewTicker(r.checkEvery)
	defer check.Stop()
	connection := time.NewTicker(connectionEvery)
	defer connection.Stop()
	var behind lag
	for {
		select {
		case <-ctx.Done():
			return context.Cause(ctx)
		case entry, open := <-watch.Updates():
			if !open {
				return watch.Err()
			}
			r.apply(r.decode(pending(entry, watch.Updates())))
		case <-connection.C:
			if r.reconnects() != began {
				return errReconnected
			}
		case <-check.C:
			if err := r.check(ctx, start, &behind); err != nil {
				return err
			}
		}
	}
}

// pending returns the entry and those that wait behind it.
func pending(entry jetstream.KeyValueEntry, updates <-chan jetstream.KeyValueEntry) []jetstream.KeyValueEntry {
	batch := []jetstream.KeyValueEntry{entry}
	for range len(updates) {
		if next := <-updates; next != nil {
			batch = append(batch, next)
		}
	}
	return batch
}

// lag is what the last check found: whether the watch was behind its bucket,
// and at which revision.
type lag struct {
	found bool
	at    uint64
}

// check compares the registry with its bucket. The subscription does not tell
// when its consumer or its stream is gone, and after a server's restart it
// would be quiet for many seconds. A watch that is behind at the same revision
// twice in a row stands still.
func (r *Registry) check(ctx context.Context, start bucketState, last *lag) error {
	now, err := r.state(ctx)
	if err != nil {
		if errors.Is(err, jetstream.ErrStreamNotFound) {
			return errors.New("the bucket was deleted")
		}
		return nil // The server is away; the next check says more.
	}
	seen := r.Revision()
	if !now.created.Equal(start.created) || now.revision < seen {
		return errors.New("the bucket was made anew")
	}
	before := *last
	*last = lag{found: now.revision > seen, at: seen}
	if last.found && before == *last {
		return fmt.Errorf("it stands still at revision %d, the bucket is at %d", seen, now.revision)
	}
	return nil
}

// decode decodes entries on all processors and returns them in their order.
func (r *Registry) decode(entries []jetstream.KeyValueEntry) []change {
	changes := make([]change, len(entries))
	workers := min(runtime.GOMAXPROCS(0), (len(entries)+63)/64)
	if workers <= 1 {
		for i, entry := range entries {
			changes[i] = r.changeOf(entry)
		}
		return changes
	}
	var wg sync.WaitGroup
	for n := range workers {
		wg.Go(func() {
			for i := n; i < len(entries); i += workers {
				changes[i] = r.changeOf(entries[i])
			}
		})
	}
	wg.Wait()
	return changes
}

// changeOf reads the registry without its lock, which is safe where nobody
// else writes to it: changes are decoded and applied by one goroutine in turn.
func (r *Registry) changeOf(entry jetstream.KeyValueEntry) change {
	c := change{key: entry.Key(), revision: entry.Revision(), created: entry.Created().UnixNano()}
	if entry.Operation() != jetstream.KeyValuePut {
		return c
	}
	if c.unchanged = c.key == sealingKey || r.knows(c); c.unchanged {
		return c
	}
	if isLaneKey(c.key) {
		if c.lane, c.err = compileLane(c.key, entry.Value()); c.err == nil {
			c.lane.revision, c.lane.created = c.revision, c.created
			if c.lane.Until > 0 { // which is the last that is written of a lane
				c.lane.Removed = entry.Created()
			}
		}
		return c
	}
	var d Document
	if d, c.err = decodeEntry(c.key, entry.Value()); c.err != nil {
		return c
	}
	if c.endpoint, c.err = compile(d, &r.opens); c.err == nil {
		c.endpoint.Revision, c.endpoint.created = c.revision, c.created
	}
	return c
}

// knows says whether the very same entry was taken in before, by an earlier
// watch. Then its endpoint or lane stays the same too, and a broken one is not
// logged again.
func (r *Registry) knows(c change) bool {
	if b, found := r.broken[c.key]; found {
		return b.revision == c.revision && b.created == c.created
	}
	if l := r.laneByKey[c.key]; l != nil {
		return l.revision == c.revision && l.created == c.created
	}
	e := r.byName[nameOf(c.key)]
	return e != nil && e.Revision == c.revision && e.created == c.created
}

// decodeEntry reads a document under its key. It accepts plain http: whether that
// is allowed was decided when the document was written, and dropping it here would
// drop its events.
func decodeEntry(key string, value []byte) (Document, error) {
	d, err := Decode(value, Rules{AllowHTTP: true})
	if err != nil {
		return Document{}, err
	}
	if key != documentKey(d.Tenant, d.ID) {
		return Document{}, fmt.Errorf("the document under key %s names itself %s", key, d.Name())
	}
	return d, nil
}

// documentKey returns the key of an endpoint in the bucket.
func documentKey(tenant, id string) string { return tenant + "." + id }

// nameOf returns the name of the endpoint under a key.
func nameOf(key string) string { return strings.Replace(key, ".", "/", 1) }
