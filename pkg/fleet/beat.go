package fleet

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"time"

	"github.com/nats-io/nats.go/jetstream"
	"github.com/rs/zerolog"
)

const (
	// beatEvery is how often a replica says that it is alive.
	beatEvery = time.Second
	// beatTimeout bounds one heartbeat. One that failed and the next must come
	// within deadAfter.
	beatTimeout = 2 * time.Second
	// coalesce is how long a changed revision waits for others that follow it.
	coalesce = 20 * time.Millisecond
)

// beat writes heartbeats until ctx ends.
func (f *Fleet) beat(ctx context.Context) {
	every := time.NewTicker(beatEvery)
	defer every.Stop()
	trouble := trouble{log: f.log}
	for {
		// Before the revision is read: no change may fall in between.
		changed := f.o.Changed()
		err := f.write(ctx)
		if errors.Is(err, jetstream.ErrNoStreamResponse) && f.o.Restore != nil {
			err = f.restore(ctx)
		}
		switch {
		case ctx.Err() != nil:
			return
		case err != nil:
			trouble.begins(err, "cannot write the heartbeat: the other replicas will take this one for dead; trying on")
		default:
			trouble.ends("heartbeats are written again")
		}
		if !f.await(ctx, every.C, changed) {
			return
		}
	}
}

// await returns when the next heartbeat is due, or false when ctx has ended.
func (f *Fleet) await(ctx context.Context, tick <-chan time.Time, changed <-chan struct{}) bool {
	select {
	case <-ctx.Done():
		return false
	case <-tick:
		return true
	case <-changed:
	}
	select {
	case <-ctx.Done():
		return false
	case <-time.After(coalesce):
		return true
	}
}

func (f *Fleet) write(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, beatTimeout)
	defer cancel()
	m := f.o.Self
	m.Endpoints = f.o.Revision()
	data, err := json.Marshal(m)
	if err != nil {
		return err
	}
	if _, err := f.o.KV.Put(ctx, m.ID, data); err != nil {
		return err
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	f.written = time.Now()
	return nil
}

// restore makes the bucket again and writes the heartbeat that it refused.
func (f *Fleet) restore(ctx context.Context) error {
	bounded, cancel := context.WithTimeout(ctx, beatTimeout)
	defer cancel()
	if err := f.o.Restore(bounded); err != nil {
		return fmt.Errorf("make the bucket again: %w", err)
	}
	return f.write(ctx)
}

// quiet is the least time between two troubles that are told.
const quiet = 10 * time.Second

// trouble tells the log of something that fails again and again: when it
// begins and when it ends, and not so often that it fills the log.
type trouble struct {
	log  zerolog.Logger
	on   bool
	told bool
	last time.Time
}

func (t *trouble) begins(err error, message string) {
	if t.on {
		return
	}
	t.on, t.told = true, t.last.IsZero() || time.Since(t.last) > quiet
	if t.told {
		t.last = time.Now()
		t.log.Warn().Err(err).Msg(message)
	}
}

func (t *trouble) ends(message string) {
	if t.on && t.told {
		t.log.Info().Msg(message)
	}
	t.on = false
}
