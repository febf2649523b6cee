package main

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"net/http"
	"strconv"
	"strings"
	"time"
)

// sinkID is the one endpoint that the figures are taken with.
const sinkID = "sink"

// separate delivers stored events with nats-server as a process of its own.
func (b *bench) separate(ctx context.Context, name string) (result, error) {
	s, err := b.prepare(ctx, name, b.events)
	if err != nil {
		return result{}, err
	}
	defer s.close()
	return b.deliver(ctx, s, nil, b.events)
}

// embedded delivers stored events with the server inside jethook, which takes
// over the store.
func (b *bench) embedded(ctx context.Context, name string) (result, error) {
	s, err := b.prepare(ctx, name, b.events)
	if err != nil {
		return result{}, err
	}
	defer s.close()
	if err := s.nats.stop(); err != nil {
		return result{}, err
	}
	s.nats = nil
	return b.deliver(ctx, s, []string{"JETHOOK_DATA_DIR=" + s.dir(), "JETHOOK_NATS_LISTEN=127.0.0.1:0"}, b.events)
}

// publishing delivers events while they are being published, at half the speed
// of the yardstick: more than jethook keeps up with.
func (b *bench) publishing(ctx context.Context, name string) (result, error) {
	return b.meanwhile(ctx, name, load{Subjects: []string{subject("bench", "order.created")}, Count: b.events})
}

// latency publishes 100 events a second.
func (b *bench) latency(ctx context.Context, name string) (result, error) {
	const rate = 100
	res, err := b.meanwhile(ctx, name, load{Subjects: []string{subject("bench", "order.created")},
		Count: int(b.latencyFor.Seconds() * rate), Rate: rate})
	if err != nil {
		return res, err
	}
	res.PerSecond, res.CPUPerEvent = 0, 0 // bounded by the publisher, and idle for the most part
	c, err := b.ask(ctx, sinkID)
	res.P50, res.P99 = c.P50, c.P99
	return res, err
}

// meanwhile delivers events while they are being published.
func (b *bench) meanwhile(ctx context.Context, name string, l load) (result, error) {
	s, err := b.prepare(ctx, name, 0)
	if err != nil {
		return result{}, err
	}
	defer s.close()
	published := s.publishing(ctx, l)
	res, err := b.deliver(ctx, s, nil, l.Count)
	return res, errors.Join(err, published())
}

// replay fills the dead-letter queue and drains it, with nats-server as it is,
// or with every publish on the disk before it is acknowledged.
func (b *bench) replay(ctx context.Context, name string) (res result, err error) {
	n := b.events / 2
	s, err := b.prepare(ctx, name, n)
	if err != nil {
		return res, err
	}
	defer s.close()
	if err := b.tell(ctx, sinkID, "400"); err != nil {
		return res, err
	}
	if _, err := b.deliver(ctx, s, nil, n); err != nil {
		return res, err
	}
	before, err := s.nats.cpu()
	if err != nil {
		return res, err
	}
	start := time.Now()
	if _, err := b.command(ctx, s.env(), "replay", "--yes"); err != nil {
		return res, err
	}
	took := time.Since(start)
	after, err := s.nats.cpu()
	return result{PerSecond: float64(n) / took.Seconds(), NoRequests: true, CPUPerEvent: (after - before) / time.Duration(n)}, err
}

// prepare starts a system with one endpoint and stores events in it.
func (b *bench) prepare(ctx context.Context, name string, events int) (*system, error) {
	s, err := b.system(ctx, name)
	if err != nil {
		return nil, err
	}
	err = s.apply(ctx, "", sink{tenant: "bench", id: sinkID, events: ">"})
	if err == nil && events > 0 {
		err = s.publish(ctx, load{Subjects: []string{subject("bench", "order.created")}, Count: events})
	}
	if err != nil {
		s.close()
		return nil, err
	}
	return s, nil
}

// deliver runs jethook, with the system's server or the one inside it, until
// the sink has n requests, and measures.
func (b *bench) deliver(ctx context.Context, s *system, env []string, n int) (res result, err error) {
	if s.nats != nil {
		env = append(env, s.env()...)
	}
	port, err := freePort(ctx)
	if err != nil {
		return res, err
	}
	j, err := s.start(ctx, append(env, "JETHOOK_HTTP_ADDR=127.0.0.1:"+port))
	if err != nil {
		return res, err
	}
	defer func() { err = errors.Join(err, j.stop()) }()
	all := []*process{j}
	if s.nats != nil {
		all = append(all, s.nats)
	}
	before, err := used(all)
	if err != nil {
		return res, err
	}
	c, err := b.requested(ctx, n, j)
	if err != nil {
		return res, err
	}
	after, err := used(all)
	if err != nil {
		return res, err
	}
	res = result{PerSecond: float64(n) / c.Last.Sub(c.First).Seconds(), Repeated: c.Requests - int64(n)}
	res.CPUPerEvent = (after - before) / time.Duration(n)
	if res.Held, err = metric(ctx, port, "jethook_held_deliveries_total"); err != nil {
		return res, err
	}
	if res.PeakMiB, err = j.memory("VmHWM"); err != nil {
		return res, err
	}
	if err := pause(ctx, 2*time.Second); err != nil { // at rest: nothing left to do
		return res, err
	}
	res.RestMiB, err = j.memory("VmRSS")
	return res, err
}

// requested waits until the sink has n requests, whatever it answered.
func (b *bench) requested(ctx context.Context, n int, j *process) (c counts, err error) {
	deadline := time.Now().Add(3 * time.Minute)
	for {
		if c, err = b.ask(ctx, sinkID); err != nil || c.Requests >= int64(n) {
			return c, err
		}
		if time.Now().After(deadline) {
			return c, fmt.Errorf("%d of %d events arrived in time: %s", c.Requests, n, tail(j.log.Name()))
		}
		if err := pause(ctx, 50*time.Millisecond); err != nil {
			return c, err
		}
	}
}

// metric reads one of a replica's metrics that has no labels.
func metric(ctx context.Context, port, name string) (float64, error) {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, "http://127.0.0.1:"+port+"/metrics", nil)
	if err != nil {
		return 0, err
	}
	res, err := http.DefaultClient.Do(req)
	if err != nil {
		return 0, err
	}
	defer res.Body.Close()
	lines := bufio.NewScanner(res.Body)
	for lines.Scan() {
		if text, found := strings.CutPrefix(lines.Text(), name+" "); found {
			return strconv.ParseFloat(text, 64)
		}
	}
	return 0, errors.Join(lines.Err(), fmt.Errorf("no metric %s", name))
}

func used(all []*process) (total time.Duration, err error) {
	for _, p := range all {
		cpu, err := p.cpu()
		if err != nil {
			return 0, err
		}
		total += cpu
	}
	return total, nil
}
