package main

import (
	"context"
	"fmt"
	"time"
)

// neighbours are one tenant's endpoints, of which the last three get into
// trouble, and one of another tenant.
const (
	neighbours = 10
	inTrouble  = 3
	stranger   = "stranger"
	eachRate   = 200 // events a second for each of them
)

// isolation shows what a black hole, an endpoint that answers 503, and one that
// takes two seconds do to the endpoints beside them. It measures without the
// three before and after: the machine is what it is.
func (b *bench) isolation(ctx context.Context, p *proof) error {
	before, err := b.neighbours(ctx, "isolation-before")
	if err != nil {
		return err
	}
	among, err := b.neighbours(ctx, "isolation", "hang", "503", "2s")
	if err != nil {
		return err
	}
	after, err := b.neighbours(ctx, "isolation-after")
	if err != nil {
		return err
	}
	p.series("healthy endpoints, before and after", []float64{before.rate, after.rate}, "events/s")
	p.note("healthy endpoints, among the three", among.rate, "events/s")
	p.atLeast("throughput kept", among.rate/mean(before.rate, after.rate), "", .95)
	p.series("p50, before and after", []float64{before.p50, after.p50}, "ms")
	p.note("p50, among the three", among.p50, "ms")
	p.series("p99, before and after", []float64{before.p99, after.p99}, "ms")
	p.note("p99, among the three", among.p99, "ms")
	p.atMost("p99, ratio", among.p99/mean(before.p99, after.p99), "", 1.5)
	p.series("p99 of the other tenant, before and after", []float64{before.stranger, after.stranger}, "ms")
	p.note("p99 of the other tenant, among the three", among.stranger, "ms")
	p.atMost("p99 of the other tenant, ratio", among.stranger/mean(before.stranger, after.stranger), "", 1.5)
	p.atMost("not delivered to healthy endpoints", among.missing, "", 0)
	return nil
}

func mean(a, b float64) float64 { return (a + b) / 2 }

// seen is what the healthy neighbours saw: a rate within the window, and
// latencies in milliseconds.
type seen struct{ rate, p50, p99, stranger, missing float64 }

// neighbours publishes to all of them at an even rate in a fresh system. The
// modes are those of the last endpoints, from the moment on at which the window
// begins: all were well for two seconds, so that the first connections are made.
func (b *bench) neighbours(ctx context.Context, name string, modes ...string) (v seen, err error) {
	s, err := b.system(ctx, name)
	if err != nil {
		return v, err
	}
	defer s.close()
	sinks, subjects := neighbourhood()
	if err := s.apply(ctx, "", sinks...); err != nil {
		return v, err
	}
	if err := s.serve(ctx, 1); err != nil {
		return v, err
	}
	rate := eachRate * len(sinks)
	var ids []string
	for _, e := range sinks {
		ids = append(ids, e.id)
	}
	if err := s.publish(ctx, load{Subjects: subjects, Count: 2 * rate, Rate: rate}); err != nil {
		return v, err
	}
	if _, err := b.arrived(ctx, 2*rate, 10*time.Second, ids...); err != nil {
		return v, err
	}
	if err := b.forget(ctx); err != nil {
		return v, err
	}
	for i, mode := range modes {
		if err := b.tell(ctx, ids[neighbours-inTrouble+i], mode); err != nil {
			return v, err
		}
	}
	return b.watch(ctx, s, ids, load{Subjects: subjects, Count: int(float64(rate) * b.window.Seconds()), Rate: rate})
}

// neighbourhood lists the endpoints, and the subjects of their events.
func neighbourhood() (sinks []sink, subjects []string) {
	for i := range neighbours {
		sinks = append(sinks, sink{tenant: "acme", id: fmt.Sprintf("n%d", i), events: fmt.Sprintf("e%d", i)})
	}
	sinks = append(sinks, sink{tenant: "other", id: stranger, events: "e0"})
	for _, e := range sinks {
		subjects = append(subjects, subject(e.tenant, e.events))
	}
	return sinks, subjects
}

// watch publishes for a window and says what the healthy ones saw of it.
func (b *bench) watch(ctx context.Context, s *system, ids []string, l load) (v seen, err error) {
	start := time.Now()
	if err := s.publish(ctx, l); err != nil {
		return v, err
	}
	healthy, each := ids[:neighbours-inTrouble], l.Count/len(ids)
	all := each * len(healthy)
	c, err := b.arrived(ctx, all, 15*time.Second, healthy...)
	if err != nil {
		return v, err
	}
	other, err := b.arrived(ctx, each, 15*time.Second, stranger)
	if err != nil {
		return v, err
	}
	return seen{
		rate: float64(c.in(start, b.window)) / b.window.Seconds(),
		p50:  milliseconds(c.P50), p99: milliseconds(c.P99), stranger: milliseconds(other.P99),
		missing: float64(int64(all+each) - c.Distinct - other.Distinct),
	}, nil
}
