package main

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync"
	"time"

	"github.com/jedib0t/go-pretty/v6/table"
	"github.com/jedib0t/go-pretty/v6/text"

	"jethook/pkg/deadletter"
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

// showOutcome says what came of the events.
func (d *demo) showOutcome(settled demoTally) {
	d.step(3, "What came of it: retries help a shaky receiver, but not one that is down.")
	t := d.table("Endpoint", "Delivered", "Attempts", "Retries", "Dead letters")
	verified, requests := 0, 0
	for i, c := range settled.endpoints {
		t.AppendRow(table.Row{demoTenant + "/" + demoCast[i].id, fmt.Sprintf("%d of %d", c.delivered, d.events), c.attempts, c.retries, c.dead})
		verified += c.verified
		requests += c.attempts
	}
	d.render(t)
	d.say("  Each request is signed. The receivers found %d of %d signatures valid.", verified, requests)
}

// shownLetters is how many dead letters the demo lists.
const shownLetters = 4

// showLetters shows what lies in the dead-letter queue.
func (d *demo) showLetters(ctx context.Context, dead int) error {
	d.step(4, fmt.Sprintf("Nothing is dropped: %s in the dead-letter queue.", lie(dead)))
	d.say("  A delivery that was given up is kept there with the reason and each attempt.")
	t := d.table("#", "Endpoint", "Reason", "Attempts", "Last error")
	var first deadletter.Letter
	n := 0
	for l, err := range d.letters.All(ctx, deadletter.Filter{Limit: shownLetters}) {
		if err != nil {
			return err
		}
		if n++; n == 1 {
			first = l
		}
		t.AppendRow(table.Row{l.Seq, l.Name(), l.Reason, l.Attempts, shortError(l.LastError)})
	}
	if n == 0 {
		return errors.New("the dead-letter queue is empty, although a receiver was down all the time")
	}
	d.render(t)
	if more := dead - n; more > 0 {
		d.say("  … and %d more (`jethook dlq list`)", more)
	}
	d.showHistory(first)
	return nil
}

// showHistory shows a dead letter's attempts and the pauses between them.
func (d *demo) showHistory(l deadletter.Letter) {
	d.say("")
	d.say("  The attempts of the first one, %s %s (`jethook dlq show %d`):", l.EventType, l.EventID, l.Seq)
	t := d.table("Attempt", "Paused before", "Took", "Error")
	var end time.Time
	for _, h := range l.History {
		paused := "-"
		if !end.IsZero() {
			paused = h.At.Sub(end).Round(time.Millisecond).String()
		}
		took := time.Duration(h.DurationMS * float64(time.Millisecond))
		end = h.At.Add(took)
		t.AppendRow(table.Row{h.Attempt, paused, took.Round(10 * time.Microsecond), shortError(h.Error)})
	}
	d.render(t)
}

// shortError is an error in a column that must not make its table wider than
// the usual terminal.
func shortError(said string) string {
	const widest = len("503 Service Unavailable")
	return printable(strings.TrimPrefix(said, "status "), widest)
}

// conclude checks what the demo has claimed, and says what to do next.
func (d *demo) conclude(final demoTally) error {
	if unkept := final.unkept(d.events); len(unkept) > 0 {
		return errors.New("the demo did not keep what it promises: " + strings.Join(unkept, "; "))
	}
	copies := 0
	for _, c := range final.endpoints {
		copies += c.copies
	}
	mark := "✔"
	if d.Terminal {
		mark = text.FgGreen.Sprint(mark)
	}
	d.say("  The dead-letter queue is empty.")
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
