package fleet

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"time"

	"github.com/nats-io/nats.go/jetstream"

	"jethook/streams"
)

const (
	// sweepEvery is how often it is looked who is dead.
	sweepEvery = 250 * time.Millisecond
	// rewatchAfter is the pause before a watch that ended is started again.
	rewatchAfter = 250 * time.Millisecond
	// loadStall bounds the wait for the next heartbeat of a load.
	loadStall = 5 * time.Second
)

// errDeaf ends a watch that does not tell even the own heartbeats.
var errDeaf = errors.New("heartbeats were written and did not come back")

// follow hears the heartbeats until ctx ends, with a new watch if need be. The
// outcome of the first load goes to loaded, and if it failed, that is the end.
func (f *Fleet) follow(ctx context.Context, loaded chan<- error) {
	trouble := trouble{log: f.log}
	take := func(entry jetstream.KeyValueEntry) error {
		if entry != nil {
			f.take(entry)
			return nil
		}
		f.change(func(r *roster) bool { r.awake(time.Now()); return false })
		trouble.ends("the heartbeats of the other replicas are heard again")
		if loaded != nil {
			loaded <- nil
			loaded = nil
		}
		return nil
	}
	for {
		err := watch(ctx, f.o.KV, take, f.sweep)
		if loaded != nil {
			loaded <- err
			return
		}
		if ctx.Err() != nil {
			return
		}
		trouble.begins(err, "watch of the replicas ended: starting it again, with those alive that were")
		select {
		case <-ctx.Done():
			return
		case <-time.After(rewatchAfter):
		}
	}
}

func (f *Fleet) take(entry jetstream.KeyValueEntry) {
	if entry.Operation() != jetstream.KeyValuePut {
		f.change(func(r *roster) bool { return r.remove(entry.Key(), time.Now()) })
		return
	}
	m := memberOf(entry)
	f.change(func(r *roster) bool { return r.hear(m, time.Now()) })
}

// memberOf decodes a heartbeat. One that cannot be read is still one: the
// replica is alive, and what it has in force is unknown.
func memberOf(entry jetstream.KeyValueEntry) Member {
	var m Member
	if err := json.Unmarshal(entry.Value(), &m); err != nil {
		m = Member{}
	}
	m.ID = entry.Key()
	return m
}

// sweep buries the dead. A subscription does not tell when its consumer went
// with the server, but it is told by the own heartbeats, which come back no
// more.
func (f *Fleet) sweep() error {
	now := time.Now()
	f.change(func(r *roster) bool { return r.sweep(now) })
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.roster.deaf(now) && f.written.After(f.roster.last) {
		return errDeaf
	}
	return nil
}

// watch gives each entry of the bucket to take, with a nil one after those
// that were there at the start. From then on it calls tick every sweepEvery. It
// returns the first error of either, or what else ended it.
func watch(ctx context.Context, kv jetstream.KeyValue, take func(jetstream.KeyValueEntry) error, tick func() error) error {
	watch, err := streams.WatchBucket(ctx, kv, jetstream.AllKeys)
	if err != nil {
		return err
	}
	defer watch.Stop()
	stall := time.NewTimer(loadStall)
	defer stall.Stop()
	ticks := time.NewTicker(sweepEvery)
	defer ticks.Stop()
	for loaded := false; ; {
		select {
		case <-ctx.Done():
			return context.Cause(ctx)
		case <-stall.C:
			return fmt.Errorf("no heartbeat came for %s", loadStall)
		case <-ticks.C:
			if loaded {
				err = tick()
			}
		case entry, open := <-watch.Updates():
			if !open {
				return watch.Err()
			}
			if loaded = loaded || entry == nil; loaded {
				stall.Stop()
			} else {
				stall.Reset(loadStall)
			}
			err = take(entry)
		}
		if err != nil {
			return err
		}
	}
}
