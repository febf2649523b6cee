package replica

import (
	"context"
	"maps"
	"time"

	"github.com/nats-io/nats.go/jetstream"
	"github.com/rs/zerolog"

	"jethook/pkg/attempt"
	"jethook/pkg/audit"
	"jethook/pkg/fleet"
	"jethook/pkg/telemetry"
)

const (
	// accountEvery is how often the deliveries of recent events are added up, and
	// accountFirst when for the first time.
	accountEvery = time.Minute
	accountFirst = 15 * time.Second
	// accountFor is of how long the events are, up to a moment ago, accountMost of
	// how many the newest, and accountRead about how much of the ledger is read for
	// that, and of what waits or is held: whatever the load, it is as much at the most.
	accountFor  = time.Hour
	accountMost = 10_000
	accountRead = 64 << 20
	// accountAfter is how old they are at least: what is younger is on its way.
	accountAfter = 5 * time.Second
	// accountLooks is how often what is nowhere is looked for: the next audit looks again.
	accountLooks = 2
	// countedFor is for how long it is remembered what was counted: as long as an
	// audit may find it again.
	countedFor = 2 * accountFor
)

// startAccounting begins to account, unless nothing is logged that could be added up.
func startAccounting(ctx context.Context, o Options, js jetstream.JetStream, replicas *fleet.Fleet, m *telemetry.Metrics, undo *undo) {
	if o.AttemptLog == attempt.Off {
		return
	}
	seldom := o.Logger.Sample(&zerolog.BurstSampler{Burst: 1, Period: time.Hour})
	auditor := audit.New(js, o.Names)
	a := &accounting{auditor: auditor, now: auditor.Now, metrics: m, first: func() bool { return replicas.Rank("accounting") == 0 },
		failed: func(err error) { seldom.Warn().Err(err).Msg("recent deliveries could not be added up, trying again") }}
	ctx, stop := context.WithCancel(context.WithoutCancel(ctx))
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		a.run(ctx)
	}()
	undo.addBeside("accounting", func() error { stop(); <-ended; return nil })
}

// accounting adds up the deliveries of recent events for the metrics. One replica
// does, the one that ranks first.
type accounting struct {
	auditor *audit.Auditor
	now     func(context.Context) (time.Time, error) // by the clock that events are stored by
	first   func() bool
	metrics *telemetry.Metrics
	failed  func(error)

	window   audit.Window                   // of the last audit
	suspects map[audit.Difference]bool      // what it did not find, and was not counted
	counted  map[audit.Difference]time.Time // what was not found twice, and when
}

// run accounts until ctx ends.
func (a *accounting) run(ctx context.Context) {
	timer := time.NewTimer(accountFirst)
	defer timer.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-timer.C:
			a.once(ctx)
			timer.Reset(accountEvery)
		}
	}
}

// once accounts, if that is this replica's to do. What one that ranked first told is
// no news any more.
func (a *accounting) once(ctx context.Context) {
	if !a.first() {
		a.metrics.Accounting(telemetry.Accounts{}, time.Time{})
		return
	}
	if err := a.account(ctx); err != nil && ctx.Err() == nil {
		a.failed(err)
	}
}

func (a *accounting) account(ctx context.Context) error {
	now, err := a.now(ctx)
	if err != nil {
		return err
	}
	if err := a.confirm(ctx, now); err != nil {
		return err
	}
	r, err := a.auditor.Audit(ctx, audit.Window{Since: now.Add(-accountFor), Until: now.Add(-accountAfter),
		Most: accountMost, MostLog: accountRead, MostBodies: accountRead, Looks: accountLooks, Unburied: true}) // a worker may not read dead letters
	if err != nil {
		return err
	}
	a.suspect(r)
	a.metrics.Accounting(telemetry.Accounts{Matched: r.Matched, Delivered: r.Delivered, Waiting: r.Waiting, Held: r.Held,
		Dead: r.Dead, Discarded: r.Discarded, Unaccounted: r.Unaccounted}, time.Now())
	return nil
}

// suspect remembers what an audit did not find, and of which events that was.
func (a *accounting) suspect(r audit.Report) {
	a.window = audit.Window{Since: r.Since, Until: r.Until.Add(time.Nanosecond), MostBodies: accountRead, Looks: accountLooks, Unburied: true}
	a.suspects = make(map[audit.Difference]bool)
	for _, d := range r.Differences {
		if _, counted := a.counted[d]; !counted {
			a.suspects[d] = true
		}
	}
}

// confirm looks again for what the last audit did not find, among the same events,
// and counts what is not found once more: the first time it may have been on its way.
func (a *accounting) confirm(ctx context.Context, now time.Time) error {
	maps.DeleteFunc(a.counted, func(_ audit.Difference, at time.Time) bool { return now.Sub(at) > countedFor })
	suspects := a.suspects
	a.suspects = nil // where this fails, as with a log that was purged, the next audit goes on
	if len(suspects) == 0 {
		return nil
	}
	r, err := a.auditor.Audit(ctx, a.window)
	if err != nil {
		return err
	}
	if a.counted == nil {
		a.counted = make(map[audit.Difference]time.Time)
	}
	n := 0
	for _, d := range r.Differences {
		if suspects[d] {
			a.counted[d] = now
			n++
		}
	}
	a.metrics.Missing(n)
	return nil
}
