package main

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync"

	"github.com/jedib0t/go-pretty/v6/table"
	"github.com/jedib0t/go-pretty/v6/text"

	"jethook/pkg/audit"
	"jethook/pkg/receiver"
)

// say prints a line.
func (d *demo) say(format string, args ...any) { fmt.Fprintf(d.Out, format+"\n", args...) }

// title prints a line that stands out on a terminal.
func (d *demo) title(line string) {
	if d.Terminal {
		line = text.Bold.Sprint(line)
	}
	d.say("%s", line)
}

// step begins a step of the story.
func (d *demo) step(n int, sentence string) {
	d.say("")
	d.title(fmt.Sprintf("%d. %s", n, sentence))
}

// render prints a table a little to the right, as all that belongs to a step.
func (d *demo) render(t table.Writer) {
	t.SetOutputMirror(nil)
	indent := "  "
	if !d.Terminal {
		indent = " " // the bare columns of a pipe have one of their own
	}
	for line := range strings.SplitSeq(t.Render(), "\n") {
		d.say("%s%s", indent, strings.TrimRight(line, " "))
	}
}

// broken is the error of promises that were not kept, nil when there are none.
func broken(unkept []string) error {
	if len(unkept) == 0 {
		return nil
	}
	return errors.New("the demo did not keep what it promises: " + strings.Join(unkept, "; "))
}

// conclude checks what the demo has claimed, and says what to do next.
func (d *demo) conclude(final demoTally) error {
	if err := broken(final.unkept()); err != nil {
		return err
	}
	copies := 0
	for _, c := range final.endpoints {
		copies += c.copies
	}
	mark := "✔"
	if d.Terminal {
		mark = text.FgGreen.Sprint(mark)
	}
	d.say("")
	d.title(fmt.Sprintf("%s %d of %s at each of the %d endpoints, 0 lost, %d delivered twice.",
		mark, d.events, plural(d.events, "event"), len(final.endpoints), copies))
	d.say(`
Next, for real:
  jethook serve                                        run it, with NATS inside
  jethook endpoint apply -f config/endpoints.yaml      say who gets which events
  jethook listen                                       try it with a receiver
  jethook publish acme order.created -d '{"order":1}'  publish an event
  jethook dlq list                                     see what was given up
  jethook replay                                       and send it again
Receivers on this machine, such as jethook listen, are off limits unless serve
and apply run with JETHOOK_ALLOW_HTTP=true JETHOOK_EGRESS_ALLOW=127.0.0.0/8.`)
	return nil
}

// account asks the log whether it says the same.
func (d *demo) account(ctx context.Context) error {
	r, err := audit.New(d.client.JS, d.client.Names).Audit(ctx, audit.Window{})
	if err != nil {
		return fmt.Errorf("audit: %w", err)
	}
	if r.Delivered != r.Matched {
		return broken([]string{fmt.Sprintf("the audit says that not everything is delivered: %+v", r)})
	}
	d.say("  `jethook audit` adds up: %s matched, %d delivered.", deliveries(uint64(r.Matched)), r.Delivered)
	return nil
}

// explainKeep says how to look around.
func (d *demo) explainKeep() {
	d.say("")
	d.title("Still running, until Ctrl-C. In another terminal:")
	d.say(`  export NATS_URL=%s
  jethook publish acme order.created -d '{"order":%d}'
  jethook endpoint list
  jethook dlq list
  nats stream ls
Metrics: http://%s/metrics
Endpoints, followed when changed: %s
What the receivers get from now on:`, d.URL, d.events+1, d.HTTP, d.file)
}

// showRequests prints each request that comes in from now on.
func (d *demo) showRequests() {
	lines := requestLines{colours: d.Terminal, width: max(0, terminalWidth(d.app)-demoNames-1)}
	var mu sync.Mutex // receivers report at the same time
	for _, r := range d.receivers {
		show := func(req receiver.Request) {
			mu.Lock()
			defer mu.Unlock()
			d.say("%-*s %s", demoNames, r.name(), lines.format(req))
		}
		r.show.Store(&show)
	}
}

// The verbs that go with a count.

func are(n int, what string) string { return conjugate(plural(n, what), n, "is", "are") }

func lie(n int) string { return conjugate(letters(n), n, "lies", "lie") }

func came(n int) string { return conjugate(letters(n), n, "has come back", "have come back") }

func conjugate(counted string, n int, one, many string) string {
	if n == 1 {
		return counted + " " + one
	}
	return counted + " " + many
}
