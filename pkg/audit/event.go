package audit

import (
	"context"
	"errors"
	"fmt"
	"iter"
	"maps"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/nats-io/nats.go/jetstream"

	"jethook/pkg/attempt"
	"jethook/pkg/deadletter"
	"jethook/pkg/delivery"
	"jethook/pkg/event"
	"jethook/streams"
)

// Story is an event and what became of it.
type Story struct {
	Event event.Event // without a body when the stream has it no more
	Gone  bool        // the stream has it no more
	// Unmatched says that no replica has matched the event to endpoints yet.
	Unmatched  bool
	Deliveries []Standing // by endpoint
}

// Standing is where one delivery of an event stands.
type Standing struct {
	Endpoint string // its id; the tenant is the event's
	Ordered  bool
	State    State
	Since    time.Time       // of the state, where that is known
	Due      time.Time       // of the next attempt of one that waits for it
	Reason   delivery.Reason // of a dead one
	DeadSeq  uint64          // of the dead letter; 0 when it was purged
	Attempts []attempt.Entry
}

// ErrUnknown is returned for an id of which nothing is known.
var ErrUnknown = errors.New("nothing is known of this event")

// Event returns the stories of the events with an id, oldest first: several tenants
// may use the same, and the same tenant after some minutes.
func (a *Auditor) Event(ctx context.Context, id string) ([]Story, error) {
	entries, err := a.entries(ctx, id)
	if err != nil {
		return nil, err
	}
	if len(entries) == 0 {
		seq, err := a.unread(ctx, id)
		if err != nil {
			return nil, err
		}
		if seq == 0 {
			return nil, ErrUnknown
		}
		entries[seq] = nil
	}
	least, ordered, err := a.floors(ctx)
	if err != nil {
		return nil, err
	}
	var all []Story
	for _, seq := range slices.Sorted(maps.Keys(entries)) {
		s, err := a.story(ctx, id, seq, entries[seq], least, ordered)
		if err != nil {
			return nil, err
		}
		all = append(all, s)
	}
	return all, nil
}

// entries returns the ledger's lines about an id, by the event's sequence. It looks
// at the last hour first, because that is what most ask about.
func (a *Auditor) entries(ctx context.Context, id string) (map[uint64][]attempt.Entry, error) {
	for _, ago := range []time.Duration{time.Hour, 24 * time.Hour, 0} {
		found := make(map[uint64][]attempt.Entry)
		var since time.Time
		if ago > 0 {
			since = time.Now().Add(-ago)
		}
		for e, err := range a.log.Event(ctx, id, since) {
			if err != nil {
				return nil, err
			}
			found[e.EventSeq] = append(found[e.EventSeq], e)
		}
		whole := !slices.ContainsFunc(slices.Collect(maps.Values(found)), func(lines []attempt.Entry) bool {
			return !slices.ContainsFunc(lines, func(e attempt.Entry) bool { return e.Endpoint == "" })
		})
		if len(found) > 0 && whole || ago == 0 {
			return found, nil
		}
	}
	return nil, nil // not reached: the last look is at all
}

// unread looks for an event that no replica has read yet, or that the log has no
// line of, and returns its sequence.
func (a *Auditor) unread(ctx context.Context, id string) (uint64, error) {
	if seq, ok := madeSeq(id); ok {
		if e, err := a.read(ctx, seq); err == nil && e.ID == id {
			return seq, nil
		}
	}
	least, _, err := a.floors(ctx)
	if err != nil || least >= allOfIt {
		return 0, err
	}
	for m, err := range (streams.Read{Stream: a.names.Events(), Filter: a.events(), First: least + 1}).All(ctx, a.js) {
		if err != nil {
			return 0, err
		}
		if a.eventOf(m).ID == id {
			return m.Seq, nil
		}
	}
	return 0, nil
}

// madeSeq returns the sequence in an id that jethook made.
func madeSeq(id string) (uint64, bool) {
	parts := strings.Split(id, "_")
	if len(parts) != 3 || parts[0] != "evt" {
		return 0, false
	}
	seq, err := strconv.ParseUint(parts[2], 36, 64)
	return seq, err == nil
}

// read reads an event from its stream.
func (a *Auditor) read(ctx context.Context, seq uint64) (event.Event, error) {
	stream, err := a.js.Stream(ctx, a.names.Events())
	if err != nil {
		return event.Event{}, fmt.Errorf("look up stream %s: %w", a.names.Events(), err)
	}
	m, err := stream.GetMsg(ctx, seq)
	if err != nil {
		return event.Event{}, fmt.Errorf("read event %d: %w", seq, err)
	}
	return a.eventOf(streams.Message{Subject: m.Subject, Seq: m.Sequence, Time: m.Time, Header: m.Header, Data: m.Data}), nil
}

func (a *Auditor) eventOf(m streams.Message) event.Event {
	// Under a subject that is no event's there is an id all the same.
	tenant, eventType, err := a.names.ParseEvent(m.Subject)
	if err != nil {
		tenant, eventType = "", m.Subject
	}
	return event.New(event.Message{Tenant: tenant, Type: eventType, Header: m.Header, Body: m.Data, Seq: m.Seq, Time: m.Time})
}

