// Command jethook delivers events from NATS JetStream as webhooks. See the
// README for what it promises.
package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/signal"
	"syscall"

	"github.com/alecthomas/kong"

	"jethook/pkg/endpoint"
)

// version is set when the binary is built (-ldflags -X main.version=…).
var version = "dev"

// The exit codes.
const (
	exitDone   = 0
	exitFailed = 1
	exitUsage  = 2
)

// cli is the whole command line.
type cli struct {
	NATS natsFlags `embed:"" group:"NATS"`

	Serve    serveCmd    `cmd:"" help:"Run a replica; without NATS_URL or NATS_CONTEXT with a NATS server inside."`
	Demo     demoCmd     `cmd:"" help:"See the main job happen."`
	Listen   listenCmd   `cmd:"" help:"Run a receiver for trying things."`
	Publish  publishCmd  `cmd:"" help:"Publish an event."`
	Endpoint endpointCmd `cmd:"" help:"Manage endpoints."`
	Lane     laneCmd     `cmd:"" help:"Look at lanes and remove them."`
	Event    eventCmd    `cmd:"" help:"Look at an event: who gets it, every attempt, where each delivery stands."`
	Attempts attemptsCmd `cmd:"" help:"Read the attempt log."`
	Audit    auditCmd    `cmd:"" help:"Account for every delivery of a span of time."`
	Dlq      dlqCmd      `cmd:"" help:"Look at dead letters."`
	Replay   replayCmd   `cmd:"" help:"Send dead letters again."`
	Secrets  secretsCmd  `cmd:"" help:"Make keys, and seal secrets anew."`
	Streams  streamsCmd  `cmd:"" help:"Show, make and compare the JetStream topology."`
	Verify   verifyCmd   `cmd:"" help:"Verify a signature."`
	Health   healthCmd   `cmd:"" hidden:"" help:"Ask the replica in this container whether it is ready."`
	Version  versionCmd  `cmd:"" help:"Print the version."`
}

// usageError is an error in how jethook was called.
type usageError struct{ error }

func main() { os.Exit(run(os.Args[1:], newApp())) }

// run runs one command and returns its exit code.
func run(args []string, as *app) int {
	own := *as
	a, out := &own, &output{Writer: as.Out}
	a.Out = out
	var c cli
	parser, err := kong.New(&c,
		kong.Name("jethook"),
		kong.Description("Delivers events from NATS JetStream as webhooks."),
		kong.UsageOnError(),
		kong.ConfigureHelp(kong.HelpOptions{Compact: true, WrapUpperBound: 100}),
		kong.Writers(a.Out, a.Err),
		kong.Vars{"version": version},
		kong.Bind(a),
	)
	if err != nil {
		return a.fail(err) // a mistake in the structs above
	}
	if len(args) == 0 {
		args = []string{"--help"}
	}
	k, err := parser.Parse(args)
	if err != nil {
		fmt.Fprintf(a.Err, "jethook: %s\nTry `jethook --help`.\n", err)
		return exitUsage
	}
	a.flags = c.NATS
	ctx, stop := signals(a, k.Command() == "serve")
	defer stop()
	a.In = input{a.In, ctx}
	k.BindTo(ctx, (*context.Context)(nil))
	err = k.Run()
	if unwritten := out.failure(); err == nil && unwritten != nil {
		err = fmt.Errorf("the output could not be written, though the rest was done: %w", unwritten)
	}
	return a.fail(err)
}

// fail prints an error and returns the exit code for it.
func (a *app) fail(err error) int {
	_, usage := errors.AsType[usageError](err)
	_, noName := errors.AsType[*endpoint.NameError](err) // only what was typed is read as one
	switch {
	case err == nil:
		return exitDone
	case usage, noName:
		fmt.Fprintf(a.Err, "jethook: %s\n", err)
		return exitUsage
	}
	if !errors.Is(err, errSaid) {
		fmt.Fprintf(a.Err, "jethook: %s\n", err)
	}
	return exitFailed
}

// errSaid is returned by a command that failed and has said why already.
var errSaid = errors.New("failed")

// signals returns a context that ends with the first SIGINT or SIGTERM. A
// second one ends the process at once, a replica with deliveries under way.
func signals(a *app, replica bool) (context.Context, context.CancelFunc) {
	ctx, cancel := context.WithCancel(context.Background())
	received := make(chan os.Signal, 2)
	signal.Notify(received, os.Interrupt, syscall.SIGTERM)
	go func() {
		<-received
		cancel()
		if _, second := <-received; !second {
			return // stopped
		}
		said := "jethook: stopped at once by a second signal"
		if replica {
			said += "; what was under way will be made again"
		}
		fmt.Fprintln(a.Err, said)
		os.Exit(exitFailed)
	}()
	return ctx, func() { signal.Stop(received); close(received); cancel() }
}

type versionCmd struct{}

// Run prints the version.
func (versionCmd) Run(a *app) error { //nolint:unparam // kong calls it
	fmt.Fprintln(a.Out, version)
	return nil
}
