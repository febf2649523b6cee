package main

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
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
	window     time.Duration // for which a proof watches
	held       int
	waiting    int
	endpoints  int
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

// command runs a jethook command to its end and returns what it printed.
func (b *bench) command(ctx context.Context, env []string, args ...string) ([]byte, error) {
	cmd := exec.CommandContext(ctx, b.jethook, args...)
	cmd.Env = environment(env)
	out, err := cmd.Output()
	if exit := (*exec.ExitError)(nil); errors.As(err, &exit) {
		err = fmt.Errorf("%w: %s", err, exit.Stderr)
	}
	if err != nil {
		return nil, fmt.Errorf("jethook %v: %w", args, err)
	}
	return out, nil
}

// until tries until it goes well, for half a minute.
func until(ctx context.Context, do func() error) error {
	deadline := time.Now().Add(30 * time.Second)
	for {
		err := do()
		if err == nil || time.Now().After(deadline) || ctx.Err() != nil {
			return err
		}
		if err := pause(ctx, 100*time.Millisecond); err != nil {
			return err
		}
	}
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
