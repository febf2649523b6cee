package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
)

// system is a nats-server with a store and a topology of its own, and the
// replicas that were started on it.
type system struct {
	bench    *bench
	name     string
	url      string
	nats     *process
	replicas []*process
	conn     *nats.Conn
	js       jetstream.JetStream
}

// system starts one, without replicas, and makes the receiver forget what came
// before.
func (b *bench) system(ctx context.Context, name string) (*system, error) {
	if err := b.forget(ctx); err != nil {
		return nil, err
	}
	port, err := freePort(ctx)
	if err != nil {
		return nil, err
	}
	s := &system{bench: b, name: name, url: "nats://127.0.0.1:" + port}
	sync := "2m" // nats-server's default
	if name == "replay-synced" {
		sync = "always"
	}
	config := b.path(name + ".conf")
	text := fmt.Sprintf("listen: 127.0.0.1:%s\njetstream { store_dir: %q, sync_interval: %s }\n", port, filepath.Join(s.dir(), "nats"), sync)
	if err := os.WriteFile(config, []byte(text), 0o600); err != nil {
		return nil, err
	}
	if s.nats, err = b.start(ctx, name+"-nats", nil, b.nats, "-c", config); err != nil {
		return nil, err
	}
	if err := s.connect(ctx); err != nil {
		s.close()
		return nil, err
	}
	return s, nil
}

func (s *system) connect(ctx context.Context) error {
	err := until(ctx, func() error {
		_, err := s.bench.command(ctx, s.env(), "streams", "apply")
		return err
	})
	if err != nil {
		return err
	}
	if s.conn, err = nats.Connect(s.url); err != nil {
		return err
	}
	s.js, err = jetstream.New(s.conn)
	return err
}

// dir is where the server's store lies, in a directory that an embedded server
// takes as its own.
func (s *system) dir() string { return s.bench.path(s.name) }

// env is the environment of jethook's commands.
func (s *system) env() []string {
	return []string{"NATS_URL=" + s.url}
}

// close ends all that runs, as a crash does, and gives the disk back. Whatever
// there was to be found has been.
func (s *system) close() {
	for _, r := range s.replicas {
		r.kill()
	}
	if s.conn != nil {
		s.conn.Close()
	}
	if s.nats != nil {
		s.nats.kill()
	}
	_ = os.RemoveAll(s.dir()) // else the benchmark's end does it
}

// sink is an endpoint of the receiver, whose path is its id.
type sink struct {
	tenant, id string
	events     string // a pattern
	more       string // further fields, each behind a comma
}

// apply applies endpoints, and lanes as the file has them.
func (s *system) apply(ctx context.Context, lanes string, sinks ...sink) error {
	var text strings.Builder
	text.WriteString(lanes + "endpoints:\n")
	for _, e := range sinks {
		fmt.Fprintf(&text, "- {tenant: %s, id: %s, url: %q, events: ['%s']%s}\n", e.tenant, e.id, s.bench.url+"/e/"+e.id, e.events, e.more)
	}
	file := s.bench.path(s.name + "-endpoints.yaml")
	if err := os.WriteFile(file, []byte(text.String()), 0o600); err != nil {
		return err
	}
	_, err := s.bench.command(ctx, append(s.env(), "JETHOOK_ALLOW_HTTP=true"), "endpoint", "apply", "-f", file)
	return err
}

// start starts a replica that may deliver to the receiver.
func (s *system) start(ctx context.Context, env []string) (*process, error) {
	switch s.name {
	case "bare": // without all that can be left out
		env = append(env, "JETHOOK_ATTEMPT_LOG=off", "JETHOOK_METRICS_ENDPOINTS=0")
	case "traced": // with all that can be switched on: a span for each event, delivery and attempt
		env = append(env, "OTEL_EXPORTER_OTLP_TRACES_ENDPOINT="+s.bench.url+"/e/collector", "OTEL_BSP_MAX_QUEUE_SIZE=65536")
	}
	env = append(env, "JETHOOK_EGRESS_ALLOW=127.0.0.0/8", "JETHOOK_ALLOW_HTTP=true")
	return s.bench.start(ctx, s.name+"-jethook", env, s.bench.jethook, "serve")
}

