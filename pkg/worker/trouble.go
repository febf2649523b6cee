package worker

import (
	"context"
	"math/rand/v2"
	"sync"
	"time"

	"github.com/rs/zerolog"
)

// trouble paces what is tried again until it goes well, and keeps the log to a
// line a minute while it lasts and one at its end. Many may share it: how long
// it has lasted, and not how many are in it, says how long each waits.
type trouble struct {
	mu     sync.Mutex
	since  time.Time // zero: all is well
	logged time.Time // kept from one trouble to the next, so that a flapping one stays a line a minute
	told   bool      // the log knows of this one
}

const (
	firstDelay = 100 * time.Millisecond
	lastDelay  = 5 * time.Second
)

// wait reports err and waits for as long as the trouble has lasted, within
// bounds, or until ctx ends.
func (t *trouble) wait(ctx context.Context, log zerolog.Logger, err error, what string) {
	t.mu.Lock()
	now := time.Now()
	if t.since.IsZero() {
		t.since = now
	}
	if now.Sub(t.logged) > time.Minute {
		t.logged, t.told = now, true
		log.Warn().Err(err).Msg(what)
	}
	delay := min(max(now.Sub(t.since), firstDelay), lastDelay)
	t.mu.Unlock()
	delay += rand.N(delay / 4) // replicas in the same trouble do not act in step
	timer := time.NewTimer(delay)
	defer timer.Stop()
	select {
	case <-ctx.Done():
	case <-timer.C:
	}
}

// lasted returns for how long there has been trouble.
func (t *trouble) lasted() time.Duration {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.since.IsZero() {
		return 0
	}
	return time.Since(t.since)
}

// over ends the trouble, if there was any.
func (t *trouble) over(log zerolog.Logger, what string) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.since.IsZero() {
		return
	}
	if t.told {
		log.Info().Dur("duration", time.Since(t.since)).Msg(what)
	}
	t.since, t.told = time.Time{}, false
}
