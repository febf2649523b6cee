package audit

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"time"

	"github.com/nats-io/nats.go/jetstream"

	"jethook/pkg/attempt"
	"jethook/pkg/deadletter"
	"jethook/pkg/event"
	"jethook/streams"
)

// Story is an event and what became of it.
type Story struct {
	Event event.Event // without a body when the stream has it no more
	Gone  bool        // the stream has it no more
	// Unmatched says that no replica was given the event yet.
	Unmatched bool
	// Unlogged says that one was, and that the attempt log knows nothing of it:
	// Deliveries are those that are to be found without.
	Unlogged   bool
	Deliveries []Standing // by endpoint
}

// Event returns the stories of the events with an id, oldest first: several tenants
// may use the same, and the same tenant after some minutes. It looks at the last hour
// first, and no further than at the first span of time that has all of one story,
// unless all are asked for. The error is an UnknownError where there is none.
func (a *Auditor) Event(ctx context.Context, id string, all bool) ([]Story, error) {
	for again := false; ; again = true {
		stories, err := a.stories(ctx, id, all)
		if err != nil || again || !slices.ContainsFunc(stories, Story.missing) {
			return stories, err
		}
		if err := a.settle(ctx); err != nil { // it may be on its way
			return nil, err
		}
	}
}

// missing reports whether a delivery is nowhere to be found.
func (s Story) missing() bool {
	return slices.ContainsFunc(s.Deliveries, func(d Standing) bool { return d.State == Unaccounted })
}

func (a *Auditor) stories(ctx context.Context, id string, all bool) ([]Story, error) {
	found, err := a.lines(ctx, id, all)
	if err == nil && len(found) == 0 {
		found, err = a.unlogged(ctx, id)
	}
	if err != nil {
		return nil, err
	}
	stories := make([]Story, 0, len(found))
	for _, seq := range slices.Sorted(maps.Keys(found)) {
		s, err := a.story(ctx, id, seq, found[seq])
		if err != nil {
			return nil, err
		}
		stories = append(stories, s)
	}
	return stories, nil
}

// known is what was found of an event.
type known struct {
	lines   []attempt.Entry // of the ledger
	waiting []place         // without those
	letters []deadletter.Letter
}

// lines returns the ledger's lines about an id, by the event's sequence.
func (a *Auditor) lines(ctx context.Context, id string, all bool) (map[uint64]*known, error) {
	var recent []time.Time
	if !all {
		recent = a.recent(time.Now())
	}
	for _, since := range append(recent, time.Time{}) {
		found := make(map[uint64]*known)
		for e, err := range a.log.Event(ctx, id, since) {
			if err != nil {
				return nil, err
			}
			of(found, e.EventSeq).lines = append(of(found, e.EventSeq).lines, e)
		}
		whole := !slices.ContainsFunc(slices.Collect(maps.Values(found)), func(k *known) bool {
			return !slices.ContainsFunc(k.lines, func(e attempt.Entry) bool { return e.Endpoint == "" })
		})
		if len(found) > 0 && whole || since.IsZero() {
			return found, nil
		}
	}
	return nil, nil // not reached: the last look is at all
}

func of(found map[uint64]*known, seq uint64) *known {
	if found[seq] == nil {
		found[seq] = &known{}
	}
	return found[seq]
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
func (a *Auditor) story(ctx context.Context, id string, seq uint64, k *known) (Story, error) {
	e, err := a.read(ctx, seq)
	s := Story{Event: e}
	switch {
	case errors.Is(err, jetstream.ErrMsgNotFound):
		s.Gone, s.Event = true, event.Event{ID: id, Seq: seq}
	case err != nil:
		return Story{}, err
	}
	b := a.newBooks(seq, seq, s.Event.Time)
	s.Event.Tenant = cmp.Or(b.know(k), s.Event.Tenant)
	if err := b.find(ctx); err != nil {
		return Story{}, err
	}
	if len(b.nowhere()) > 0 {
		for l, err := range a.log.Discarded(ctx, b.since) {
			if err != nil {
				return Story{}, err
			}
			b.enter(&l)
		}
		if err := b.find(ctx); err != nil {
			return Story{}, err
		}
	}
	s.Unmatched = len(k.lines) == 0 && b.unread > b.handed
	s.Unlogged = len(k.lines) == 0 && !s.Unmatched
	s.Deliveries = b.standings(k)
	return s, nil
}

// know enters what was found of one event, and returns its tenant. All whom there
// were attempts for are told of: it may have been sent from the history to others
// than it was for.
func (b *books) know(k *known) (tenant string) {
	for i := range k.lines {
		l := &k.lines[i]
		tenant = l.Tenant
		if at := (key{l.EventSeq, b.name(l.Tenant, l.Endpoint)}); l.Dead != "" && b.deliveries[at] == nil {
			delete(b.deliveries, at) // delivered once, it was sent again
		}
		b.enter(l)
	}
	for at, it := range b.deliveries {
		if it != nil && it.match == 0 {
			it.match = max(b.matches[at.event], 1)
			if it.state == Delivered {
				b.deliveries[at] = nil
			}
		}
	}
	for _, p := range k.waiting {
		tenant = p.tenant
		*b.entry(key{p.eventSeq, b.name(p.tenant, p.endpoint)}) = entry{state: p.state, place: p}
	}
	for _, l := range k.letters {
		tenant = l.Tenant
		*b.entry(key{l.EventSeq, b.name(l.Tenant, l.Endpoint)}) = entry{state: Dead, letter: l.Seq}
	}
	return tenant
}
