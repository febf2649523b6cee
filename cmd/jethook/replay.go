package main

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"math"
	"slices"
	"strings"
	"time"

	"github.com/jedib0t/go-pretty/v6/progress"

	"jethook/pkg/deadletter"
)

// replayCmd is `jethook replay`.
type replayCmd struct {
	filterFlags

	Rate   float64 `placeholder:"N" help:"At most so many dead letters a second; 0 is as fast as it goes."`
	DryRun bool    `help:"Only say what would be sent."`
	Yes    bool    `help:"Do not ask, not even where some are older than a day."`
	JSON   bool    `name:"json" help:"Print what was done as a JSON document."`

	now func() time.Time // replaces time.Now in tests
}

// Help adds to what --help prints.
func (c *replayCmd) Help() string {
	return "Interrupted or killed at any moment, it loses nothing: run it again, and it goes on and sends nothing twice."
}

// oldLetter is from what age on a dead letter's receiver may be surprised.
const oldLetter = 24 * time.Hour

// Run replays dead letters.
func (c *replayCmd) Run(ctx context.Context, a *app) error {
	if err := checkRate(c.Rate); err != nil {
		return err
	}
	return a.withLetters(ctx, c.filterFlags, func(client *client, store *deadletter.Store, f deadletter.Filter) error {
		total, err := c.prepare(ctx, a, store, f)
		if errors.Is(err, errDeclined) {
			fmt.Fprintln(a.Err, "nothing replayed")
			return nil
		}
		if err != nil {
			return err
		}
		endpoints, err := client.endpoints(ctx)
		if err != nil {
			return err
		}
		if total > 0 {
			f.Limit = total // what died since is not what was asked about
		}
		meter := newMeter(a, total, c.DryRun || c.JSON)
		result, err := store.Replay(ctx, f, deadletter.ReplayOptions{
			Endpoints: endpoints, Rate: c.Rate, DryRun: c.DryRun, Progress: meter.set,
		})
		meter.stop()
		return c.report(ctx, a, result, err)
	})
}

// checkRate returns an error for what is no rate of a --rate, NaN and infinity among
// it.
func checkRate(perSecond float64) error {
	if !(perSecond >= 0) || math.IsInf(perSecond, 1) {
		return usageError{fmt.Errorf("--rate %v: must be a number that is not negative; 0 is as fast as it goes", perSecond)}
	}
	return nil
}

var errDeclined = errors.New("declined")

// prepare counts, says what will be sent, and asks where that may surprise.
func (c *replayCmd) prepare(ctx context.Context, a *app, store *deadletter.Store, f deadletter.Filter) (total int, err error) {
	now := time.Now
	if c.now != nil {
		now = c.now
	}
	total, old, err := store.Count(ctx, f, now().Add(-oldLetter))
	if err != nil {
		return 0, err
	}
	fmt.Fprintf(a.Err, "%s to replay\n", letters(total))
	if old == 0 {
		return total, nil
	}
	fmt.Fprintf(a.Err, "warning: %d of them older than a day; their receivers may not expect them any more\n", old)
	if c.Yes || c.DryRun {
		return total, nil
	}
	ok, err := a.ask(fmt.Sprintf("Replay %s, %d of them older than a day?", letters(total), old))
	if err == nil && !ok {
		err = errDeclined
	}
	return total, err
}

// report says what was done, and turns what was left undone into an error.
func (c *replayCmd) report(ctx context.Context, a *app, r deadletter.ReplayResult, err error) error {
	if c.JSON {
		if err := encode(a.Out, shownReplay{r, c.DryRun}); err != nil {
			return err
		}
	} else {
		fmt.Fprintln(a.Out, c.summary(r))
	}
	if r.Windowed && !c.DryRun {
		fmt.Fprintln(a.Err, "warning: the stream of deliveries takes no atomic batches (nats-server 2.12 or newer does): had this been killed, what was sent last would be sent twice by a replay later than the stream's duplicate window")
	}
	switch {
	case err != nil && ctx.Err() != nil:
		return errors.New("interrupted: what is left stays in the dead-letter queue; run the same command again to go on")
	case err != nil:
		return fmt.Errorf("%w; what is left stays in the dead-letter queue: run the same command again to go on", err)
	case r.Refused > 0:
		return fmt.Errorf("NATS did not take %s, which stay in the dead-letter queue; the first because: %s", letters(r.Refused), r.Refusal)
	}
	return nil
}

// shownReplay is a replay as --json prints it.
type shownReplay struct {
	deadletter.ReplayResult

	DryRun bool `json:"dry_run"` // nothing was sent: replayed is what would be
}

// summary is the last line.
func (c *replayCmd) summary(r deadletter.ReplayResult) string {
	parts := []string{letters(r.Replayed) + " replayed"}
	if c.DryRun {
		parts[0] = letters(r.Replayed) + " would be replayed"
	}
	if r.Finished > 0 {
		parts = append(parts, fmt.Sprintf("%d sent by an interrupted replay removed", r.Finished))
	}
	if len(r.NoEndpoint) > 0 {
		n := 0
		for _, count := range r.NoEndpoint {
			n += count
		}
		parts = append(parts, fmt.Sprintf("%d kept because the endpoint does not exist (%s)", n, someOf(slices.Sorted(maps.Keys(r.NoEndpoint)))))
	}
	if r.Unreadable > 0 {
		parts = append(parts, fmt.Sprintf("%d kept that cannot be read", r.Unreadable))
	}
	return strings.Join(parts, ", ")
}

// someOf names the first few.
func someOf(names []string) string {
	const few = 5
	if len(names) <= few {
		return strings.Join(names, ", ")
	}
	return fmt.Sprintf("%s and %d more", strings.Join(names[:few], ", "), len(names)-few)
}

// meter shows how far a replay is: a bar on a terminal, lines in a pipe.
type meter struct {
	set  func(done int)
	stop func()
}

func newMeter(a *app, total int, quiet bool) meter {
	switch {
	case quiet || total == 0:
		return meter{func(int) {}, func() {}}
	case a.Terminal:
		return newBar(a, total)
	}
	next := time.Now().Add(time.Second)
	return meter{func(done int) {
		if now := time.Now(); now.After(next) && done < total {
			next = now.Add(time.Second)
			fmt.Fprintf(a.Err, "%d of %d\n", done, total)
		}
	}, func() {}}
}

func newBar(a *app, total int) meter {
	w := progress.NewWriter()
	w.SetOutputWriter(a.Out)
	w.SetAutoStop(false)
	w.SetStyle(progress.StyleBlocks)
	w.SetTrackerPosition(progress.PositionRight)
	w.SetUpdateFrequency(100 * time.Millisecond)
	w.Style().Visibility.Speed = true
	tracker := &progress.Tracker{Message: "replaying", Total: int64(total)}
	w.AppendTracker(tracker)
	rendered := make(chan struct{})
	go func() {
		defer close(rendered)
		w.Render()
	}()
	return meter{func(done int) { tracker.SetValue(int64(done)) }, func() {
		w.Stop()
		<-rendered
	}}
}
