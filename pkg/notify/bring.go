package notify

import (
	"context"
	"errors"
	"slices"
	"sync"
	"time"
)

// Run brings notes until ctx ends, and then gives up those that wait.
func (c *Courier) Run(ctx context.Context) {
	// What is being sent when a stop comes may still arrive.
	sends, cut := context.WithCancel(context.WithoutCancel(ctx))
	defer cut()
	var running sync.WaitGroup
	timer := time.NewTimer(time.Hour)
	defer timer.Stop()
	for ctx.Err() == nil {
		timer.Reset(c.dispatch(sends, &running))
		select {
		case <-ctx.Done():
		case <-c.wake:
		case <-timer.C:
		}
	}
	stop := time.AfterFunc(lastNotesWithin, cut)
	defer stop.Stop()
	running.Wait()
	c.mu.Lock()
	defer c.mu.Unlock()
	if n := len(c.notes); n > 0 {
		c.log.Warn().Int("notes", n).Msg("stopping: contacts of endpoints are not told what waited to be")
	}
}

// dispatch begins to bring what is due, and returns how long nothing will be. Tenants
// take turns, and what hangs keeps slots of its own tenant and of its own way only.
func (c *Courier) dispatch(ctx context.Context, running *sync.WaitGroup) (pause time.Duration) {
	now := time.Now()
	c.mu.Lock()
	defer c.mu.Unlock()
	for {
		at := slices.IndexFunc(c.notes, func(n note) bool { return !n.due.After(now) && c.mayGo(n) })
		switch {
		case at < 0:
			return c.nextDue(now).Sub(now)
		case !c.total.AllowN(now, 1):
			return whileTotalFull
		}
		n := c.notes[at]
		c.notes = behindOthers(slices.Delete(c.notes, at, at+1), n.tenant)
		c.sending[n.by()]++
		c.theirs[n.tenant]++
		running.Go(func() { c.bring(ctx, n) })
	}
}

// mayGo reports whether there is a slot for a note. The caller holds the mutex.
func (c *Courier) mayGo(n note) bool {
	return c.sending[n.by()] < mostSending && c.theirs[n.tenant] < mostSendingOf
}

// nextDue returns when a note will be due; of those that are by now, whoever ends makes
// room. The caller holds the mutex.
func (c *Courier) nextDue(now time.Time) time.Time {
	next := now.Add(time.Hour)
	for _, n := range c.notes {
		if n.due.After(now) {
			next = earliest(next, n.due)
		}
	}
	return next
}

// behindOthers puts a tenant's notes behind those of all others.
func behindOthers(notes []note, tenant string) []note {
	others, theirs := make([]note, 0, len(notes)), []note(nil)
	for _, n := range notes {
		if n.tenant == tenant {
			theirs = append(theirs, n)
		} else {
			others = append(others, n)
		}
	}
	return append(others, theirs...)
}

// bring brings a note, or puts it off or gives it up if that fails.
func (c *Courier) bring(ctx context.Context, n note) {
	sending, cancel := context.WithTimeout(ctx, sendingFor)
	err := c.send(sending, n)
	cancel()
	n.tries++
	_, final := errors.AsType[*finalError](err)
	final = final || n.tries > len(c.waits)
	switch {
	case err == nil:
		c.done(n.by(), Sent)
	case final || ctx.Err() != nil:
		c.done(n.by(), GivenUp)
		c.log.Warn().Err(err).Str("endpoint", n.word.Endpoint).Str("type", n.word.Type).Str("by", n.by()).Int("tries", n.tries).
			Msg("an endpoint's contact cannot be told")
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	c.sending[n.by()]--
	if c.theirs[n.tenant]--; c.theirs[n.tenant] == 0 {
		delete(c.theirs, n.tenant)
	}
	if err != nil && !final && ctx.Err() == nil {
		n.due = time.Now().Add(c.waits[n.tries-1])
		c.notes = append(c.notes, n)
	}
	c.signal()
}

func (n note) by() string {
	if n.email != "" {
		return "email"
	}
	return "slack"
}

// send sends a note once, if the endpoint's document still has the address. No
// error names an address.
func (c *Courier) send(ctx context.Context, n note) error {
	ep := c.endpoints.Get(n.tenant, n.id)
	if ep == nil || ep.Contact == nil {
		return nil
	}
	if n.email != "" {
		if !slices.Contains(ep.Contact.Email, n.email) {
			return nil
		}
		return c.smtp.send(ctx, n.email, n.event, n.word)
	}
	parsed, err := ep.Parsed()
	switch {
	case err != nil:
		return &finalError{errors.New("its URL is sealed with a master key that is not among these")}
	case parsed.Contact == nil || parsed.Contact.Slack == "":
		return nil
	}
	return c.slack.send(ctx, parsed.Contact.Slack, n.word)
}
