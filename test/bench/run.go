package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"time"
)

// bench is one run of the benchmark.
type bench struct {
	dir        string
	self       string
	jethook    string
	nats       string
	events     int
	latencyFor time.Duration
	only       string
	receiver   *process
	url        string // of the receiver
}

func (b *bench) path(name string) string { return filepath.Join(b.dir, name) }

// build builds the programs as they are deployed.
func (b *bench) build(ctx context.Context) error {
	self, err := os.Executable()
	if err != nil {
		return err
	}
	b.self, b.jethook, b.nats = self, b.path("jethook"), b.path("nats-server")
	for program, source := range map[string]string{b.jethook: "./cmd/jethook", b.nats: "github.com/nats-io/nats-server/v2"} {
		cmd := exec.CommandContext(ctx, "go", "build", "-trimpath", "-ldflags", "-s -w", "-o", program, source)
		cmd.Env = append(os.Environ(), "CGO_ENABLED=0")
		if out, err := cmd.CombinedOutput(); err != nil {
			return fmt.Errorf("build %s: %w: %s", source, err, out)
		}
	}
	return nil
}

func (b *bench) all(ctx context.Context) (report, error) {
	var r report
	var err error
	b.receiver, err = b.start(ctx, "receiver", nil, b.self, "receiver")
	if err != nil {
		return r, err
	}
	if b.url, err = b.receiver.line(); err != nil {
		return r, err
	}
	r.Events, r.Body, r.Connections = b.events, body, connections
	// Around the runs and between them, so that a machine that slows down is
	// noticed and does not flatter anybody.
	measure := func() error {
		rate, err := b.figure(ctx, "yardstick", b.url, strconv.Itoa(b.events))
		r.Yardsticks = append(r.Yardsticks, rate)
		return err
	}
	if err := measure(); err != nil {
		return r, err
	}
	for _, part := range []struct {
		name string
		do   func(context.Context, string) (result, error)
	}{
		{"separate", b.separate}, {"embedded", b.embedded}, {"publishing", b.publishing}, {"latency", b.latency},
		{"replay", b.replay}, {"replay-synced", b.replay},
	} {
		if b.only != "" && b.only != part.name {
			continue
		}
		before := r.Yardsticks[len(r.Yardsticks)-1]
		res, err := part.do(ctx, part.name)
		if err != nil {
			return r, fmt.Errorf("%s: %w", part.name, err)
		}
		if err := measure(); err != nil {
			return r, err
		}
		res.Name = part.name
		if res.PerSecond > 0 && !res.NoRequests {
			res.Ratio = res.PerSecond / ((before + r.Yardsticks[len(r.Yardsticks)-1]) / 2)
		}
		r.Results = append(r.Results, res)
	}
	return r, b.receiver.stop()
}

// separate delivers stored events with nats-server as a process of its own.
func (b *bench) separate(ctx context.Context, name string) (res result, err error) {
	s, err := b.prepare(ctx, name, b.events)
	if err != nil {
		return res, err
	}
	defer func() { err = errors.Join(err, s.stop()) }()
	return b.deliver(ctx, name, s, []string{"NATS_URL=" + s.url}, b.events)
}

// embedded delivers stored events with the server inside jethook, which takes
// over the store.
func (b *bench) embedded(ctx context.Context, name string) (res result, err error) {
	s, err := b.prepare(ctx, name, b.events)
	if err != nil {
		return res, err
	}
	if err := s.stop(); err != nil {
		return res, err
	}
	return b.deliver(ctx, name, nil, []string{"JETHOOK_DATA_DIR=" + b.path(name), "JETHOOK_NATS_LISTEN=127.0.0.1:0"}, b.events)
}

// publishing delivers events while they are being published, at half the speed
// of the yardstick: more than jethook keeps up with.
func (b *bench) publishing(ctx context.Context, name string) (res result, err error) {
	s, err := b.prepare(ctx, name, 0)
	if err != nil {
		return res, err
	}
	defer func() { err = errors.Join(err, s.stop()) }()
	publisher := make(chan error, 1)
	go func() {
		_, err := b.figure(ctx, "publisher", s.url, strconv.Itoa(b.events), "0")
		publisher <- err
	}()
	res, err = b.deliver(ctx, name, s, []string{"NATS_URL=" + s.url}, b.events)
	return res, errors.Join(err, <-publisher)
}

// latency publishes 100 events a second.
func (b *bench) latency(ctx context.Context, name string) (res result, err error) {
	s, err := b.prepare(ctx, name, 0)
	if err != nil {
		return res, err
	}
	defer func() { err = errors.Join(err, s.stop()) }()
	const rate = 100
	n := int(b.latencyFor.Seconds() * rate)
	publisher := make(chan error, 1)
	go func() {
		_, err := b.figure(ctx, "publisher", s.url, strconv.Itoa(n), strconv.Itoa(rate))
		publisher <- err
	}()
	res, err = b.deliver(ctx, name, s, []string{"NATS_URL=" + s.url}, n)
	res.PerSecond, res.CPUPerEvent = 0, 0 // bounded by the publisher, and idle for the most part
	return res, errors.Join(err, <-publisher)
}

// replay fills the dead-letter queue and drains it, with nats-server as it is,
// or with every publish on the disk before it is acknowledged.
func (b *bench) replay(ctx context.Context, name string) (res result, err error) {
	n := b.events / 2
	s, err := b.prepare(ctx, name, n)
	if err != nil {
		return res, err
	}
	defer func() { err = errors.Join(err, s.stop()) }()
	if _, err := b.deliver(ctx, name, s, []string{"NATS_URL=" + s.url}, n); err != nil {
		return res, err
	}
	before, err := s.cpu()
	if err != nil {
		return res, err
	}
	start := time.Now()
	if err := b.command(ctx, []string{"NATS_URL=" + s.url}, "replay", "--yes"); err != nil {
		return res, err
	}
	took := time.Since(start)
	after, err := s.cpu()
	return result{PerSecond: float64(n) / took.Seconds(), NoRequests: true, CPUPerEvent: (after - before) / time.Duration(n)}, err
}

