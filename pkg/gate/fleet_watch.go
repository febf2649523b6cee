package gate

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/nats-io/nats.go/jetstream"

	"jethook/streams"
)

const (
	// checkGatesEvery is how often the known gates are compared with the bucket.
	checkGatesEvery = 2 * time.Second
	// settleGates is how long a watch may be behind the bucket.
	settleGates = 250 * time.Millisecond
	// rewatchGates is the pause before a watch that ended is started again.
	rewatchGates = 250 * time.Millisecond
	// gatesTimeout bounds each wait for the server.
	gatesTimeout = 5 * time.Second
)

// run watches until ctx ends, again and again if need be. The outcome of the
// first load goes to loaded, and if it failed, that is the end.
func (f *Fleet) run(ctx context.Context, loaded chan<- error) {
	troubled := false
	ready := func() {
		f.synced.Store(true)
		if loaded != nil {
			loaded <- nil
			loaded = nil
		}
		if troubled {
			f.log.Info().Int("open", f.Len()).Msg("open gates are followed again")
		}
		troubled = false
	}
	for {
		err := f.watch(ctx, ready)
		f.synced.Store(false)
		if loaded != nil {
			loaded <- err
			return
		}
		if ctx.Err() != nil {
			return
		}
		if !troubled {
			f.log.Warn().Err(err).Msg("watch of open gates ended: starting it again, with those open that were")
		}
		troubled = true
		select {
		case <-ctx.Done():
			return
		case <-time.After(rewatchGates):
		}
	}
}

// bucketAt is a bucket and how far it is.
type bucketAt struct {
	created  time.Time
	revision uint64
	keys     uint64 // with those that were removed
}

func (f *Fleet) bucket(ctx context.Context) (bucketAt, error) {
	ctx, cancel := context.WithTimeout(ctx, gatesTimeout)
	defer cancel()
	info, err := streams.BucketInfo(ctx, f.kv)
	if err != nil {
		return bucketAt{}, err
	}
	return bucketAt{created: info.Created, revision: info.State.LastSeq, keys: info.State.Msgs}, nil
}

// watch loads the bucket, calls ready and follows it until the watch ends or is
// found dead. It always returns an error: what ended it.
func (f *Fleet) watch(ctx context.Context, ready func()) error {
	start, err := f.bucket(ctx)
	if err != nil {
		return err
	}
	f.rebase(start)
	watch, err := streams.WatchBucket(ctx, f.kv, jetstream.AllKeys)
	if err != nil {
		return err
	}
	defer watch.Stop()
	taken, err := f.load(ctx, watch, start.revision)
	if err != nil {
		return err
	}
	ready()
	return f.follow(ctx, watch, bucketAt{created: start.created, revision: taken})
}

// rebase makes what is known older than anything in the bucket, if that is not
// the one that it is known from, or lost its end: its revisions begin anew.
func (f *Fleet) rebase(start bucketAt) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.created.Equal(start.created) && f.seen <= start.revision {
		return
	}
	f.created, f.seen = start.created, start.revision
	for name, m := range f.marks {
		m.revision = 0
		f.marks[name] = m
	}
}

// load takes in everything up to the marker that follows the last record, and
// then takes for closed what was open and is not there. It returns how far it
// came, which is beyond the start if there were writes meanwhile.
func (f *Fleet) load(ctx context.Context, watch *streams.Watch, start uint64) (taken uint64, err error) {
	taken = start
	met := make(map[string]bool)
	stall := time.NewTimer(gatesTimeout)
	defer stall.Stop()
	for {
		select {
		case <-ctx.Done():
			return 0, context.Cause(ctx)
		case <-stall.C:
			return 0, fmt.Errorf("no record came for %s", gatesTimeout)
		case entry, open := <-watch.Updates():
			if !open {
				return 0, watch.Err()
			}
			if entry == nil {
				f.retain(met, start)
				return taken, nil
			}
			met[gateName(entry.Key())] = true
			taken = max(taken, entry.Revision())
			f.take(entry, f.stored(entry))
			stall.Reset(gatesTimeout)
		}
	}
}

// retain closes what a load did not meet, except what was written meanwhile:
// that is still to come.
func (f *Fleet) retain(met map[string]bool, start uint64) {
	f.mu.Lock()
	for name, m := range f.marks {
		if !met[name] && m.revision <= start {
			f.set(name, mark{closed: true})
			delete(f.marks, name)
		}
	}
	f.tell()
}

// follow takes in changes until the watch ends or is found dead. It begins
// where the load ended.
func (f *Fleet) follow(ctx context.Context, watch *streams.Watch, at bucketAt) error {
	check := time.NewTimer(checkGatesEvery)
	defer check.Stop()
	behind := uint64(0) // where the last check found the watch behind, if it did
	for {
		select {
		case <-ctx.Done():
			return context.Cause(ctx)
		case entry, open := <-watch.Updates():
			if !open {
				return watch.Err()
			}
			if entry != nil {
				at.revision = max(at.revision, entry.Revision())
				f.take(entry, f.now())
			}
		case <-check.C:
			late, err := f.compare(ctx, at)
			if err == nil && late && behind == at.revision {
				err = errors.New("it stands still")
			}
			if err != nil {
				return err
			}
			behind = 0
			check.Reset(checkGatesEvery)
			if late {
				behind = at.revision
				check.Reset(settleGates)
			}
		}
	}
}

// compare looks whether a watch that came so far is behind its bucket, and
// fails when that is another one by now. The subscription would not tell, and
// neither when its consumer went with the server.
func (f *Fleet) compare(ctx context.Context, at bucketAt) (late bool, err error) {
	open := f.Len() // before the bucket is asked: none of them may be newer
	now, err := f.bucket(ctx)
	switch {
	case errors.Is(err, jetstream.ErrStreamNotFound):
		return false, errors.New("the bucket was deleted")
	case err != nil:
		return false, nil // The server is away; the next look says more.
	case !now.created.Equal(at.created), now.revision < at.revision, now.keys < uint64(open):
		return false, errors.New("the bucket was made anew or emptied")
	}
	return now.revision > at.revision, nil
}

// take takes in an entry that was written at a time.
func (f *Fleet) take(entry jetstream.KeyValueEntry, written time.Time) {
	name := gateName(entry.Key())
	if entry.Operation() != jetstream.KeyValuePut {
		f.closed(name, entry.Revision(), true)
		return
	}
	f.put(name, f.decode(entry, written), entry.Revision())
}

// stored returns when an entry was written, which a load brings long after.
// The server's clock may be ahead of ours.
func (f *Fleet) stored(entry jetstream.KeyValueEntry) time.Time {
	now := f.now()
	return now.Add(-max(now.Sub(entry.Created()), 0))
}

func (f *Fleet) decode(entry jetstream.KeyValueEntry, written time.Time) Opened {
	o, err := decodeOpened(entry.Value(), f.now(), written)
	if err != nil {
		f.log.Warn().Err(err).Str("key", entry.Key()).Msg("the gate is taken for open, to be probed at once")
	}
	return o
}
