package main

import (
	"context"
	"errors"
	"fmt"
	"iter"
	"strconv"
	"strings"
	"time"

	"github.com/jedib0t/go-pretty/v6/text"

	"jethook/pkg/attempt"
	"jethook/pkg/delivery"
	"jethook/pkg/endpoint"
	"jethook/pkg/event"
)

type attemptsCmd struct {
	Tenant   string `placeholder:"TENANT" help:"Only this tenant's."`
	Endpoint string `placeholder:"TENANT/ENDPOINT" help:"Only this endpoint's."`
	Type     string `placeholder:"PATTERN" help:"Only events of this type; * and > stand for tokens as in NATS."`
	Event    string `placeholder:"ID" help:"Only this event's, by its id or the one that it was published with. (\"jethook event show\" finds it faster.)"`
	Failed   bool   `help:"Only attempts that did not deliver."`
	Since    when   `placeholder:"TIME" help:"Only those made since then: RFC 3339, or how long ago, such as 7d or 2h30m. An hour ago by default, or before --until; with --follow from now on."`
	Until    when   `placeholder:"TIME" help:"Only those made before then."`
	Limit    int    `placeholder:"N" help:"Only the oldest N."`
	Newest   int    `placeholder:"N" help:"Only the newest N."`
	Follow   bool   `short:"f" help:"Go on with what is attempted from now on, until interrupted."`
	JSON     bool   `name:"json" help:"One JSON document a line."`
}

func (c *attemptsCmd) filter() (attempt.Filter, error) {
	f := attempt.Filter{Type: c.Type, Failed: c.Failed, Since: c.Since.Time, Until: c.Until.Time, Limit: c.Limit}
	if c.Event != "" {
		f.EventID = event.IDOf(c.Event)
	}
	var err error
	if f.Tenant, f.Endpoint, err = scope(c.Tenant, c.Endpoint); err != nil {
		return f, err
	}
	if c.Type != "" {
		if err := endpoint.CheckPattern(c.Type); err != nil {
			return f, usageError{fmt.Errorf("--type: %w", err)}
		}
	}
	if c.Follow && !f.Until.IsZero() {
		return f, usageError{errors.New("--follow goes on for ever, so leave --until out")}
	}
	switch {
	case c.Newest < 0:
		return f, usageError{errors.New("--newest: must not be negative")}
	case c.Newest > 0 && (c.Limit > 0 || c.Follow):
		return f, usageError{errors.New("--newest goes with neither --limit nor --follow")}
	case c.Follow || !f.Since.IsZero():
	case f.Until.IsZero():
		f.Since = time.Now().Add(-time.Hour)
	default:
		f.Since = f.Until.Add(-time.Hour)
	}
	if err := f.Validate(); err != nil {
		return f, usageError{err}
	}
	return f, nil
}

// Run prints records.
func (c *attemptsCmd) Run(ctx context.Context, a *app) error {
	f, err := c.filter()
	if err != nil {
		return err
	}
	client, err := a.connect(ctx)
	if err != nil {
		return err
	}
	defer client.Close()
	store := attempt.NewStore(client.JS, client.Names)
	defer a.noteUnreadable(store)
	if c.Follow {
		return store.Follow(ctx, f, func(r attempt.Record) error {
			if c.JSON {
				return encode(a.Out, r)
			}
			fmt.Fprintln(a.Out, a.attemptLine(r))
			return nil
		}, a.waits)
	}
	records := store.Records(ctx, f)
	if c.Newest > 0 {
		records = newest(records, c.Newest)
	}
	t := a.longTable("At", "Endpoint", "Event", "Type", "Attempt", "Outcome", "Answer", "Took")
	for r, err := range records {
		if err != nil {
			t.end() // what came before it
			return err
		}
		if c.JSON {
			if err := encode(a.Out, r); err != nil {
				return err
			}
			continue
		}
		t.row(precise(r.At), plain(r.Name()), plain(r.EventID), printable(r.EventType, fieldRunes), ordinal(r), a.outcome(r), answered(r, shownError), took(r.DurationMS))
	}
	if t.end() == 0 && !c.JSON {
		fmt.Fprintln(a.Err, "no attempts"+since(f.Since))
	}
	return nil
}

// newest yields the last n of what there is, up to an error.
func newest(all iter.Seq2[attempt.Record, error], n int) iter.Seq2[attempt.Record, error] {
	return func(yield func(attempt.Record, error) bool) {
		var last []attempt.Record // a ring once it is full
		read := 0
		for r, err := range all {
			if err != nil {
				yield(r, err)
				return
			}
			if len(last) < n {
				last = append(last, r)
			} else {
				last[read%n] = r
			}
			read++
		}
		for i := range last {
			if !yield(last[(read+i)%len(last)], nil) {
				return
			}
		}
	}
}

// waits says that what is followed cannot be read for now, and why, or can be again.
func (a *app) waits(cause error) {
	if cause == nil {
		fmt.Fprintln(a.Err, "the attempt log can be read again")
		return
	}
	fmt.Fprintf(a.Err, "the attempt log cannot be read for now, trying on: %s\n", plain(cause.Error()))
}

// noteUnreadable says how many lines are missing in what was shown.
func (a *app) noteUnreadable(store *attempt.Store) {
	switch n := store.Unreadable(); n {
	case 0:
	case 1:
		fmt.Fprintln(a.Err, "1 line of the attempt log cannot be read and is left out")
	default:
		fmt.Fprintf(a.Err, "%d lines of the attempt log cannot be read and are left out\n", n)
	}
}

func since(t time.Time) string {
	if t.IsZero() {
		return ""
	}
	return " since " + shortTime(t)
}

// attemptLine is a record in a line, for those that come one by one.
func (a *app) attemptLine(r attempt.Record) string {
	return fmt.Sprintf("%s  %-20s  %-24s  %-18s  #%-3s  %s  %s  %s", precise(r.At), plain(r.Name()), plain(r.EventID), printable(r.EventType, fieldRunes),
		ordinal(r), a.outcome(r), answered(r, shownError), took(r.DurationMS))
}

// outcome is what came of an attempt, in colour on a terminal.
func (a *app) outcome(r attempt.Record) string {
	said := plain(string(r.Outcome))
	if r.Reason != "" {
		said += ": " + plain(string(r.Reason))
	}
	if !a.Terminal {
		return said
	}
	switch r.Outcome {
	case delivery.Delivered:
		return text.FgGreen.Sprint(said)
	case delivery.Retry:
		return text.FgYellow.Sprint(said)
	case delivery.Dead:
		return text.FgRed.Sprint(said)
	default:
		return text.Faint.Sprint(said)
	}
}

// ordinal is the number of an attempt, and what it was beside one.
func ordinal(r attempt.Record) string {
	said := strconv.Itoa(r.Attempt)
	if r.Replay {
		said += " replay"
	}
	if r.Probe {
		said += " probe"
	}
	return said
}

// answered says what came back, cut to so many characters.
func answered(r attempt.Record, most int) string {
	said := r.Error
	switch {
	case said == "" && r.Status > 0:
		said = strconv.Itoa(r.Status)
	case r.Status > 0 && !strings.Contains(said, strconv.Itoa(r.Status)):
		said = strconv.Itoa(r.Status) + " " + said
	}
	return printable(said, most)
}

func took(ms float64) string {
	return time.Duration(ms * float64(time.Millisecond)).Round(10 * time.Microsecond).String()
}

func precise(t time.Time) string { return t.UTC().Format("2006-01-02 15:04:05.000Z") }
