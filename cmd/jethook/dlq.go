package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"math"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/jedib0t/go-pretty/v6/table"

	"jethook/pkg/attempt"
	"jethook/pkg/deadletter"
	"jethook/pkg/delivery"
	"jethook/pkg/endpoint"
)

// dlqCmd is `jethook dlq`.
type dlqCmd struct {
	List  dlqListCmd  `cmd:"" help:"List dead letters, oldest first."`
	Show  dlqShowCmd  `cmd:"" help:"Show a dead letter: its history, headers and payload."`
	Stats dlqStatsCmd `cmd:"" help:"Count dead letters by reason and endpoint."`
	Purge dlqPurgeCmd `cmd:"" help:"Remove dead letters for good."`
}

// filterFlags say which dead letters are meant.
type filterFlags struct {
	Tenant   given    `placeholder:"TENANT" help:"Only this tenant's."`
	Endpoint given    `placeholder:"TENANT/ENDPOINT" help:"Only this endpoint's."`
	Type     given    `placeholder:"PATTERN" help:"Only events of this type; * and > stand for tokens as in NATS."`
	Reason   given    `placeholder:"REASON" help:"Only those dead for this reason, such as attempts_exhausted."`
	Since    when     `placeholder:"TIME" help:"Only those dead since then: RFC 3339, or how long ago, such as 7d or 2h30m."`
	Until    when     `placeholder:"TIME" help:"Only those dead before then."`
	Seq      []uint64 `placeholder:"SEQ" help:"Only these sequences, as list prints them; may be repeated."`
	Limit    int      `placeholder:"N" help:"Only the oldest N."`
}

func (f filterFlags) filter() (deadletter.Filter, error) {
	filter := deadletter.Filter{
		Type: string(f.Type), Reason: delivery.Reason(f.Reason),
		Since: f.Since.Time, Until: f.Until.Time, Seqs: f.Seq, Limit: f.Limit,
	}
	var err error
	if filter.Tenant, filter.Endpoint, err = scope(string(f.Tenant), string(f.Endpoint)); err != nil {
		return filter, err
	}
	if err := filter.Validate(); err != nil {
		return filter, usageError{err}
	}
	return filter, nil
}

// given is what a flag says, which is not empty where it is said: an unset variable of
// a shell must not turn one tenant into everybody.
type given string

// UnmarshalText takes what was said.
func (g *given) UnmarshalText(text []byte) error {
	if len(text) == 0 {
		return errors.New("it is empty: say what, or leave it out")
	}
	*g = given(text)
	return nil
}

// scope reads the flags --tenant and --endpoint, which names both.
func scope(tenant, name string) (string, string, error) {
	if name == "" {
		return tenant, "", nil
	}
	of, id, err := endpoint.ParseName(name)
	if err != nil {
		return "", "", usageError{fmt.Errorf("--endpoint: %w", err)}
	}
	if tenant != "" && tenant != of {
		return "", "", usageError{fmt.Errorf("--endpoint %s is not of --tenant %s: leave one out", name, tenant)}
	}
	return of, id, nil
}

// withLetters runs do with the store of dead letters and the filter.
func (a *app) withLetters(ctx context.Context, f filterFlags, do func(*client, *deadletter.Store, deadletter.Filter) error) error {
	filter, err := f.filter()
	if err != nil {
		return err
	}
	client, err := a.connect(ctx)
	if err != nil {
		return err
	}
	defer client.Close()
	return do(client, deadletter.NewStore(client.JS, client.Names), filter)
}

type dlqListCmd struct {
	filterFlags

	JSON bool `name:"json" help:"One JSON document a line."`
}

// Run lists dead letters.
func (c *dlqListCmd) Run(ctx context.Context, a *app) error {
	return a.withLetters(ctx, c.filterFlags, func(_ *client, store *deadletter.Store, f deadletter.Filter) error {
		t := a.longTable("Seq", "Dead at", "Reason", "Endpoint", "Type", "Event", "Attempts", "Last")
		for l, err := range store.All(ctx, f) {
			if err != nil {
				t.end() // what came before it
				return err
			}
			if c.JSON {
				if err := encode(a.Out, l); err != nil {
					return err
				}
				continue
			}
			reason := string(l.Reason)
			if reason == "" {
				reason = deadletter.Unreadable
			}
			t.row(l.Seq, shortTime(l.DeadAt), plain(reason), plain(l.Name()), printable(l.EventType, fieldRunes), plain(l.EventID), l.Attempts, last(l))
		}
		if t.end() == 0 && !c.JSON {
			fmt.Fprintln(a.Err, "no dead letters")
		}
		return nil
	})
}

const shownError = 60 // characters of an error in a table

func last(l deadletter.Letter) string {
	said := l.LastError
	switch {
	case l.Problem != "":
		said = l.Problem
	case said == "" && l.LastStatus > 0:
		said = strconv.Itoa(l.LastStatus)
	case l.LastStatus > 0 && !strings.HasPrefix(said, strconv.Itoa(l.LastStatus)):
		said = strconv.Itoa(l.LastStatus) + " " + said
	}
	return printable(said, shownError)
}

// plain escapes what a terminal would act upon: errors and payloads may quote
// anything.
func plain(text string) string { return printable(text, math.MaxInt) }

func shortTime(t time.Time) string { return t.UTC().Format("2006-01-02 15:04:05Z") }

type dlqShowCmd struct {
	Seq  uint64 `arg:"" placeholder:"SEQ" help:"Sequence, as list prints it."`
	JSON bool   `name:"json" help:"As one JSON document."`
}

