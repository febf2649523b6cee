package main

import (
	"context"
	"time"

	"jethook/pkg/endpoint"
)

const (
	demoHeld     = 12 // events that are published while their endpoint is paused
	demoHeldType = "ticket.opened"
)

// pauseAndResume pauses the receiver that is well, publishes what only that one
// wants, and resumes it.
func (d *demo) pauseAndResume(ctx context.Context) (demoTally, error) {
	r, before := d.receivers[0], d.wanted[0]
	d.step(6, r.name()+" is paused for a moment: what is for it is held, and comes later.")
	if err := d.setPaused(ctx, r.name(), true); err != nil {
		return demoTally{}, err
	}
	d.wanted[0] += demoHeld
	for i := range demoHeld {
		if err := d.publishOne(ctx, before+i+1, demoHeldType, `{"ticket":%d}`); err != nil {
			return demoTally{}, err
		}
	}
	t, err := d.until(ctx, func(t demoTally) bool { return t.unread == 0 && t.endpoints[0].held == demoHeld })
	if err != nil {
		return t, err
	}
	d.say("  Paused (`jethook endpoint pause %s`): of %d events, %d came, %d are held.", r.name(), demoHeld, t.endpoints[0].delivered-before, t.endpoints[0].held)
	if err := d.breathe(ctx); err != nil {
		return t, err
	}
	began := time.Now()
	if err := d.setPaused(ctx, r.name(), false); err != nil {
		return t, err
	}
	t, err = d.until(ctx, demoTally.settled)
	if err == nil {
		d.say("  Resumed (`jethook endpoint resume %s`): %d came, within %s.", r.name(), t.endpoints[0].delivered-before, milliseconds(r.seen().last.Sub(began)))
	}
	return t, err
}

func (d *demo) setPaused(ctx context.Context, name string, paused bool) error {
	_, err := d.endpoints.Update(ctx, name, func(e *endpoint.Document) error { e.Paused = paused; return nil })
	return err
}
