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

// dispatch begins to bring what is due, and returns how long nothing will be.
func (c *Courier) dispatch(ctx context.Context, running *sync.WaitGroup) (pause time.Duration) {
	now := time.Now()
	c.mu.Lock()
	defer c.mu.Unlock()
	next := now.Add(time.Hour)
	c.notes = slices.DeleteFunc(c.notes, func(n note) bool {
		switch {
		case n.due.After(now):
			next = earliest(next, n.due)
		case c.sending == mostSending: // whoever ends wakes us
		case !c.total.AllowN(now, 1):
			next = earliest(next, now.Add(whileTotalFull))
		default:
			c.sending++
			running.Go(func() { c.bring(ctx, n) })
			return true
		}
		return false
	})
	return next.Sub(now)
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
	c.sending--
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
