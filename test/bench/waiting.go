package main

import (
	"context"
	"errors"
	"fmt"
	"time"
)

// waitingRetries lets very many deliveries wait for a retry an hour later, and
// looks what that does to a healthy endpoint. The one that fails them answers
// twice as many others well, so that its gate has no reason to open. (As many
// would not do: by chance 60 of 100 in a row are failures now and then.) It
// measures without them before and, with another server, after.
func (b *bench) waitingRetries(ctx context.Context, p *proof) error {
	before, beside, err := b.besideRetries(ctx, p)
	if err != nil {
		return err
	}
	s, err := b.system(ctx, p.Name+"-again")
	if err != nil {
		return err
	}
	defer s.close()
	after, err := s.alone(ctx)
	if err != nil {
		return err
	}
	p.beside("those that wait", beside, before, after)
	return nil
}

// healthy is the endpoint that others are not to harm; moody is one that does.
var (
	healthy = sink{tenant: "well", id: "healthy", events: "a"}
	moody   = sink{tenant: "ill", id: "moody", events: ">", more: ", retry: {schedule: [1h]}"}
)

// alone serves both endpoints, and returns the rate of one without events for the other.
func (s *system) alone(ctx context.Context) (perSecond float64, err error) {
	if err := s.apply(ctx, "", healthy, moody); err != nil {
		return 0, err
	}
	if err := s.serve(ctx, 1); err != nil {
		return 0, err
	}
	return s.throughput(ctx, healthy, s.bench.events/2)
}

// besideRetries returns the healthy one's rate before and while the others wait.
func (b *bench) besideRetries(ctx context.Context, p *proof) (before, beside float64, err error) {
	s, err := b.system(ctx, p.Name)
	if err != nil {
		return 0, 0, err
	}
	defer s.close()
	if err := b.tell(ctx, moody.id, "by-type"); err != nil {
		return 0, 0, err
	}
	if before, err = s.alone(ctx); err != nil {
		return 0, 0, err
	}
	start := time.Now()
	well, badly := subject(moody.tenant, "ok.a"), subject(moody.tenant, "fail.a")
	published := s.publishing(ctx, load{Subjects: []string{well, badly, well}, Count: 3 * b.waiting})
	c, err := b.arrived(ctx, 2*b.waiting, 5*time.Minute, moody.id)
	if err := errors.Join(err, published()); err != nil {
		return 0, 0, err
	}
	if c.Distinct < int64(2*b.waiting) {
		return 0, 0, fmt.Errorf("%d of %d events that succeed arrived in time: %s", c.Distinct, 2*b.waiting, tail(s.replicas[0].log.Name()))
	}
	if err := s.taken(ctx, 5*time.Minute); err != nil {
		return 0, 0, err
	}
	p.note("attempted while being published", 3*float64(b.waiting)/time.Since(start).Seconds(), "/s")
	if err := p.stored(ctx, s, "waiting", b.waiting); err != nil {
		return 0, 0, err
	}
	if beside, err = s.throughput(ctx, healthy, b.events/2); err != nil {
		return 0, 0, err
	}
	return before, beside, p.memory(s)
}