// serve starts replicas and waits until they are ready.
func (s *system) serve(ctx context.Context, n int) error {
	for range n {
		port, err := freePort(ctx)
		if err != nil {
			return err
		}
		r, err := s.start(ctx, append(s.env(), "JETHOOK_HTTP_ADDR=127.0.0.1:"+port))
		if err != nil {
			return err
		}
		s.replicas = append(s.replicas, r)
		if err := until(ctx, func() error { return ready(ctx, "http://127.0.0.1:"+port) }); err != nil {
			return fmt.Errorf("replica: %w: %s", err, tail(r.log.Name()))
		}
	}
	return nil
}

func ready(ctx context.Context, url string) error {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, url+"/readyz", nil)
	if err != nil {
		return err
	}
	res, err := http.DefaultClient.Do(req)
	if err != nil {
		return err
	}
	defer res.Body.Close()
	if res.StatusCode != http.StatusOK {
		return errors.New(res.Status)
	}
	return nil
}

// taken waits until every event has been taken from its stream and settled or
// stored elsewhere.
func (s *system) taken(ctx context.Context, within time.Duration) error {
	ctx, cancel := context.WithTimeout(ctx, within)
	defer cancel()
	for {
		left, err := s.left(ctx)
		if err != nil {
			return fmt.Errorf("how many events are still to be taken: %w", err)
		}
		if left == 0 {
			return nil
		}
		if err := pause(ctx, 250*time.Millisecond); err != nil {
			return fmt.Errorf("%d events are still to be taken: %w", left, err)
		}
	}
}

// left is how many events a consumer has not taken or not settled yet.
func (s *system) left(ctx context.Context) (left uint64, err error) {
	stream, err := s.js.Stream(ctx, "WEBHOOKS_EVENTS")
	if err != nil {
		return 0, err
	}
	list := stream.ListConsumers(ctx)
	for info := range list.Info() {
		left += info.NumPending + uint64(info.NumAckPending)
	}
	return left, list.Err()
}

// stored is how many deliveries lie in NATS: held, scheduled, or about to go.
func (s *system) stored(ctx context.Context) (float64, error) {
	stream, err := s.js.Stream(ctx, "WEBHOOKS_DELIVERIES")
	if err != nil {
		return 0, err
	}
	return float64(stream.CachedInfo().State.Msgs), nil
}

// dead is how many dead letters there are, up to a thousand.
func (s *system) dead(ctx context.Context) (float64, error) {
	out, err := s.bench.command(ctx, s.env(), "dlq", "list", "--json", "--limit", "1000")
	return float64(bytes.Count(out, []byte("\n"))), err
}

// peak is the most memory that a replica has taken, in MiB.
func (s *system) peak() (most float64, err error) {
	for _, r := range s.replicas {
		mib, err := r.memory("VmHWM")
		if err != nil {
			return 0, err
		}
		most = max(most, mib)
	}
	return most, nil
}

// throughput publishes events for one endpoint as fast as NATS stores them and
// returns the rate at which they are delivered, the better of two.
func (s *system) throughput(ctx context.Context, e sink, n int) (best float64, err error) {
	for range 2 {
		if err := s.bench.forget(ctx, e.id); err != nil {
			return 0, err
		}
		published := s.publishing(ctx, load{Subjects: []string{subject(e.tenant, e.events)}, Count: n})
		c, err := s.bench.arrived(ctx, n, 3*time.Minute, e.id)
		if err := errors.Join(err, published()); err != nil {
			return 0, err
		}
		if c.Distinct < int64(n) {
			return 0, fmt.Errorf("%d of %d events arrived in time: %s", c.Distinct, n, tail(s.replicas[0].log.Name()))
		}
		best = max(best, c.perSecond())
	}
	return best, nil
}
