package audit

import (
	"cmp"
	"context"
	"fmt"
	"math"
	"time"

	"github.com/nats-io/nats.go/jetstream"

	"jethook/pkg/attempt"
	"jethook/pkg/deadletter"
	"jethook/streams"
)

// Auditor looks at one namespace.
type Auditor struct {
	js      jetstream.JetStream
	names   streams.Names
	log     *attempt.Store
	letters *deadletter.Store
	// What only tests change:
	settle func(context.Context) error // waits between looks at what moves
	recent func(time.Time) []time.Time // since when an event is looked for before all is looked through
	skew   time.Duration               // by how much the clocks of the servers that store streams may differ
}

// New returns an auditor of a namespace.
func New(js jetstream.JetStream, n streams.Names) *Auditor {
	return &Auditor{js: js, names: n, log: attempt.NewStore(js, n), letters: deadletter.NewStore(js, n), settle: settle, recent: recent, skew: skew}
}

// Log returns the store that is read, which knows what of it could not be read.
func (a *Auditor) Log() *attempt.Store { return a.log }

// recent is what most ask about.
func recent(now time.Time) []time.Time {
	return []time.Time{now.Add(-time.Hour), now.Add(-24 * time.Hour)}
}

// settle waits as long as a delivery is on its way from one place to another, and
// longer.
func settle(ctx context.Context) error {
	select {
	case <-ctx.Done():
		return context.Cause(ctx)
	case <-time.After(time.Second):
		return nil
	}
}

// Window says which events are audited.
type Window struct {
	Since time.Time // stored at this time or later; zero is the oldest
	Until time.Time // stored before this time; zero is now
	Most  uint64    // only the newest so many; 0 is all

	// MostLog lets the window begin later, so that no more than about so many bytes of
	// the ledger are read; 0 is all. Where no event is as young, that is an error.
	MostLog uint64

	// MostBodies bounds how many bytes are read of what lies in the stream of deliveries,
	// and of events that may be in a lane: behind that, what the ledger does not say
	// where it is counts as waiting; 0 is all.
	MostBodies int

	// Looks is how often at most what is nowhere is looked for; 0 is mostLooks.
	Looks int
	// Unburied takes the ledger's word for dead letters: for who may not read them.
	Unburied bool
}

// Report says where the deliveries of a window stand. Matched is the sum of all
// others.
type Report struct {
	Since       time.Time    `json:"since,omitzero"` // when the first event was stored
	Until       time.Time    `json:"until,omitzero"` // when the last was
	Events      int          `json:"events"`
	Unread      int          `json:"unread"` // events that no replica has matched yet
	Matched     int          `json:"matched"`
	Delivered   int          `json:"delivered"`
	Waiting     int          `json:"waiting"`
	Held        int          `json:"held"`
	Dead        int          `json:"dead"`
	Discarded   int          `json:"discarded"`
	Unaccounted int          `json:"unaccounted"`
	Differences []Difference `json:"differences,omitempty"` // the first of what is unaccounted for
	Note        string       `json:"note,omitempty"`        // why not all that was asked for was audited
}

// Difference is a delivery, or an event as a whole, that is nowhere to be found.
type Difference struct {
	EventSeq uint64 `json:"event_seq"`
	EventID  string `json:"event_id,omitempty"`
	Endpoint string `json:"endpoint,omitempty"` // TENANT/ENDPOINT; empty for an event that nobody matched
}

// mostDifferences bounds how many are listed; all are counted.
const mostDifferences = 1000

// mostLooks is how often what is nowhere is looked for: a delivery may move from a
// place that is looked at later to one that was looked at before.
const mostLooks = 6

// Audit accounts for every delivery of the window's events.
func (a *Auditor) Audit(ctx context.Context, w Window) (Report, error) {
	b, err := a.open(ctx, w)
	if err != nil || b == nil {
		return Report{}, err
	}
	for look := 1; ; look++ {
		if err := b.read(ctx); err != nil {
			return Report{}, err
		}
		if err := b.find(ctx); err != nil {
			return Report{}, err
		}
		if len(b.nowhere())+len(b.lost) == 0 || look == cmp.Or(w.Looks, mostLooks) {
			return b.report(), nil
		}
		if err := a.settle(ctx); err != nil {
			return Report{}, err
		}
	}
}

// open finds out which events are in the window. It returns nil where there are
// none.
func (a *Auditor) open(ctx context.Context, w Window) (*books, error) {
	stream, err := a.js.Stream(ctx, a.names.Events())
	if err != nil {
		return nil, fmt.Errorf("look up stream %s: %w", a.names.Events(), err)
	}
	state := stream.CachedInfo().State
	b := a.newBooks(state.FirstSeq, state.LastSeq, time.Time{})
	b.unburied, b.left = w.Unburied, cmp.Or(w.MostBodies, math.MaxInt)
	if w.Until.IsZero() {
		w.Until = state.LastTime.Add(time.Nanosecond)
	}
	from, err := a.firstSince(ctx, w.Since)
	if err != nil || from == 0 {
		return nil, err
	}
	b.first = max(b.first, from)
	behind, err := a.firstSince(ctx, w.Until)
	if err != nil {
		return nil, err
	}
	if behind > 0 {
		b.last = min(b.last, behind-1)
	}
	if b.first > b.last || state.Msgs == 0 {
		return nil, nil //nolint:nilnil // nil says that there are none
	}
	if w.Most > 0 && b.last-b.first >= w.Most {
		b.first = b.last - w.Most + 1
		b.say(fmt.Sprintf("only the newest %d events of the span were looked at", w.Most))
	}
	if b.since, err = a.timeOf(ctx, b.first); err != nil {
		return nil, err
	}
	if b.until, err = a.timeOf(ctx, b.last); err != nil {
		return nil, err
	}
	if err := b.reach(ctx, w.MostLog); err != nil {
		return nil, err
	}
	return b, nil
}

// Now returns the time by the clock of the server that stores events.
func (a *Auditor) Now(ctx context.Context) (time.Time, error) {
	stream, err := a.js.Stream(ctx, a.names.Events())
	if err != nil {
		return time.Time{}, fmt.Errorf("look up stream %s: %w", a.names.Events(), err)
	}
	return stream.CachedInfo().TimeStamp, nil
}

// firstSince returns the sequence of the first event that was stored at a time or
// later, 0 where there is none.
func (a *Auditor) firstSince(ctx context.Context, t time.Time) (uint64, error) {
	m, found, err := streams.Read{Stream: a.names.Events(), Filter: a.events(), Since: t}.Next(ctx, a.js)
	if !found {
		return 0, err
	}
	return m.Seq, nil
}

// timeOf returns when the event under a sequence was stored, or the one behind it
// where it is gone.
func (a *Auditor) timeOf(ctx context.Context, seq uint64) (time.Time, error) {
	m, _, err := streams.Read{Stream: a.names.Events(), Filter: a.events(), First: seq}.Next(ctx, a.js)
	return m.Time, err
}

func (a *Auditor) events() string { return a.names.Namespace() + ".events.>" }
