package main

import (
	"context"
	"errors"
	"fmt"
	"time"
)

// outage takes two endpoints down at a time, one that answers 503 and one that
// does not answer, each with 200 events a second, and brings them back.
func (b *bench) outage(ctx context.Context, p *proof, replicas int) error {
	s, err := b.system(ctx, p.Name)
	if err != nil {
		return err
	}
	defer s.close()
	const rate = 200
	refusing := sink{tenant: "one", id: "refusing", events: "a"}
	hanging := sink{tenant: "two", id: "hanging", events: "a", more: ", timeout: 5s"}
	if err := s.apply(ctx, "", refusing, hanging); err != nil {
		return err
	}
	if err := s.serve(ctx, replicas); err != nil {
		return err
	}
	around, down := b.window/2, 3*b.window
	each := int(rate * (around + down + around).Seconds())
	published := s.publishing(ctx, load{Count: 2 * each, Rate: 2 * rate,
		Subjects: []string{subject(refusing.tenant, "a"), subject(hanging.tenant, "a")}})
	up, err := b.downFor(ctx, around, down)
	if err != nil {
		return err
	}
	// What fails is waited for longer than the target allows, to see how long it
	// takes.
	_, err = b.arrived(ctx, 2*each, around+90*time.Second, refusing.id, hanging.id)
	if err := errors.Join(err, published()); err != nil {
		return err
	}
	for _, o := range []struct {
		id, what string
		status   int // of the answers while it was down
	}{{refusing.id, "503", 503}, {hanging.id, "black hole", 0}} {
		c, err := b.ask(ctx, o.id)
		if err != nil {
			return err
		}
		p.outage(o.what, c, o.status, up, each)
	}
	dead, err := s.dead(ctx)
	p.atMost("dead letters", dead, "", 0)
	return err
}

// downFor lets a time pass, takes both endpoints down, brings them up again
// and returns when.
func (b *bench) downFor(ctx context.Context, before, down time.Duration) (up time.Time, err error) {
	for _, step := range []struct {
		wait              time.Duration
		refusing, hanging string
	}{{before, "503", "hang"}, {down, "ok", "ok"}} {
		if err := pause(ctx, step.wait); err != nil {
			return up, err
		}
		err := errors.Join(b.tell(ctx, "refusing", step.refusing), b.tell(ctx, "hanging", step.hanging))
		if err != nil {
			return up, err
		}
	}
	return time.Now(), nil
}

// outage adds what one endpoint saw of its outage.
func (p *proof) outage(what string, c counts, status int, up time.Time, events int) {
	const maxInFlight = 64 // the default
	say := func(name string) string { return fmt.Sprintf("%s: %s", what, name) }
	p.atMost(say("calls while down"), float64(c.Answered[status]), "", 40)
	p.atMost(say("attempts per event"), float64(c.Requests)/float64(events), "", 1.02)
	p.atMost(say("not delivered"), float64(int64(events)-c.Distinct), "", 0)
	p.atMost(say("last delivered after recovery"), c.Delivered.Sub(up).Seconds(), "s", 30)
	p.atMost(say("most at a time"), float64(c.MostInFlight), "", maxInFlight)
	seconds := c.recovery(up)
	p.series(say("calls in each second of recovery"), seconds, "")
	peak := 0
	for i, n := range seconds {
		if n > seconds[peak] {
			peak = i
		}
	}
	growing := peak > 0 // and not at its height at once
	for i := range peak {
		growing = growing && seconds[i+1] >= .9*seconds[i] // a busy machine is not that even
	}
	p.judge(finding{Name: say("seconds until its height"), Value: float64(peak), Target: "growing until then"}, growing)
}

// recovery counts the requests of each whole second from the first one behind a
// moment on, up to the last new event.
func (c counts) recovery(since time.Time) (seconds []float64) {
	first := since
	for c.in(first, bucket) == 0 && first.Before(c.Delivered) {
		first = first.Add(bucket)
	}
	for at := first; c.Delivered.Sub(at) > time.Second; at = at.Add(time.Second) {
		seconds = append(seconds, float64(c.in(at, time.Second)))
	}
	return seconds
}