// Run shows one dead letter.
func (c *dlqShowCmd) Run(ctx context.Context, a *app) error {
	if c.Seq == 0 {
		return usageError{errors.New("sequences begin with 1")}
	}
	return a.withLetters(ctx, filterFlags{}, func(_ *client, store *deadletter.Store, _ deadletter.Filter) error {
		l, err := store.Get(ctx, c.Seq)
		if err != nil {
			return err
		}
		if c.JSON {
			return encode(a.Out, l)
		}
		return showLetter(a, l)
	})
}

func showLetter(a *app, l deadletter.Letter) error {
	line := func(name, value string) {
		if value != "" {
			fmt.Fprintf(a.Out, "%-9s %s\n", name+":", plain(value))
		}
	}
	fmt.Fprintf(a.Out, "Dead letter %d\n\n", l.Seq)
	line("Reason", string(l.Reason))
	line("Dead at", shortTime(l.DeadAt))
	line("Endpoint", l.Name())
	line("URL", l.URL)
	line("Event", l.EventID)
	line("Type", l.EventType)
	if !l.EventTime.IsZero() {
		line("Published", shortTime(l.EventTime))
	}
	line("Attempts", strconv.Itoa(l.Attempts))
	line("Problem", l.Problem)
	if len(l.History) > 0 {
		fmt.Fprintln(a.Out)
		t := a.table("Attempt", "At", "Status", "Took", "Error")
		for _, h := range l.History {
			took := time.Duration(h.DurationMS * float64(time.Millisecond)).Round(10 * time.Microsecond)
			number := strconv.Itoa(h.Attempt)
			if h.Probe {
				number = "probe" // it has no number, because it does not count
			}
			t.AppendRow(table.Row{number, shortTime(h.At), h.Status, took, plain(h.Error)})
		}
		t.Render()
	}
	fmt.Fprintln(a.Out)
	for _, name := range slices.Sorted(maps.Keys(l.Headers)) {
		fmt.Fprintf(a.Out, "%s: %s\n", plain(name), plain(l.Headers[name]))
	}
	fmt.Fprintf(a.Out, "\n%s\n", payloadText(l.Payload, l.PayloadBase64))
	return nil
}

// payloadText gives the payload for reading: JSON indented, text as it is.
func payloadText(payload json.RawMessage, other []byte) string {
	if other != nil {
		return fmt.Sprintf("(%d bytes that are no text; --json prints them in base64)", len(other))
	}
	var value any
	if json.Unmarshal(payload, &value) != nil {
		return "(no payload)"
	}
	if s, ok := value.(string); ok {
		lines := strings.Split(s, "\n")
		for i := range lines {
			lines[i] = plain(strings.TrimSuffix(lines[i], "\r"))
		}
		return strings.Join(lines, "\n")
	}
	var text strings.Builder
	if encodeIndented(&text, payload, "  ") != nil {
		return ""
	}
	return strings.TrimSuffix(text.String(), "\n")
}

type dlqStatsCmd struct {
	filterFlags

	JSON bool `name:"json" help:"As one JSON document."`
}

// Run counts dead letters.
func (c *dlqStatsCmd) Run(ctx context.Context, a *app) error {
	return a.withLetters(ctx, c.filterFlags, func(_ *client, store *deadletter.Store, f deadletter.Filter) error {
		stats, err := store.Stats(ctx, f)
		if err != nil {
			return err
		}
		if c.JSON {
			return encode(a.Out, stats)
		}
		fmt.Fprintf(a.Out, "%s\n", letters(stats.Total))
		if stats.Total == 0 {
			return nil
		}
		fmt.Fprintf(a.Out, "oldest %s, newest %s\n\n", shortTime(stats.Oldest), shortTime(stats.Newest))
		countTable(a, "Reason", stats.ByReason)
		fmt.Fprintln(a.Out)
		countTable(a, "Endpoint", stats.ByEndpoint)
		return nil
	})
}

// countTable prints counts, the largest first.
func countTable(a *app, what string, counts map[string]int) {
	t := a.table(what, "Dead letters")
	names := slices.SortedFunc(maps.Keys(counts), func(x, y string) int {
		if counts[x] != counts[y] {
			return counts[y] - counts[x]
		}
		return strings.Compare(x, y)
	})
	for _, name := range names {
		t.AppendRow(table.Row{plain(name), counts[name]})
	}
	t.Render()
}

func letters(n int) string {
	if n == 1 {
		return "1 dead letter"
	}
	return fmt.Sprintf("%d dead letters", n)
}

type dlqPurgeCmd struct {
	filterFlags

	Yes  bool `help:"Do not ask."`
	JSON bool `name:"json" help:"Print the count as a JSON document."`
}

// Run removes dead letters after asking.
func (c *dlqPurgeCmd) Run(ctx context.Context, a *app) error {
	return a.withLetters(ctx, c.filterFlags, func(client *client, store *deadletter.Store, f deadletter.Filter) error {
		stats, err := store.Stats(ctx, f)
		if err != nil {
			return err
		}
		if !c.Yes && stats.Total > 0 {
			ok, err := a.ask(fmt.Sprintf("Remove %s for good?", letters(stats.Total)))
			if err != nil {
				return err
			}
			if !ok {
				fmt.Fprintln(a.Err, "nothing removed")
				return nil
			}
		}
		// First, so that what is missing is always accounted for.
		names := slices.Sorted(maps.Keys(stats.ByEndpoint))
		if err := a.unlessNoLog(client, attempt.NewStore(client.JS, client.Names).DiscardLetters(ctx, names)); err != nil {
			return fmt.Errorf("nothing removed: %w", err)
		}
		n, err := store.Purge(ctx, f)
		if err != nil {
			return fmt.Errorf("%s removed, then: %w", letters(n), err)
		}
		if c.JSON {
			return encode(a.Out, map[string]int{"removed": n})
		}
		fmt.Fprintf(a.Out, "%s removed\n", letters(n))
		return nil
	})
}
