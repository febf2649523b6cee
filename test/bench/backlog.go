package main

import (
	"context"
	"time"
)

// backlog holds very many deliveries for a dead endpoint, looks what that does
// to a healthy one, and brings the dead one back.
func (b *bench) backlog(ctx context.Context, p *proof) error {
	s, err := b.system(ctx, p.Name)
	if err != nil {
		return err
	}
	defer s.close()
	dead := sink{tenant: "ill", id: "dead", events: "a", more: ", max_in_flight: 256"}
	if err := s.apply(ctx, "", healthy, dead); err != nil {
		return err
	}
	if err := b.tell(ctx, dead.id, "503"); err != nil {
		return err
	}
	if err := s.serve(ctx, 1); err != nil {
		return err
	}
	before, err := s.throughput(ctx, healthy, b.events/2)
	if err != nil {
		return err
	}
	start := time.Now()
	if err := s.publish(ctx, load{Subjects: []string{subject(dead.tenant, dead.events)}, Count: b.held}); err != nil {
		return err
	}
	if err := s.taken(ctx, 8*time.Minute); err != nil {
		return err
	}
	p.note("taken while being published", float64(b.held)/time.Since(start).Seconds(), "/s")
	if err := p.stored(ctx, s, "held", b.held); err != nil {
		return err
	}
	beside, err := s.throughput(ctx, healthy, b.events/2)
	if err != nil {
		return err
	}
	if err := b.recovered(ctx, p, dead.id); err != nil {
		return err
	}
	// A machine that others use as well changes its pace within minutes.
	after, err := s.throughput(ctx, healthy, b.events/2)
	if err != nil {
		return err
	}
	p.beside("the backlog", beside, before, after)
	return p.memory(s)
}

// recovered brings the dead endpoint back and measures how it gets what was
// held.
func (b *bench) recovered(ctx context.Context, p *proof, id string) error {
	if err := b.forget(ctx, id); err != nil {
		return err
	}
	up := time.Now()
	if err := b.tell(ctx, id, "ok"); err != nil {
		return err
	}
	c, err := b.arrived(ctx, b.held, 5*time.Minute, id)
	if err != nil {
		return err
	}
	p.atMost("held and not delivered", float64(int64(b.held)-c.Distinct), "", 0)
	p.note("first attempt after recovery", c.First.Sub(up).Seconds(), "s")
	p.note("all delivered after recovery", c.Delivered.Sub(up).Seconds(), "s")
	p.atLeast("delivered from the first attempt on", c.perSecond(), "/s", 10_000)
	const ramp = 10 * time.Second
	if rest := c.Delivered.Sub(c.First.Add(ramp)).Truncate(bucket); rest > 0 {
		p.note("delivered behind the first 10 s", float64(c.in(c.First.Add(ramp), rest))/rest.Seconds(), "/s")
	}
	p.series("calls in each second of recovery", c.recovery(up), "")
	p.note("attempts per event", float64(c.Requests)/float64(b.held), "")
	return nil
}

// stored asks that nearly all deliveries that cannot be made lie in NATS.
func (p *proof) stored(ctx context.Context, s *system, what string, n int) error {
	found, err := s.stored(ctx)
	p.atLeast("deliveries that are "+what, found, "", float64(n)*.99)
	return err
}

// beside compares a healthy endpoint's throughput beside something with what it was
// without.
func (p *proof) beside(what string, beside float64, without ...float64) {
	p.series("healthy endpoint without "+what, without, "events/s")
	p.note("healthy endpoint beside "+what, beside, "events/s")
	sum := 0.0
	for _, v := range without {
		sum += v
	}
	p.atLeast("throughput kept", beside*float64(len(without))/sum, "", .9)
}

// memory asks that the replicas stayed small.
func (p *proof) memory(s *system) error {
	peak, err := s.peak()
	p.atMost("peak memory of a replica", peak, "MiB", 300)
	return err
}
