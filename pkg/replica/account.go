package replica

import (
	"context"
	"time"

	"github.com/nats-io/nats.go/jetstream"
	"github.com/rs/zerolog"

	"jethook/pkg/attempt"
	"jethook/pkg/audit"
	"jethook/pkg/fleet"
	"jethook/pkg/telemetry"
)

const (
	// accountEvery is how often the deliveries of the last minutes are added up, and
	// accountFirst when for the first time.
	accountEvery = time.Minute
	accountFirst = 15 * time.Second
	// accountFor is of how long the events are, up to a moment ago, and accountMost
	// of how many the newest: what that reads is some megabytes, whatever the load.
	accountFor  = 5 * time.Minute
	accountMost = 10_000
	// accountAfter is how old they are at least: what is younger is on its way.
	accountAfter = 5 * time.Second
)

// startAccounting begins to account, unless nothing is logged that could be added up.
func startAccounting(ctx context.Context, o Options, js jetstream.JetStream, replicas *fleet.Fleet, m *telemetry.Metrics, undo *undo) {
	if o.AttemptLog == attempt.Off {
		return
	}
	seldom := o.Logger.Sample(&zerolog.BurstSampler{Burst: 1, Period: time.Hour})
	a := &accounting{auditor: audit.New(js, o.Names), metrics: m, first: func() bool { return replicas.Rank("accounting") == 0 },
		failed: func(err error) { seldom.Warn().Err(err).Msg("recent deliveries could not be added up, trying again") }}
	ctx, stop := context.WithCancel(context.WithoutCancel(ctx))
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		a.run(ctx)
	}()
	undo.add("accounting", func() error { stop(); <-ended; return nil })
}

// accounting adds up the deliveries of recent events for the metrics. One replica
// does, the one that ranks first.
type accounting struct {
	auditor *audit.Auditor
	first   func() bool
	metrics *telemetry.Metrics
	failed  func(error)
}

// run accounts until ctx ends.
func (a *accounting) run(ctx context.Context) {
	timer := time.NewTimer(accountFirst)
	defer timer.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case now := <-timer.C:
			a.once(ctx, now)
			timer.Reset(accountEvery)
		}
	}
}

// once accounts, if that is this replica's to do. What one that ranked first told is
// no news any more.
func (a *accounting) once(ctx context.Context, now time.Time) {
	if !a.first() {
		a.metrics.Accounting(telemetry.Accounts{}, time.Time{})
		return
	}
	r, err := a.auditor.Audit(ctx, audit.Window{Since: now.Add(-accountFor), Until: now.Add(-accountAfter), Most: accountMost, Unburied: true}) // a worker may not read dead letters
	switch {
	case ctx.Err() != nil:
	case err != nil:
		a.failed(err)
	default:
		a.metrics.Accounting(telemetry.Accounts{Matched: r.Matched, Delivered: r.Delivered, Waiting: r.Waiting, Held: r.Held,
			Dead: r.Dead, Discarded: r.Discarded, Unaccounted: r.Unaccounted}, time.Now())
	}
}
