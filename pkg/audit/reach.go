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

// reach finds out how far the ledger reaches back, and lets the window begin there. It
// reports false where nothing is left of that.
func (b *books) reach(ctx context.Context, mostLog uint64) (bool, error) {
	stream, err := b.js.Stream(ctx, b.names.Attempts())
	if err != nil {
		return false, fmt.Errorf("look up stream %s: %w: without the attempt log nothing can be audited", b.names.Attempts(), err)
	}
	info := stream.CachedInfo()
	state, begins := info.State, info.Created
	switch {
	case state.Msgs == 0 && state.LastSeq > 0:
		return false, errEmptied
	case state.Msgs == 0:
		b.note = "the attempt log is empty: JETHOOK_ATTEMPT_LOG may be off"
	case state.FirstSeq > 1 && state.FirstTime.After(begins):
		begins = state.FirstTime
	}
	if begins.After(b.since) {
		from, err := b.beginAt(ctx, begins)
		if err != nil {
			return false, err
		}
		if !from {
			return false, fmt.Errorf("the attempt log reaches back to %s only: raise max_bytes of stream %s to keep more, or audit what came later",
				begins.Format(time.RFC3339), b.names.Attempts())
		}
		b.note = fmt.Sprintf("the attempt log reaches back to %s only", begins.Format(time.RFC3339))
	}
	newest, err := b.newest(ctx, state, mostLog)
	if err != nil || !newest.After(b.since) {
		return err == nil, err
	}
	b.note = fmt.Sprintf("only the newest %d bytes of the attempt log were looked at", mostLog)
	return b.beginAt(ctx, newest)
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

// newest returns the time from which on so many bytes were logged, zero where all of
// the log is no more than that.
func (a *Auditor) newest(ctx context.Context, log jetstream.StreamState, bytes uint64) (time.Time, error) {
	if bytes == 0 || log.Bytes <= bytes {
		return time.Time{}, nil
	}
	per := max(log.Bytes/max(log.Msgs, 1), 1)
	first := log.LastSeq - min(bytes/per, log.LastSeq-1)
	m, _, err := streams.Read{Stream: a.names.Attempts(), Filter: ">", First: first}.Next(ctx, a.js)
	return m.Time, err
}