// server is a nats-server with the topology and one endpoint.
type server struct {
	*process
	url string
}

// prepare starts nats-server with a store of its own and stores events in it.
func (b *bench) prepare(ctx context.Context, name string, events int) (*server, error) {
	port, err := freePort(ctx)
	if err != nil {
		return nil, err
	}
	store := filepath.Join(b.path(name), "nats")
	sync := "2m" // nats-server's default
	if name == "replay-synced" {
		sync = "always"
	}
	config := b.path(name + ".conf")
	text := fmt.Sprintf("listen: 127.0.0.1:%s\njetstream { store_dir: %q, sync_interval: %s }\n", port, store, sync)
	if err := os.WriteFile(config, []byte(text), 0o600); err != nil {
		return nil, err
	}
	p, err := b.start(ctx, name+"-nats", nil, b.nats, "-c", config)
	if err != nil {
		return nil, err
	}
	s := &server{p, "nats://127.0.0.1:" + port}
	env := []string{"NATS_URL=" + s.url, "JETHOOK_ALLOW_HTTP=true"}
	if err := b.until(ctx, func() error { return b.command(ctx, env, "streams", "apply") }); err != nil {
		return nil, errors.Join(err, s.stop())
	}
	file := b.path("endpoints.yaml")
	path := map[string]string{"latency": "/?latency", "replay": "/?reject", "replay-synced": "/?reject"}[name]
	document := fmt.Sprintf("endpoints:\n- {tenant: bench, id: sink, url: %q, events: ['>']}\n", b.url+path)
	if err := os.WriteFile(file, []byte(document), 0o600); err != nil {
		return nil, err
	}
	if err := b.command(ctx, env, "endpoint", "apply", "-f", file); err != nil {
		return nil, errors.Join(err, s.stop())
	}
	if events > 0 {
		if _, err := b.figure(ctx, "publisher", s.url, strconv.Itoa(events), "0"); err != nil {
			return nil, errors.Join(err, s.stop())
		}
	}
	return s, nil
}

// deliver runs jethook until the receiver has n requests, and measures.
func (b *bench) deliver(ctx context.Context, name string, s *server, env []string, n int) (res result, err error) {
	if _, err := b.ask(ctx, "/reset"); err != nil {
		return res, err
	}
	env = append(env, "JETHOOK_EGRESS_ALLOW=127.0.0.0/8", "JETHOOK_ALLOW_HTTP=true", "JETHOOK_HTTP_ADDR=127.0.0.1:0")
	j, err := b.start(ctx, name+"-jethook", env, b.jethook, "serve")
	if err != nil {
		return res, err
	}
	defer func() { err = errors.Join(err, j.stop()) }()
	all := []*process{j}
	if s != nil {
		all = append(all, s.process)
	}
	before, err := used(all)
	if err != nil {
		return res, err
	}
	var c counts
	deadline := time.Now().Add(3 * time.Minute)
	for c.Requests < int64(n) {
		if time.Now().After(deadline) || ctx.Err() != nil {
			return res, fmt.Errorf("%d of %d events arrived in time: %s", c.Requests, n, tail(j.log.Name()))
		}
		time.Sleep(50 * time.Millisecond)
		if c, err = b.ask(ctx, "/counts"); err != nil {
			return res, err
		}
	}
	after, err := used(all)
	if err != nil {
		return res, err
	}
	res = result{PerSecond: float64(n) / c.Took.Seconds(), P50: c.P50, P99: c.P99, Repeated: c.Requests - int64(n)}
	res.CPUPerEvent = (after - before) / time.Duration(n)
	if res.PeakMiB, err = j.memory("VmHWM"); err != nil {
		return res, err
	}
	time.Sleep(2 * time.Second) // at rest: nothing left to do
	res.RestMiB, err = j.memory("VmRSS")
	return res, err
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

// command runs a jethook command to its end.
func (b *bench) command(ctx context.Context, env []string, args ...string) error {
	cmd := exec.CommandContext(ctx, b.jethook, args...)
	cmd.Env = environment(env)
	if out, err := cmd.CombinedOutput(); err != nil {
		return fmt.Errorf("jethook %v: %w: %s", args, err, out)
	}
	return nil
}

// until tries until it goes well, for ten seconds.
func (b *bench) until(ctx context.Context, do func() error) error {
	deadline := time.Now().Add(10 * time.Second)
	for {
		err := do()
		if err == nil || time.Now().After(deadline) || ctx.Err() != nil {
			return err
		}
		time.Sleep(100 * time.Millisecond)
	}
}

func (b *bench) ask(ctx context.Context, path string) (c counts, err error) {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, b.url+path, nil)
	if err != nil {
		return c, err
	}
	res, err := http.DefaultClient.Do(req)
	if err != nil {
		return c, err
	}
	defer res.Body.Close()
	if path == "/counts" {
		err = json.NewDecoder(res.Body).Decode(&c)
	}
	return c, err
}

func freePort(ctx context.Context) (string, error) {
	var config net.ListenConfig
	l, err := config.Listen(ctx, "tcp", "127.0.0.1:0")
	if err != nil {
		return "", err
	}
	_, port, err := net.SplitHostPort(l.Addr().String())
	return port, errors.Join(err, l.Close())
}
