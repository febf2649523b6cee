package main

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"strconv"
	"strings"
	"time"

	"github.com/jedib0t/go-pretty/v6/table"

	"jethook/pkg/audit"
	"jethook/pkg/deadletter"
	"jethook/pkg/delivery"
)

// shownLetters is how many dead letters the demo lists.
const shownLetters = 4

// showLetters shows what lies in the dead-letter queue.
func (d *demo) showLetters(ctx context.Context, dead int) error {
	d.step(4, fmt.Sprintf("Nothing is dropped: %s in the dead-letter queue.", lie(dead)))
	d.say("  A delivery that was given up is kept there with the reason and each attempt.")
	d.say("  endpoint_down: its gate was open until the %.0f s for trying were over.", demoPolicy.Window().Seconds())
	t := d.table("#", "Endpoint", "Reason", "Attempts", "Last error")
	var telling deadletter.Letter
	n := 0
	for l, err := range d.letters.All(ctx, deadletter.Filter{}) {
		if err != nil {
			return err
		}
		if n++; n <= shownLetters {
			t.AppendRow(table.Row{l.Seq, l.Name(), l.Reason, l.Attempts, shortError(l.LastError)})
		}
		if n == 1 || tells(l) > tells(telling) {
			telling = l
		}
	}
	if n == 0 {
		return errors.New("the dead-letter queue is empty, although a receiver was down all the time")
	}
	d.render(t)
	if more := n - shownLetters; more > 0 {
		d.say("  … and %d more (`jethook dlq list`)", more)
	}
	d.showHistory(telling)
	return d.showEvent(ctx, telling.EventID)
}

// tells says how much there is to see in a dead letter's history: most of all
// where there are attempts and probes, then where there are probes.
func tells(l deadletter.Letter) int {
	probes, told := probesOf(l), len(l.History)
	if probes > 0 {
		told += delivery.MaxHistory
	}
	if probes > 0 && probes < len(l.History) {
		told += delivery.MaxHistory
	}
	return told
}

func probesOf(l deadletter.Letter) int {
	n := 0
	for _, h := range l.History {
		if h.Probe {
			n++
		}
	}
	return n
}

// showHistory shows a dead letter's attempts and the pauses between them.
func (d *demo) showHistory(l deadletter.Letter) {
	d.say("")
	d.say("  The attempts of number %d, %s %s (`jethook dlq show %d`):", l.Seq, l.EventType, l.EventID, l.Seq)
	t := d.table("Attempt", "Paused before", "Took", "Error")
	var end time.Time
	for _, h := range l.History {
		paused := "-"
		if !end.IsZero() {
			paused = milliseconds(h.At.Sub(end))
		}
		number := strconv.Itoa(h.Attempt)
		if h.Probe {
			number = "probe" // it does not count
		}
		took := time.Duration(h.DurationMS * float64(time.Millisecond))
		end = h.At.Add(took)
		t.AppendRow(table.Row{number, paused, took.Round(10 * time.Microsecond), shortError(h.Error)})
	}
	d.render(t)
	if probesOf(l) > 0 {
		d.say("  Probes do not use up attempts: the endpoint was known to be down.")
	}
}

// showEvent shows where an event stands at each endpoint.
func (d *demo) showEvent(ctx context.Context, id string) error {
	stories, err := audit.New(d.client.JS, d.client.Names).Event(ctx, id, false)
	if err != nil {
		return fmt.Errorf("look for event %s: %w", id, err)
	}
	d.say("")
	d.say("  Where that event stands, for whoever asks (`jethook event show %s`):", id)
	t := d.table("Endpoint", "Delivery", "Attempts", "Last answer", "Took")
	for _, s := range stories {
		for _, of := range s.Deliveries {
			row := table.Row{s.Event.Tenant + "/" + of.Endpoint, of.State, len(of.Attempts), "-", "-"}
			if n := len(of.Attempts); n > 0 {
				last := of.Attempts[n-1]
				row[3], row[4] = cmp.Or(string(last.Fault), strconv.Itoa(last.Status)), took(last.DurationMS)
			}
			t.AppendRow(row)
		}
	}
	d.render(t)
	return nil
}

// shortError is an error in a column that must not make its table wider than
// the usual terminal.
func shortError(said string) string {
	const widest = len("503 Service Unavailable")
	if said == "" {
		return "-"
	}
	return printable(strings.TrimPrefix(said, "status "), widest)
}
