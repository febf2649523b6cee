package main

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/nats-io/nats.go/jetstream"
)

// demoTally is what can be seen at a moment: the receivers' own counts, and
// what lies in NATS.
type demoTally struct {
	unread    int // events that no worker has finished with
	waiting   int // deliveries that await an attempt, the held ones included
	endpoints [len(demoCast)]demoCount
}

// demoCount is the same for one endpoint.
type demoCount struct {
	wanted    int // events that it is to get
	delivered int // distinct events that were answered with success
	attempts  int
	retries   int
	copies    int // requests with an event that had been delivered
	verified  int // requests with a good signature
	held      int // deliveries that may not go now
	dead      int // letters in the dead-letter queue
}

// settled reports whether each of the events is delivered or dead at each
// endpoint, and nothing is on its way.
func (t demoTally) settled() bool {
	for _, c := range t.endpoints {
		if c.delivered+c.dead < c.wanted {
			return false
		}
	}
	return t.unread == 0 && t.waiting == 0
}

// dead returns how many letters the dead-letter queue holds.
func (t demoTally) dead() int {
	n := 0
	for _, c := range t.endpoints {
		n += c.dead
	}
	return n
}

// unkept returns in words what the demo promised and the tally does not show.
func (t demoTally) unkept() []string {
	var missing []string
	for i, c := range t.endpoints {
		name := demoTenant + "/" + demoCast[i].id
		if c.delivered != c.wanted {
			missing = append(missing, fmt.Sprintf("%s got %d of %s", name, c.delivered, plural(c.wanted, "event")))
		}
		if c.dead > 0 {
			missing = append(missing, fmt.Sprintf("%s for %s left in the dead-letter queue", letters(c.dead), name))
		}
		if c.verified != c.attempts {
			missing = append(missing, fmt.Sprintf("%d of %s to %s without a good signature", c.attempts-c.verified, plural(c.attempts, "request"), name))
		}
	}
	if t.unread+t.waiting > 0 {
		missing = append(missing, fmt.Sprintf("%s and %s not finished with", plural(t.unread, "event"), plural(t.waiting, "delivery")))
	}
	return missing
}

// tally looks.
func (w *demoWorld) tally(ctx context.Context) (demoTally, error) {
	var t demoTally
	fanout, err := w.fanout.Info(ctx)
	if err != nil {
		return t, fmt.Errorf("look at the events: %w", err)
	}
	t.unread = int(fanout.NumPending) + fanout.NumAckPending
	waiting, err := w.waiting.Info(ctx)
	if err != nil {
		return t, fmt.Errorf("look at the deliveries: %w", err)
	}
	t.waiting = int(waiting.State.Msgs)
	held, err := w.held.All(ctx)
	if err != nil {
		return t, err
	}
	dead, err := w.dead.Info(ctx, jetstream.WithSubjectFilter(w.client.Names.DeadLetter(demoTenant, "*")))
	if err != nil {
		return t, fmt.Errorf("look at the dead letters: %w", err)
	}
	for i, r := range w.receivers {
		s := r.Stats()
		t.endpoints[i] = demoCount{
			wanted: w.wanted[i], held: int(held[r.name()].Total()),
			delivered: s.Distinct, attempts: s.Requests, copies: s.Duplicates,
			retries: int(r.retries.Load()), verified: int(r.verified.Load()),
			dead: int(dead.State.Subjects[w.client.Names.DeadLetter(demoTenant, r.id)]),
		}
	}
	return t, nil
}

const (
	demoLook     = 100 * time.Millisecond // how often the demo looks
	demoPatience = 20 * time.Second       // how long it looks at nothing that moves
)

// watch shows what happens until everything that work does is done and all is
// settled. An error of work ends it.
func (d *demo) watch(ctx context.Context, work func(context.Context) error) (demoTally, error) {
	ctx, stop := context.WithCancelCause(ctx)
	working := make(chan struct{})
	go func() {
		defer close(working)
		if err := work(ctx); err != nil {
			stop(err)
		}
	}()
	defer func() { stop(nil); <-working }()
	live := newDemoLive(d.app, d.events)
	for i, r := range d.receivers {
		live.before[i] = int(r.retries.Load())
	}
	finished := false
	t, err := d.follow(ctx, live.show, func(t demoTally) bool {
		before := finished // only then is what it did in this tally
		finished = isClosed(working)
		return before && t.settled()
	})
	live.end(t)
	return t, err
}

// follow looks, and shows what it sees, until that is enough.
func (d *demo) follow(ctx context.Context, show func(demoTally), enough func(demoTally) bool) (demoTally, error) {
	ticker := time.NewTicker(demoLook)
	defer ticker.Stop()
	var last demoTally
	moved := time.Now()
	for {
		t, err := d.tally(ctx)
		switch {
		case ctx.Err() != nil:
			return last, context.Cause(ctx)
		case err != nil:
			return last, err
		case enough(t):
			return t, nil
		case t != last:
			last, moved = t, time.Now()
		case time.Since(moved) > demoPatience:
			missing := append(t.unkept(), "nothing moved for "+demoPatience.String())
			return t, errors.New("stuck: " + strings.Join(missing, "; "))
		}
		show(t)
		select {
		case <-ticker.C:
		case <-ctx.Done():
			return t, context.Cause(ctx)
		}
	}
}

// until looks without a word until what it sees is enough.
func (d *demo) until(ctx context.Context, enough func(demoTally) bool) (demoTally, error) {
	return d.follow(ctx, func(demoTally) {}, enough)
}

func isClosed(c <-chan struct{}) bool {
	select {
	case <-c:
		return true
	default:
		return false
	}
}

// plural writes a count and what is counted.
func plural(n int, what string) string {
	if n == 1 {
		return "1 " + what
	}
	if stem, ok := strings.CutSuffix(what, "y"); ok {
		return fmt.Sprintf("%d %sies", n, stem)
	}
	return fmt.Sprintf("%d %ss", n, what)
}
