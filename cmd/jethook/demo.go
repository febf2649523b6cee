package main

import (
	"context"
	"errors"
	"fmt"
)

// demoCmd is `jethook demo`.
type demoCmd struct {
	Keep   bool `help:"Keep everything running afterwards, to look around, until Ctrl-C."`
	Events int  `default:"60" placeholder:"N" help:"How many events to publish (${default})."`
}

// Help adds to what --help prints.
func (*demoCmd) Help() string {
	return "Everything runs in this process, on free ports of this machine, and is gone afterwards. It takes about fifteen seconds, and exits with 1 if anything was lost."
}

// mostDemoEvents keeps the demo a demo; `jethook publish --count` makes load.
const mostDemoEvents = 1000

// Run tells the story, checks what it claims, and removes what it made.
func (c *demoCmd) Run(ctx context.Context, a *app) (err error) {
	switch {
	case c.Events < 1 || c.Events > mostDemoEvents:
		return usageError{fmt.Errorf("--events %d: the demo publishes 1 to %d", c.Events, mostDemoEvents)}
	case a.flags != natsFlags{}:
		return usageError{errors.New("the demo brings a NATS server of its own: leave the flags that name one out")}
	}
	ctx, fail := context.WithCancelCause(ctx)
	defer fail(nil)
	var log demoLog
	defer func() {
		if err != nil {
			fmt.Fprint(a.Err, log.text())
		}
	}()
	w, err := startDemo(ctx, fail, &log)
	defer func() { err = errors.Join(err, w.stop()) }()
	if err != nil {
		return demoEnd(ctx, err)
	}
	d := &demo{demoWorld: w, app: a, events: c.Events}
	if err := d.story(ctx); err != nil {
		return demoEnd(ctx, err)
	}
	if c.Keep {
		return d.keep(ctx)
	}
	return nil
}

// demoEnd says why the story ended early: what was under way when its context
// ended failed because of that.
func demoEnd(ctx context.Context, err error) error {
	switch cause := context.Cause(ctx); {
	case cause == nil:
		return err
	case errors.Is(cause, context.Canceled):
		return errors.New("interrupted")
	default:
		return cause
	}
}

// demo tells the story of what happens in its world.
type demo struct {
	*demoWorld
	*app
	events int
}

// story is the demo, step by step.
func (d *demo) story(ctx context.Context) error {
	d.introduce()
	if err := d.breathe(ctx); err != nil {
		return err
	}
	if err := d.publishAll(ctx); err != nil {
		return err
	}
	settled, err := d.showOutcome(ctx)
	if err != nil {
		return err
	}
	if err := d.breathe(ctx); err != nil {
		return err
	}
	if err := d.showLetters(ctx, settled.dead()); err != nil {
		return err
	}
	if err := d.breathe(ctx); err != nil {
		return err
	}
	if err := d.replayAll(ctx); err != nil {
		return err
	}
	if err := d.breathe(ctx); err != nil {
		return err
	}
	final, err := d.pauseAndResume(ctx)
	if err != nil {
		return err
	}
	if err := d.account(ctx); err != nil {
		return err
	}
	return d.conclude(final)
}
