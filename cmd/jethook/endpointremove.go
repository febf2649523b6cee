package main

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"math"
	"time"

	"github.com/nats-io/nats.go/jetstream"

	"jethook/pkg/attempt"
	"jethook/pkg/endpoint"
	"jethook/pkg/hold"
)

// What can become of deliveries that wait for an endpoint that is removed.
const (
	waitingDeadLetter = "dead-letter"
	waitingDiscard    = "discard"
)

type endpointRemoveCmd struct {
	Name    string `arg:"" placeholder:"TENANT/ENDPOINT" help:"Endpoint."`
	Waiting string `placeholder:"dead-letter|discard" help:"What becomes of the deliveries that wait for it; decides without a question."`
	Yes     bool   `short:"y" help:"Do not ask; what waits becomes dead letters unless --waiting says otherwise."`
}

var errNotRemoved = errors.New("nothing was removed")

// Run removes an endpoint.
func (c *endpointRemoveCmd) Run(ctx context.Context, a *app) error {
	switch c.Waiting {
	case "", waitingDeadLetter, waitingDiscard:
	default:
		return usageError{fmt.Errorf("--waiting %q: write %s or %s", c.Waiting, waitingDeadLetter, waitingDiscard)}
	}
	if !a.Interactive && !c.Yes && c.Waiting == "" {
		return errNobody
	}
	return a.withEndpoints(ctx, func(client *client, store *endpoint.Store) error {
		d, err := store.Get(ctx, c.Name)
		if _, broken := errors.AsType[*endpoint.BrokenError](err); err != nil && !broken {
			return err
		}
		if err != nil { // a broken one can be removed too
			d.Tenant, d.ID, err = endpoint.ParseName(c.Name)
		}
		if err != nil {
			return err
		}
		s, err := client.state(ctx, d)
		if err != nil {
			return err
		}
		discard, err := c.decide(a, s.Waiting.total())
		if err != nil {
			return err
		}
		if discard {
			return (&discarding{app: a, client: client, store: store, held: hold.NewStore(client.JS, client.Names), endpoint: d}).run(ctx)
		}
		if err := store.Remove(ctx, c.Name); err != nil {
			return err
		}
		fmt.Fprintf(a.Out, "%s removed\n", c.Name)
		if n := s.Waiting.total(); n > 0 {
			fmt.Fprintf(a.Out, "  the replicas make dead letters (endpoint_deleted) of what waits: %s\n", deliveries(n))
		}
		a.awaitReplicas(ctx, client)
		// Left until it is due, what is scheduled would become dead letters only then.
		// Now nobody attempts it any more.
		if _, err := hold.NewStore(client.JS, client.Names).Hurry(ctx, d.Tenant, d.ID); err != nil {
			return fmt.Errorf("the endpoint is removed, but what is scheduled for it becomes dead letters only when it is due: %w", err)
		}
		return nil
	})
}

// decide reports whether what waits is to be discarded, as the flags or the
// operator say.
func (c *endpointRemoveCmd) decide(a *app, n uint64) (discard bool, err error) {
	if c.Yes || c.Waiting != "" {
		return c.Waiting == waitingDiscard, nil
	}
	question := "Remove " + c.Name + "?"
	switch {
	case n == 1:
		question += " 1 delivery waits for it."
	case n > 1:
		question += " " + deliveries(n) + " wait for it."
	}
	ok, err := a.ask(question)
	if err == nil && !ok {
		err = errNotRemoved
	}
	if err != nil || n == 0 {
		return false, err
	}
	answer, err := a.answer("Make dead letters of what waits, or discard it? [DEAD-LETTER/discard]")
	if err != nil {
		return false, err
	}
	switch answer {
	case "", waitingDeadLetter:
		return false, nil
	case waitingDiscard:
		return true, nil
	}
	return false, fmt.Errorf("%q is neither %s nor %s: %w", answer, waitingDeadLetter, waitingDiscard, errNotRemoved)
}

const (
	// discardQuiet is how long no deliveries must have come. Attempts that were under
	// way may still end in a retry.
	discardQuiet = time.Second
	// discardTimes bounds for how many times as long deliveries are discarded that
	// still come, once none are brought any more that waited in order.
	discardTimes = 5
	discardEvery = 100 * time.Millisecond
)

