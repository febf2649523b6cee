package worker

import (
	"context"
	"math/rand/v2"
	"sync"
	"time"

	"github.com/rs/zerolog"
)

// trouble paces what is tried again until it goes well, and keeps the log to
// one line when it begins, one a minute while it lasts, and one at its end.
type trouble struct {
	mu     sync.Mutex
	since  time.Time // zero: all is well
	logged time.Time
	delay  time.Duration
}

const (
	firstDelay = 100 * time.Millisecond
	lastDelay  = 5 * time.Second
)

// wait reports err and waits a little longer each time, or until ctx ends.
func (t *trouble) wait(ctx context.Context, log zerolog.Logger, err error, what string) {
	t.mu.Lock()
	now := time.Now()
	if t.since.IsZero() {
		t.since, t.delay = now, firstDelay
	}
	if now.Sub(t.logged) > time.Minute {
		t.logged = now
		log.Warn().Err(err).Msg(what)
	}
	delay := t.delay
	t.delay = min(2*t.delay, lastDelay)
	t.mu.Unlock()
	delay += rand.N(delay / 4) // replicas in the same trouble do not act in step
	timer := time.NewTimer(delay)
	defer timer.Stop()
	select {
	case <-ctx.Done():
	case <-timer.C:
	}
}

// over ends the trouble, if there was any.
func (t *trouble) over(log zerolog.Logger, what string) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.since.IsZero() {
		return
	}
	log.Info().Dur("after", time.Since(t.since)).Msg(what)
	t.since, t.logged = time.Time{}, time.Time{}
}
