// Command bench measures jethook end to end on this machine. One half of its
// parts are figures: throughput, latency and cost, against a raw yardstick in the
// same run (how fast net/http's own client posts the same bodies to the same
// receiver). The other half are proofs that an endpoint in trouble harms nobody
// but itself: each has targets and says which were met. It prints tables and
// writes JSON.
//
// Every part is a process of its own: the receiver, the yardstick, nats-server,
// jethook and the publisher. Two cores carry all of them, so the ratio is what
// counts, and the rates only say how fast this machine is.
package main

import (
	"context"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"os"
	"os/signal"
	"path/filepath"
	"strings"
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
	b := &bench{}
	flags := flag.NewFlagSet("bench", flag.ContinueOnError)
	flags.IntVar(&b.events, "events", 200_000, "events in each throughput run")
	flags.DurationVar(&b.latencyFor, "latency", 10*time.Second, "how long latency is measured")
	flags.DurationVar(&b.window, "window", 20*time.Second, "how long a proof watches; an outage lasts three of them")
	flags.IntVar(&b.held, "held", 1_000_000, "deliveries held for a dead endpoint in the proof backlog")
	flags.IntVar(&b.waiting, "waiting", 200_000, "deliveries that wait for a retry in the proof waiting")
	flags.IntVar(&b.endpoints, "endpoints", 100_000, "endpoints in the proof scale")
	out := flags.String("out", "bin/bench.json", "where to write the JSON")
	only := flags.String("only", "", "run only these parts, with commas between: figures, proofs, "+strings.Join(names(b.parts()), ", "))
	if err := flags.Parse(args); err != nil {
		return err
	}
	if b.held > maxSerial || b.waiting > maxSerial/3 {
		return fmt.Errorf("-held and three times -waiting are at most %d: the receiver counts no more", maxSerial)
	}
	parts, err := choose(b.parts(), *only)
	if err != nil {
		return err
	}
	if b.dir, err = os.MkdirTemp("", "jethook-bench"); err != nil {
		return err
	}
	defer os.RemoveAll(b.dir) //nolint:errcheck // a temporary directory
	if err := b.build(ctx); err != nil {
		return err
	}
	// What failed does not take with it what was found.
	report, failed := b.all(ctx, parts)
	report.print(os.Stdout)
	return errors.Join(failed, report.write(*out))
}

func (r report) write(file string) error {
	if err := os.MkdirAll(filepath.Dir(file), 0o755); err != nil {
		return err
	}
	data, err := json.MarshalIndent(r, "", "  ")
	if err != nil {
		return err
	}
	return os.WriteFile(file, append(data, '\n'), 0o644)
}