// discarding removes an endpoint with all that waits for it.
type discarding struct {
	app      *app
	client   *client
	store    *endpoint.Store
	held     *hold.Store
	endpoint endpoint.Document
	total    uint64
}

// run pauses the endpoint first: of what is held for one that is removed, the
// replicas would make dead letters while it is being discarded. An ordered one is
// made an ordinary one, so that they hold its events too.
func (x *discarding) run(ctx context.Context) error {
	name := x.endpoint.Name()
	_, err := x.store.Update(ctx, name, func(d *endpoint.Document) error {
		d.Paused, d.Ordered, d.OnFailure = true, false, ""
		return nil
	})
	if _, broken := errors.AsType[*endpoint.BrokenError](err); err != nil && !broken {
		return err
	}
	x.app.awaitReplicas(ctx, x.client)
	var ordered uint64
	if err = x.account(ctx); err == nil {
		ordered, err = x.untilQuiet(ctx)
	}
	if err == nil {
		err = x.store.Remove(ctx, name)
	}
	if err != nil {
		now := "the endpoint is paused and not removed"
		if x.endpoint.Ordered {
			now = "the endpoint is paused, not ordered any more and not removed"
		}
		return x.explain(err, now)
	}
	fmt.Fprintf(x.app.Out, "%s removed\n", name)
	// What was held since, before and after each replica heard of it.
	_, err = x.once(ctx)
	if err == nil {
		x.app.awaitReplicas(ctx, x.client)
		_, err = x.once(ctx)
	}
	if err != nil {
		return x.explain(err, "what is left becomes dead letters")
	}
	fmt.Fprintf(x.app.Out, "%s discarded\n", deliveries(x.total))
	if ordered > 0 {
		return fmt.Errorf("%s more wait in order, and no replica moves them: they become dead letters (endpoint_deleted)", deliveries(ordered))
	}
	return nil
}

// untilQuiet discards until nothing comes any more and no event waits in order. What
// waits in order the replicas bring, as long as that takes; what comes beside it has
// its time. It returns how many events wait in order still when none are brought.
func (x *discarding) untilQuiet(ctx context.Context) (ordered uint64, err error) {
	every := time.NewTicker(discardEvery)
	defer every.Stop()
	quiet := cmp.Or(x.app.discardQuiet, discardQuiet)
	began := time.Now() // or since when no more are brought
	last := began
	fewest := uint64(math.MaxUint64)
	for time.Since(began) < discardTimes*quiet && time.Since(last) < quiet {
		n, err := x.once(ctx)
		if err == nil {
			var consumers map[string][]*jetstream.ConsumerInfo
			consumers, err = x.client.orderedConsumers(ctx)
			ordered = pendingIn(consumers[x.endpoint.Name()]...)
		}
		if err != nil {
			return ordered, err
		}
		if n+ordered > 0 {
			last = time.Now()
		}
		if ordered < fewest {
			fewest, began = ordered, time.Now()
		}
		select {
		case <-ctx.Done():
			return ordered, errors.New("interrupted")
		case <-every.C:
		}
	}
	return ordered, nil
}

// account keeps that what is missing was discarded, before it is. Where there is no
// attempt log there is nothing to be accounted for, and that is no reason to keep
// an endpoint.
func (x *discarding) account(ctx context.Context) error {
	return x.app.unlessNoLog(x.client, attempt.NewStore(x.client.JS, x.client.Names).Discard(ctx, x.endpoint.Tenant, x.endpoint.ID))
}

// unlessNoLog returns the error of keeping what is discarded, unless there is no log
// to keep it in, which it says.
func (a *app) unlessNoLog(client *client, err error) error {
	if errors.Is(err, attempt.ErrNoStream) {
		fmt.Fprintf(a.Err, "jethook audit will not know what is discarded: there is no stream %s (`jethook streams apply` makes it)\n", client.Names.Attempts())
		return nil
	}
	return err
}

func (x *discarding) once(ctx context.Context) (uint64, error) {
	n, err := x.held.Discard(ctx, x.endpoint.Tenant, x.endpoint.ID)
	x.total += n
	return n, err
}

// explain says how far it came.
func (x *discarding) explain(err error, now string) error {
	return fmt.Errorf("%s discarded, then: %w; %s", deliveries(x.total), err, now)
}
