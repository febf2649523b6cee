package audit

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/nats-io/nats.go/jetstream"

	"jethook/streams"
)

// errEmptied is returned where the log has nothing any more of what it had.
var errEmptied = errors.New("the attempt log was emptied, and nothing was logged since: nothing can be audited")

// reach finds out how far the ledger reaches back, and lets the window begin there.
func (b *books) reach(ctx context.Context, mostLog uint64) error {
	stream, err := b.js.Stream(ctx, b.names.Attempts())
	if err != nil {
		return fmt.Errorf("look up stream %s: %w: without the attempt log nothing can be audited", b.names.Attempts(), err)
	}
	info := stream.CachedInfo()
	state, begins := info.State, info.Created
	switch {
	case state.Msgs == 0 && state.LastSeq > 0:
		return errEmptied
	case state.Msgs == 0:
		b.say("the attempt log is empty: JETHOOK_ATTEMPT_LOG may be off")
	case state.FirstSeq > 1 && state.FirstTime.After(begins):
		begins = state.FirstTime.Add(b.skew) // lines are gone of what is older by that clock
	}
	if begins.After(b.since) {
		reaches := "the attempt log reaches back to " + begins.Format(time.RFC3339) + " only"
		from, err := b.beginAt(ctx, begins)
		if err != nil {
			return err
		}
		if !from {
			return fmt.Errorf("%s: what came later can be audited; raise max_bytes or max_age of stream %s to keep more", reaches, b.names.Attempts())
		}
		b.say(reaches)
	}
	newest, err := b.newest(ctx, state, mostLog)
	if err != nil || !newest.After(b.since) {
		return err
	}
	from, err := b.beginAt(ctx, newest)
	if err == nil && !from {
		err = fmt.Errorf("all events of the span are older than the newest %d bytes of the ledger, of which more is not read", mostLog)
	}
	b.say(fmt.Sprintf("only the newest %d bytes of the ledger were looked at", mostLog))
	return err
}

// beginAt lets the window begin at a time, and reports whether it has events then.
func (b *books) beginAt(ctx context.Context, at time.Time) (bool, error) {
	from, err := b.firstSince(ctx, at)
	if err != nil || from == 0 || from > b.last {
		return false, err
	}
	b.first, b.since = max(b.first, from), at
	return true, nil
}

// newest returns from which time on the window's lines have about so many bytes, zero
// where they have no more. It goes back from the last message in steps that grow, and
// takes the messages of a step to be as large as that at its end: so it sees what is
// quiet behind what was busy and the other way round, and reads few.
func (b *books) newest(ctx context.Context, log jetstream.StreamState, most uint64) (from time.Time, err error) {
	var back, messages, bytes uint64
	for all := log.Msgs == 0 || most == 0; !all; back += back/4 + 1 {
		back = min(back, log.LastSeq-log.FirstSeq)
		all = back == log.LastSeq-log.FirstSeq
		m, found, err := streams.Read{Stream: b.names.Attempts(), Filter: b.names.Ledger("*"), First: log.LastSeq - back}.Next(ctx, b.js)
		if err != nil {
			return time.Time{}, err
		}
		if !found {
			continue
		}
		if more := m.Pending + 1; more > messages {
			bytes += (more - messages) * uint64(len(m.Data))
			messages = more
		}
		switch begins := m.Time.Add(b.skew); { // as so much before the window is read
		case bytes > most && from.IsZero():
			return begins, nil
		case bytes > most:
			return from, nil
		case begins.Before(b.since):
			return time.Time{}, nil
		default:
			from = begins
		}
	}
	return time.Time{}, nil
}
