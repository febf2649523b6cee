package audit

import (
	"context"
	"fmt"
	"strconv"
	"strings"
	"time"

	"jethook/pkg/deadletter"
	"jethook/streams"
)

// UnknownError is returned for an id of which nothing is known, and says since when.
type UnknownError struct {
	Log    time.Time // the attempt log reaches back to then; zero is nowhere
	Events time.Time // events were looked through since then; zero is all there are
}

func (e *UnknownError) Error() string {
	log := "the attempt log is empty"
	if !e.Log.IsZero() {
		log = "the attempt log reaches back to " + e.Log.UTC().Format(time.RFC3339)
	}
	if e.Events.IsZero() {
		return fmt.Sprintf("nothing is known of this event: %s, and no event that its stream still has is this one", log)
	}
	return fmt.Sprintf("nothing is known of this event: %s, and what its stream has from before was looked through back to %s only",
		log, e.Events.UTC().Format(time.RFC3339))
}

const (
	// mostSearched bounds how many bytes of events are read to find one.
	mostSearched = 256 << 20
	// mostLetters is up to how many dead letters are looked through for one.
	mostLetters = 1_000_000
)

// unlogged looks for events that the log has no line of: no replica has read them
// yet, the log does not reach back as far, or it is off.
func (a *Auditor) unlogged(ctx context.Context, id string) (map[uint64]*known, error) {
	found := make(map[uint64]*known)
	if seq, ok := madeSeq(id); ok {
		if e, err := a.read(ctx, seq); err == nil && e.ID == id {
			of(found, seq)
		}
	}
	for p, err := range a.places(ctx, streams.Read{Filter: a.names.Scheduled("*", "*", id, "*")}) {
		if err != nil {
			return nil, err
		}
		of(found, p.eventSeq).waiting = append(of(found, p.eventSeq).waiting, p)
	}
	if err := a.searchLetters(ctx, id, found); err != nil {
		return nil, err
	}
	if len(found) > 0 {
		return found, nil
	}
	unknown, err := a.searchEvents(ctx, id, found)
	if err == nil && len(found) == 0 {
		return nil, unknown
	}
	return found, err
}

func (a *Auditor) searchLetters(ctx context.Context, id string, found map[uint64]*known) error {
	stream, err := a.js.Stream(ctx, a.names.DeadLetters())
	if err != nil {
		return fmt.Errorf("look up stream %s: %w", a.names.DeadLetters(), err)
	}
	if stream.CachedInfo().State.Msgs > mostLetters {
		return nil
	}
	for l, err := range a.letters.All(ctx, deadletter.Filter{}) {
		if err != nil {
			return err
		}
		if l.EventID == id {
			of(found, l.EventSeq).letters = append(of(found, l.EventSeq).letters, l)
		}
	}
	return nil
}

// searchEvents looks through the events that nobody has matched, and the newest of
// those that the log cannot know.
func (a *Auditor) searchEvents(ctx context.Context, id string, found map[uint64]*known) (*UnknownError, error) {
	events, err := a.js.Stream(ctx, a.names.Events())
	if err != nil {
		return nil, fmt.Errorf("look up stream %s: %w", a.names.Events(), err)
	}
	state := events.CachedInfo().State
	log, err := a.js.Stream(ctx, a.names.Attempts())
	if err != nil {
		return nil, fmt.Errorf("look up stream %s: %w", a.names.Attempts(), err)
	}
	h, err := a.hands(ctx)
	if err != nil {
		return nil, err
	}
	unknown, last := &UnknownError{}, state.LastSeq
	if l := log.CachedInfo().State; l.Msgs > 0 {
		unknown.Log = l.FirstTime
		if l.LastTime.Add(time.Minute).After(state.LastTime) { // it is not off
			if from, err := a.firstSince(ctx, l.FirstTime); err != nil {
				return nil, err
			} else if from > 0 {
				last = from - 1
			}
			if err := a.search(ctx, id, max(h.least()+1, last+1), state.LastSeq, found); err != nil {
				return nil, err
			}
		}
	}
	first := state.FirstSeq
	if per := state.Bytes / max(state.Msgs, 1); (last-min(first, last))*per > mostSearched {
		first = last - mostSearched/per
		if unknown.Events, err = a.timeOf(ctx, first); err != nil {
			return nil, err
		}
	}
	return unknown, a.search(ctx, id, first, last, found)
}

func (a *Auditor) search(ctx context.Context, id string, first, last uint64, found map[uint64]*known) error {
	if last == 0 {
		return nil
	}
	for m, err := range (streams.Read{Stream: a.names.Events(), Filter: a.events(), First: first, Last: last}).All(ctx, a.js) {
		if err != nil {
			return err
		}
		if a.eventOf(m).ID == id {
			of(found, m.Seq)
		}
	}
	return nil
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
