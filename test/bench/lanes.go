package main

import (
	"context"
	"errors"
	"time"
)

// lanes shows that a backlog in one lane does not delay another: first without
// the backlog, then with it.
func (b *bench) lanes(ctx context.Context, p *proof) error {
	s, err := b.system(ctx, p.Name)
	if err != nil {
		return err
	}
	defer s.close()
	bulk := sink{tenant: "acme", id: "newsletter", events: "bulk.x"}
	auth := sink{tenant: "acme", id: "login", events: "auth.reset"}
	if err := s.apply(ctx, "lanes:\n- {id: bulk, filters: ['*.bulk.>']}\n- {id: urgent, filters: ['*.auth.>']}\n", bulk, auth); err != nil {
		return err
	}
	// As quick as good receivers are: as many as go at a time take so long that the
	// backlog outlasts the window, and the processor has something left for the
	// other lane.
	if err := b.tell(ctx, bulk.id, "50ms"); err != nil {
		return err
	}
	if err := s.serve(ctx, 1); err != nil {
		return err
	}
	without, err := b.logins(ctx, s, auth, b.window)
	if err != nil {
		return err
	}
	const backlog = 100_000
	if err := s.publish(ctx, load{Subjects: []string{subject(bulk.tenant, bulk.events)}, Count: backlog}); err != nil {
		return err
	}
	// While the flood is read and held it takes the processor, of which there is
	// one for everything here: told, and not judged.
	flood, err := b.logins(ctx, s, auth, b.window/4)
	if err != nil {
		return err
	}
	if err := s.taken(ctx, 2*time.Minute); err != nil {
		return err
	}
	with, err := b.logins(ctx, s, auth, b.window)
	if err != nil {
		return err
	}
	c, err := b.ask(ctx, bulk.id)
	if err != nil {
		return err
	}
	p.series("p50, without and with the backlog", []float64{milliseconds(without.P50), milliseconds(with.P50)}, "ms")
	p.series("p99, without and with the backlog", []float64{milliseconds(without.P99), milliseconds(with.P99)}, "ms")
	p.series("p50 and p99 while the backlog was being read", []float64{milliseconds(flood.P50), milliseconds(flood.P99)}, "ms")
	p.atMost("p99, ratio", float64(with.P99)/float64(without.P99), "", 1.5)
	p.atLeast("backlog left when the last had come", float64(backlog-c.Distinct), "", 1)
	return nil
}

// logins publishes 100 events a second to an endpoint for a while.
func (b *bench) logins(ctx context.Context, s *system, e sink, window time.Duration) (c counts, err error) {
	const rate = 100
	n := int(rate * window.Seconds())
	if err := b.forget(ctx, e.id); err != nil {
		return c, err
	}
	published := s.publishing(ctx, load{Subjects: []string{subject(e.tenant, e.events)}, Count: n, Rate: rate})
	c, err = b.arrived(ctx, n, window+time.Minute, e.id)
	if err == nil && c.Distinct < int64(n) {
		err = errors.New("events did not arrive within a minute: " + tail(s.replicas[0].log.Name()))
	}
	return c, errors.Join(err, published())
}
