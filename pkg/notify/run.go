package notify

import (
	"context"
	"maps"
	"time"
)

const (
	// sweepEvery is how often a replica looks whether it ranks first for endpoints
	// that another one looked after.
	sweepEvery = 30 * time.Second
	// forgetAfter is after how many sweeps it looks at those anew that it looks
	// after itself, in case anything was missed.
	forgetAfter = 10
	// retryAfter is how long what could not be said waits.
	retryAfter = 5 * time.Second
	// lastWords bounds what a stop waits for what is still to be stored.
	lastWords = 2 * time.Second
)

// Run says what is to be said until ctx ends. What dead letters are not counted in
// a record by then it still stores.
func (n *Notifier) Run(ctx context.Context) {
	// What is being said when a stop comes is said: cut off, it would be unknown
	// whether it was.
	saying, cut := context.WithCancel(context.WithoutCancel(ctx))
	defer cut()
	defer context.AfterFunc(ctx, func() { time.AfterFunc(lastWords, cut) })()
	n.sweep(ctx, true)
	sweep := time.NewTicker(max(min(sweepEvery, n.Settings.After), time.Second))
	defer sweep.Stop()
	timer := time.NewTimer(0)
	defer timer.Stop()
	for sweeps := 1; ctx.Err() == nil; {
		changed := n.Endpoints.Changed()
		n.newlyDisabled()
		timer.Reset(n.round(ctx, saying))
		select {
		case <-ctx.Done():
		case <-n.wake:
		case <-timer.C:
		case <-changed:
		case <-sweep.C:
			n.sweep(ctx, sweeps%forgetAfter == 0)
			sweeps++
		}
	}
	n.leave(saying)
}

// round looks at what is due, until ctx ends, and returns how long nothing will
// be.
func (n *Notifier) round(ctx, saying context.Context) (pause time.Duration) {
	const long = time.Hour
	if !n.Endpoints.InSync() {
		return time.Second
	}
	names := n.takeDue()
	for i, name := range names {
		if ctx.Err() != nil {
			break
		}
		if err := n.review(saying, name); err != nil {
			// It will hardly go better for the others now.
			n.again(names[i:])
			if ctx.Err() == nil {
				n.untold.Warn().Err(err).Str("endpoint", name).Msg("an endpoint's owner cannot be told what happens to it, trying again")
			}
			break
		}
	}
	n.mu.Lock()
	defer n.mu.Unlock()
	next := n.now().Add(long)
	for _, at := range n.due {
		next = earliest(next, at)
	}
	return max(next.Sub(n.now()), 0)
}

// again puts off what could not be looked at, the first one longest: were it the
// only one in trouble, the others come before it.
func (n *Notifier) again(names []string) {
	now := n.now()
	n.mu.Lock()
	defer n.mu.Unlock()
	for i, name := range names {
		wait := n.retry
		if i == 0 {
			wait *= 2
		}
		n.lookAt(name, now.Add(wait))
	}
}

// newlyDisabled looks at endpoints that were disabled since this replica looked.
func (n *Notifier) newlyDisabled() {
	disabled := n.Endpoints.Disabled()
	n.mu.Lock()
	defer n.mu.Unlock()
	before := n.noticed
	n.noticed = make(map[string]time.Time, len(disabled))
	for _, ep := range disabled {
		if n.Rank(ep.Name()) != 0 {
			continue
		}
		if noticed, found := before[ep.Name()]; !found || !noticed.Equal(ep.Disabled.At) {
			n.lookAt(ep.Name(), n.now())
		}
		n.noticed[ep.Name()] = ep.Disabled.At
	}
}

// sweep looks at all endpoints that this replica ranks first for and did not look
// at before, or at all of them anew.
func (n *Notifier) sweep(ctx context.Context, anew bool) {
	names, err := n.store.names(ctx)
	if err != nil && ctx.Err() == nil {
		n.unlisted.Warn().Err(err).Msg("what owners were told cannot be listed, trying again")
	}
	now := n.now()
	n.mu.Lock()
	defer n.mu.Unlock()
	if anew {
		clear(n.seen)
		maps.DeleteFunc(n.paced, func(_ string, at time.Time) bool { return !at.After(now) })
	}
	for _, name := range append(names, n.Gates.Open()...) {
		if n.Rank(name) != 0 {
			delete(n.seen, name)
		} else if !n.seen[name] {
			n.lookAt(name, now)
		}
	}
}

// leave stores the dead letters that no record has yet, for others to tell of.
func (n *Notifier) leave(ctx context.Context) {
	n.mu.Lock()
	var names []string
	for name := range n.deaths {
		names = append(names, name)
	}
	n.mu.Unlock()
	for _, name := range names {
		if err := n.review(ctx, name); err != nil {
			n.Logger.Warn().Err(err).Str("endpoint", name).Msg("dead letters of an endpoint are not told of")
			return
		}
	}
}
