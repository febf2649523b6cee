package main

import (
	"context"
	"fmt"
	"time"
)

// rate shows that three replicas keep an endpoint's rate limit together, and
// that two do when one is killed.
func (b *bench) rate(ctx context.Context, p *proof) error {
	s, err := b.system(ctx, p.Name)
	if err != nil {
		return err
	}
	defer s.close()
	limited := sink{tenant: "bench", id: "limited", events: "a", more: ", rate_limit: {per_second: 50, burst: 5}"}
	if err := s.apply(ctx, "", limited); err != nil {
		return err
	}
	if err := s.serve(ctx, 3); err != nil {
		return err
	}
	if err := pause(ctx, 3*time.Second); err != nil { // they know each other by then
		return err
	}
	watched := b.window * 3 / 2
	backlog := int(50 * (watched*5/2 + 25*time.Second).Seconds()) // more than there is time for
	if err := s.publish(ctx, load{Subjects: []string{subject(limited.tenant, limited.events)}, Count: backlog}); err != nil {
		return err
	}
	// The burst is not part of the lasting rate.
	first := time.Now().Add(2 * time.Second)
	if err := pause(ctx, time.Until(first.Add(watched+watched/2))); err != nil {
		return err
	}
	s.replicas[0].kill()
	killed := time.Now()
	s.replicas = s.replicas[1:]
	again := killed.Add(6 * time.Second)
	if err := pause(ctx, time.Until(again.Add(watched+bucket))); err != nil {
		return err
	}
	c, err := b.ask(ctx, limited.id)
	if err != nil {
		return err
	}
	// A window that begins just so holds one more of each replica.
	most := 50 + 3/watched.Seconds()
	rate := func(from time.Time, span time.Duration) float64 { return float64(c.in(from, span)) / span.Seconds() }
	p.between(fmt.Sprintf("three replicas, over %s", watched), rate(first, watched), "/s", 47, most)
	p.note("in the 6 s after one was killed", rate(killed, 6*time.Second), "/s")
	p.between(fmt.Sprintf("two replicas, over %s", watched), rate(again, watched), "/s", 47, most)
	p.atMost("most in any second, burst and kill included", float64(c.MostInASecond), "", 55)
	p.note("repeated", float64(c.Requests-c.Distinct), "")
	p.note("backlog left", float64(int64(backlog)-c.Distinct), "")
	return nil
}
