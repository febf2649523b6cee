// Command bench measures jethook end to end on this machine, against a raw
// yardstick in the same run: how fast net/http's own client posts the same
// bodies to the same receiver. It prints a table and writes JSON.
//
// Every part is a process of its own: the receiver, the yardstick, nats-server,
// jethook and the publisher. Two cores carry all of them, so the ratio is what
// counts, and the rates only say how fast this machine is.
package main

import (
	"context"
	"encoding/json"
	"flag"
	"fmt"
	"os"
	"os/signal"
	"path/filepath"
	"syscall"
	"time"
)

// body is the size of the events' bodies in bytes.
const body = 512

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	if err := run(ctx, os.Args[1:]); err != nil {
		fmt.Fprintln(os.Stderr, "bench:", err)
		os.Exit(1)
	}
}

func run(ctx context.Context, args []string) error {
	if len(args) > 0 {
		switch args[0] { // the parts that run as processes of their own
		case "receiver":
			return receive(ctx)
		case "yardstick":
			return yardstick(ctx, args[1:])
		case "publisher":
			return publish(ctx, args[1:])
		}
	}
	flags := flag.NewFlagSet("bench", flag.ContinueOnError)
	events := flags.Int("events", 200000, "events in each throughput run")
	latencyFor := flags.Duration("latency", 10*time.Second, "how long latency is measured")
	out := flags.String("out", "bin/bench.json", "where to write the JSON")
	only := flags.String("only", "", "run only this part: separate, embedded, publishing, latency, replay, replay-synced")
	if err := flags.Parse(args); err != nil {
		return err
	}
	dir, err := os.MkdirTemp("", "jethook-bench")
	if err != nil {
		return err
	}
	defer os.RemoveAll(dir) //nolint:errcheck // a temporary directory
	b := &bench{dir: dir, events: *events, latencyFor: *latencyFor, only: *only}
	if err := b.build(ctx); err != nil {
		return err
	}
	report, err := b.all(ctx)
	if err != nil {
		return err
	}
	report.print(os.Stdout)
	if err := os.MkdirAll(filepath.Dir(*out), 0o755); err != nil {
		return err
	}
	data, err := json.MarshalIndent(report, "", "  ")
	if err != nil {
		return err
	}
	return os.WriteFile(*out, append(data, '\n'), 0o644)
}