// story tells what became of the event under a sequence.
func (a *Auditor) story(ctx context.Context, id string, seq uint64, lines []attempt.Entry, least uint64, ordered map[string]uint64) (Story, error) {
	e, err := a.read(ctx, seq)
	s := Story{Event: e, Unmatched: len(lines) == 0}
	switch {
	case errors.Is(err, jetstream.ErrMsgNotFound):
		s.Gone, s.Event = true, event.Event{ID: id, Seq: seq}
	case err != nil:
		return Story{}, err
	}
	standings := map[string]*Standing{}
	of := func(id string) *Standing {
		if standings[id] == nil {
			standings[id] = &Standing{Endpoint: id, State: Unaccounted}
		}
		return standings[id]
	}
	for _, l := range lines {
		s.Event.Tenant = l.Tenant
		for _, id := range l.Matched {
			of(id)
		}
		for _, id := range l.Ordered {
			of(id).Ordered = true
		}
		if l.Endpoint != "" {
			of(l.Endpoint).take(l)
		}
	}
	for _, id := range slices.Sorted(maps.Keys(standings)) {
		d := standings[id]
		if err := a.stand(ctx, &s.Event, d, least, ordered[s.Event.Tenant+"/"+id]); err != nil {
			return Story{}, err
		}
		s.Deliveries = append(s.Deliveries, *d)
	}
	return s, nil
}

// take takes a line of the ledger into account, which comes after those before.
func (d *Standing) take(l attempt.Entry) {
	switch {
	case l.Dead != "":
		d.State, d.Since, d.Reason = Dead, l.At, l.Dead
		return
	case l.Outcome == delivery.Delivered:
		d.State, d.Since = Delivered, l.At.Add(time.Duration(l.DurationMS*float64(time.Millisecond)))
	case d.State == Dead: // replayed
		d.State = Unaccounted
	}
	d.Attempts = append(d.Attempts, l)
}

// stand finds out where a delivery stands that is not known to be delivered.
func (a *Auditor) stand(ctx context.Context, e *event.Event, d *Standing, least, orderedFloor uint64) error {
	if d.State == Delivered {
		return nil
	}
	for _, subject := range []string{a.names.Scheduled(e.Tenant, d.Endpoint, e.ID, "*"), a.names.Delivery("*", e.Tenant, d.Endpoint), a.names.Held(e.Tenant, d.Endpoint, "*")} {
		p, found, err := a.lies(ctx, subject, e.Seq, time.Time{})
		if err != nil {
			return err
		}
		if found {
			d.State, d.Due, d.Since = p.state, p.delivery.Due, p.delivery.First
			return nil
		}
	}
	switch {
	case d.State == Dead:
		return a.deadSeq(ctx, e, d)
	case d.Ordered && e.Seq > orderedFloor, !d.Ordered && e.Seq > least:
		d.State = Waiting
	case d.Ordered:
		d.State = Delivered // acked, and not dead
	}
	return nil
}

// mostLooked bounds in how many held deliveries of an endpoint one is looked for.
const mostLooked = 200_000

// lies looks for a delivery of an event under a subject.
func (a *Auditor) lies(ctx context.Context, subject string, seq uint64, since time.Time) (place, bool, error) {
	n := 0
	for p, err := range a.places(ctx, streams.Read{Filter: subject, Since: since}) {
		if err != nil {
			return place{}, false, err
		}
		if p.eventSeq == seq {
			return p, true, nil
		}
		if n++; n == mostLooked {
			break
		}
	}
	return place{}, false, nil
}

// deadSeq finds the dead letter of a delivery.
func (a *Auditor) deadSeq(ctx context.Context, e *event.Event, d *Standing) error {
	letters := a.letters.All(ctx, deadletter.Filter{Tenant: e.Tenant, Endpoint: d.Endpoint, Since: d.Since.Add(-time.Minute)})
	for l, err := range letters {
		if err != nil {
			return err
		}
		if l.EventID == e.ID {
			d.DeadSeq = l.Seq
			return nil
		}
	}
	return nil
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
	f := attempt.Filter{Tenant: l.Tenant, Endpoint: l.Endpoint, EventID: l.EventID, Since: l.At, Until: l.At.Add(time.Nanosecond), Limit: 1}
	for r, err := range a.log.Records(ctx, f) {
		return r, err
	}
	return attempt.Record{EventID: l.EventID, EventType: e.Type, EventTime: e.Time, EventSeq: l.EventSeq, Tenant: l.Tenant, Endpoint: l.Endpoint,
		Attempt: l.Attempt, At: l.At, DurationMS: l.DurationMS, Status: l.Status, Fault: l.Fault, Outcome: l.Outcome, Reason: l.Reason,
		NextAt: l.NextAt, Replay: l.Replay, Probe: l.Probe}, nil
}
