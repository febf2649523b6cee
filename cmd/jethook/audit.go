package main

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/jedib0t/go-pretty/v6/table"

	"jethook/pkg/audit"
)

type auditCmd struct {
	Since when `placeholder:"TIME" help:"Events published since then: RFC 3339, or how long ago, such as 7d or 2h30m. An hour ago by default."`
	Until when `placeholder:"TIME" help:"Events published before then."`
	JSON  bool `name:"json" help:"As one JSON document."`
}

// Help says what is added up.
func (auditCmd) Help() string {
	return "Adds up: matched = delivered + waiting + held + dead + discarded. Whatever is missing is listed, and the exit code is 1."
}

// Run accounts for every delivery.
func (c *auditCmd) Run(ctx context.Context, a *app) error {
	if c.Since.IsZero() {
		c.Since.Time = time.Now().Add(-time.Hour)
	}
	if !c.Until.IsZero() && !c.Since.Before(c.Until.Time) {
		return usageError{errors.New("--since must be before --until")}
	}
	client, err := a.connect(ctx)
	if err != nil {
		return err
	}
	defer client.Close()
	auditor := audit.New(client.JS, client.Names)
	r, err := auditor.Audit(ctx, audit.Window{Since: c.Since.Time, Until: c.Until.Time})
	a.noteUnreadable(auditor.Log())
	if err != nil {
		return err
	}
	if c.JSON {
		err = encode(a.Out, r)
	} else {
		printAudit(a, r)
	}
	if err == nil && r.Unaccounted > 0 {
		return errSaid
	}
	return err
}

func printAudit(a *app, r audit.Report) {
	if r.Note != "" {
		fmt.Fprintln(a.Err, "jethook: "+r.Note)
	}
	if r.Events+r.Unread+r.Unaccounted == 0 {
		fmt.Fprintln(a.Err, "no events in this span of time")
		return
	}
	fmt.Fprintf(a.Out, "%d events from %s to %s", r.Events+r.Unread, shortTime(r.Since), shortTime(r.Until))
	if r.Unread > 0 {
		fmt.Fprintf(a.Out, ", %d of which no replica has matched to endpoints yet", r.Unread)
	}
	fmt.Fprintln(a.Out)
	t := a.table("Deliveries", "")
	for _, line := range []struct {
		name string
		n    int
	}{{"matched", r.Matched}, {"delivered", r.Delivered}, {"waiting", r.Waiting}, {"held", r.Held}, {"dead", r.Dead}, {"discarded", r.Discarded}, {"unaccounted", r.Unaccounted}} {
		t.AppendRow(table.Row{line.name, line.n})
	}
	t.Render()
	if r.Unaccounted == 0 {
		fmt.Fprintln(a.Out, "everything is accounted for")
		return
	}
	fmt.Fprintf(a.Err, "jethook: %d cannot be found anywhere:\n", r.Unaccounted)
	for _, d := range r.Differences {
		who := d.Endpoint
		if who == "" {
			who = "not matched to any endpoint"
		}
		fmt.Fprintf(a.Err, "  event %s (sequence %d): %s\n", plain(d.EventID), d.EventSeq, who)
	}
	if more := r.Unaccounted - len(r.Differences); more > 0 {
		fmt.Fprintf(a.Err, "  and %d more\n", more)
	}
}
