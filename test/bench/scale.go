package main

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/nats-io/nats.go/jetstream"

	"jethook/pkg/endpoint"
	"jethook/pkg/signature"
)

// scale compares very many endpoints with one, all of them in one replica, in
// throughput and in memory. It measures the one right before and right after each
// of the others: a machine that others use, too, does not stay as fast as it was.
func (b *bench) scale(ctx context.Context, p *proof) error {
	one := func(name string) (rate, rest float64, err error) { return b.fleet(ctx, p, "scale-"+name, 1, 1) }
	before, empty, err := one("one")
	if err != nil {
		return err
	}
	for _, each := range []int{1000, 10} {
		each = min(each, b.endpoints)
		tenants := b.endpoints / each
		what := fmt.Sprintf("%d tenants with %d each: ", tenants, each)
		many, rest, err := b.fleet(ctx, p, fmt.Sprintf("scale-%d", tenants), tenants, each)
		if err != nil {
			return err
		}
		after, _, err := one(fmt.Sprintf("one-after-%d", tenants))
		if err != nil {
			return err
		}
		p.atMost(what+"memory at rest for each endpoint", perEndpoint(rest, empty, tenants*each), "bytes", 2048)
		p.series(what+"one endpoint, before and after", []float64{before, after}, "events/s")
		p.note(what+"throughput", many, "events/s")
		p.atLeast(what+"throughput, ratio", many/mean(before, after), "", .8)
		before = after
	}
	return nil
}

func perEndpoint(rest, empty float64, n int) float64 { return (rest - empty) * (1 << 20) / float64(n) }

// fleet registers endpoints and measures a replica: its memory at rest, and then
// the rate at which another delivers events that are spread over all of them, the
// better of two.
func (b *bench) fleet(ctx context.Context, p *proof, name string, tenants, each int) (rate, rest float64, err error) {
	s, err := b.system(ctx, name)
	if err != nil {
		return 0, 0, err
	}
	defer s.close()
	subjects, err := s.register(ctx, tenants, each)
	if err != nil {
		return 0, 0, err
	}
	if rest, err = s.atRest(ctx, p); err != nil {
		return 0, 0, err
	}
	peak := 0.0
	for range 2 {
		if err := b.forget(ctx, sinkID); err != nil {
			return 0, 0, err
		}
		if err := s.publish(ctx, load{Subjects: subjects, Count: b.events}); err != nil {
			return 0, 0, err
		}
		res, err := b.deliver(ctx, s, nil, b.events)
		if err != nil {
			return 0, 0, err
		}
		rate, peak = max(rate, res.PerSecond), max(peak, res.PeakMiB)
	}
	p.note(name+": peak while delivering", peak, "MiB")
	return rate, rest, nil
}

// register writes documents straight into the bucket, as a command would have
// stored them one by one, and returns the subjects of the endpoints' events.
func (s *system) register(ctx context.Context, tenants, each int) (subjects []string, err error) {
	js, err := jetstream.New(s.conn, jetstream.WithPublishAsyncMaxPending(1024))
	if err != nil {
		return nil, err
	}
	acks := make([]jetstream.PubAckFuture, 0, tenants*each)
	for i := range tenants * each {
		d := endpoint.NewDocument()
		d.Tenant, d.ID = fmt.Sprintf("t%d", i%tenants), fmt.Sprintf("e%d", i/tenants)
		d.URL = fmt.Sprintf("%s/e/%s?endpoint=%s", s.bench.url, sinkID, d.Name())
		d.Events, d.Secrets = []string{d.ID}, []endpoint.SigningSecret{{Secret: signature.NewSecret()}}
		data, err := endpoint.Encode(d)
		if err != nil {
			return nil, err
		}
		ack, err := js.PublishAsync("$KV.webhooks_endpoints."+d.Tenant+"."+d.ID, data, jetstream.WithStallWait(time.Minute))
		if err != nil {
			return nil, err
		}
		acks, subjects = append(acks, ack), append(subjects, subject(d.Tenant, d.ID))
	}
	for _, ack := range acks {
		select {
		case <-ctx.Done():
			return nil, ctx.Err()
		case err := <-ack.Err():
			return nil, err
		case <-ack.Ok():
		}
	}
	return subjects, nil
}

// atRest runs a replica without events for a while and returns its memory in
// MiB. Longer would not tell more: the Go runtime keeps what it expects to need.
func (s *system) atRest(ctx context.Context, p *proof) (rest float64, err error) {
	start := time.Now()
	if err := s.serve(ctx, 1); err != nil {
		return 0, err
	}
	p.note(s.name+": ready after", time.Since(start).Seconds(), "s")
	if err := pause(ctx, 10*time.Second); err != nil {
		return 0, err
	}
	r := s.replicas[0]
	s.replicas = nil
	rest, err = r.memory("VmRSS")
	p.note(s.name+": at rest", rest, "MiB")
	return rest, errors.Join(err, r.stop())
}
