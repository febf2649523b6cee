package audit

import (
	"cmp"
	"context"
	"iter"
	"slices"
	"strings"
	"time"

	"jethook/pkg/attempt"
	"jethook/pkg/delivery"
	"jethook/pkg/event"
)

// Standing is where one delivery of an event stands.
type Standing struct {
	Endpoint string // its id; the tenant is the event's
	Ordered  bool
	State    State
	Since    time.Time       // of the state, where that is known
	Due      time.Time       // of the next attempt of one that waits for it
	Reason   delivery.Reason // of one that is or was a dead letter
	DeadSeq  uint64          // of the dead letter
	Attempts []attempt.Entry
}

// standings says where the deliveries of one event stand.
func (b *books) standings(k *known) []Standing {
	by := make(map[string]*Standing)
	for at, it := range b.deliveries {
		_, endpoint, _ := strings.Cut(at.endpoint, "/")
		d := &Standing{Endpoint: endpoint, State: Delivered}
		if it != nil {
			d.State, d.Due, d.Since, d.DeadSeq = cmp.Or(it.state, Unaccounted), it.place.delivery.Due, it.place.delivery.First, it.letter
		}
		by[endpoint] = d
	}
	for _, l := range k.letters {
		by[l.Endpoint].Since, by[l.Endpoint].Reason = l.DeadAt, l.Reason
	}
	for _, l := range k.lines {
		for _, id := range l.Ordered {
			if d := by[id]; d != nil {
				d.Ordered = true
			}
		}
		if d := by[l.Endpoint]; d != nil {
			d.take(l)
		}
	}
	return slices.SortedFunc(func(yield func(Standing) bool) {
		for _, d := range by {
			if !yield(*d) {
				return
			}
		}
	}, func(a, b Standing) int { return cmp.Compare(a.Endpoint, b.Endpoint) })
}

// take takes a line of the ledger into account, which comes after those before.
func (d *Standing) take(l attempt.Entry) {
	if l.Dead == "" {
		d.Attempts = append(d.Attempts, l)
	}
	switch {
	case l.Dead != "":
		d.Reason = l.Dead
		if d.State == Dead {
			d.Since = l.At
		}
	case l.Outcome == delivery.Delivered && d.State == Delivered:
		d.Since = l.At.Add(time.Duration(l.DurationMS * float64(time.Millisecond)))
	}
}

// Attempts yields the records of a standing's attempts: all that is known of each.
// One that the log does not have, because of its level, is made of the ledger's line.
func (a *Auditor) Attempts(ctx context.Context, e *event.Event, d *Standing) iter.Seq2[attempt.Record, error] {
	return func(yield func(attempt.Record, error) bool) {
		for i := range d.Attempts {
			r, err := a.record(ctx, e, &d.Attempts[i])
			if !yield(r, err) || err != nil {
				return
			}
		}
	}
}

func (a *Auditor) record(ctx context.Context, e *event.Event, l *attempt.Entry) (attempt.Record, error) {
	// It lies where the line lies, by the clock of NATS, and says by a replica's when it was made.
	f := attempt.Filter{Tenant: l.Tenant, Endpoint: l.Endpoint, EventID: l.EventID, Since: l.At, Until: l.Stored}
	if l.At.After(l.Stored) {
		f.Since, f.Until = l.Stored, l.At
	}
	f.Until = f.Until.Add(time.Nanosecond)
	for r, err := range a.log.Records(ctx, f) {
		if err != nil || r.At.Equal(l.At) {
			return r, err
		}
	}
	return attempt.Record{EventID: l.EventID, EventType: e.Type, EventTime: e.Time, EventSeq: l.EventSeq, Tenant: l.Tenant, Endpoint: l.Endpoint,
		Attempt: l.Attempt, At: l.At, DurationMS: l.DurationMS, Status: l.Status, Fault: l.Fault, Outcome: l.Outcome, Reason: l.Reason,
		NextAt: l.NextAt, Replay: l.Replay, Probe: l.Probe}, nil
}
