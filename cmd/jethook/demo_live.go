package main

import (
	"fmt"
	"io"
	"os"
	"strings"
	"time"

	"github.com/jedib0t/go-pretty/v6/text"
)

// demoLive shows a tally that changes: one bar an endpoint, drawn over itself,
// on a terminal; a line now and then elsewhere.
type demoLive struct {
	out    io.Writer
	events int
	before [len(demoCast)]int // retries that were made before, and are not news
	width  int                // columns of the terminal; 0 is none, or too narrow a one

	drawn bool      // bars are on the screen
	last  string    // the last line
	next  time.Time // when the next line may come
}

const (
	demoLineEvery = time.Second
	demoNarrowest = 70 // columns that the bars need
	demoLongest   = 40 // cells of a bar at most
	demoNames     = 13 // columns for the endpoint's name
	demoCounts    = 37 // columns for the counts behind a bar
)

func newDemoLive(a *app, events int) *demoLive {
	l := &demoLive{out: a.Out, events: events}
	if width := terminalWidth(a); width >= demoNarrowest && os.Getenv("TERM") != "dumb" {
		l.width = width
	}
	return l
}

// show shows the tally as it is now.
func (l *demoLive) show(t demoTally) {
	if l.width > 0 {
		l.draw(t)
		return
	}
	if now := time.Now(); !now.Before(l.next) {
		l.next = now.Add(demoLineEvery)
		l.line(t)
	}
}

// end shows the last tally.
func (l *demoLive) end(t demoTally) {
	if l.width > 0 {
		l.draw(t)
	} else {
		l.line(t)
	}
}

// line prints a line unless nothing has changed.
func (l *demoLive) line(t demoTally) {
	parts := make([]string, len(t.endpoints))
	for i, c := range t.endpoints {
		parts[i] = demoTenant + "/" + demoCast[i].id + " " + l.counts(i, c)
	}
	if line := strings.Join(parts, " | "); line != l.last {
		l.last = line
		fmt.Fprintf(l.out, "  %s\n", line)
	}
}

// draw draws the bars over those drawn before, in one write.
func (l *demoLive) draw(t demoTally) {
	var b strings.Builder
	if l.drawn {
		b.WriteString("\r" + text.CursorUp.Sprintn(len(t.endpoints)))
	}
	l.drawn = true
	for i, c := range t.endpoints {
		name := demoTenant + "/" + demoCast[i].id
		fmt.Fprintf(&b, "%s  %-*s %s  %s\n", text.EraseLine.Sprint(), demoNames, name, l.bar(c), l.counts(i, c))
	}
	_, _ = io.WriteString(l.out, b.String()) // only progress: the lines that follow meet the same error
}

// bar is all events at one endpoint: delivered, dead, and not yet either.
func (l *demoLive) bar(c demoCount) string {
	width := min(demoLongest, l.width-demoNames-demoCounts-6)
	cells := demoCells(width, l.events, c.delivered, c.dead)
	return text.FgGreen.Sprint(strings.Repeat("█", cells[0])) +
		text.FgRed.Sprint(strings.Repeat("▒", cells[1])) +
		text.Faint.Sprint(strings.Repeat("·", width-cells[0]-cells[1]))
}

// demoCells shares width cells out to the parts of a total. The sum of the
// parts is rounded, not each part, so that parts that make up the total fill
// the width exactly.
func demoCells(width, total int, parts ...int) []int {
	cells := make([]int, len(parts))
	sum, used := 0, 0
	for i, part := range parts {
		sum += part
		edge := min(width, (2*width*sum+total)/(2*total))
		cells[i], used = edge-used, edge
	}
	return cells
}

// counts says what matters of an endpoint; what is none is left out. Retries
// matter while the endpoint gets all that is for it: beside deliveries that are
// held or dead, they are mostly probes. What moves is stored in its new place before
// it is removed from the old, and is told of in the new alone.
func (l *demoLive) counts(i int, c demoCount) string {
	c.dead = min(c.dead, c.wanted-c.delivered)
	c.held = min(c.held, c.wanted-c.delivered-c.dead)
	said := fmt.Sprintf("%d delivered", c.delivered)
	if c.held > 0 {
		said += fmt.Sprintf(", %d held", c.held)
	} else if n := c.retries - l.before[i]; n > 0 && c.dead == 0 {
		said += ", " + plural(n, "retry")
	}
	if c.dead > 0 {
		said += fmt.Sprintf(", %d dead", c.dead)
	}
	return said
}
