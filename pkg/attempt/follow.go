package attempt

import (
	"context"
	"fmt"
	"time"

	"github.com/nats-io/nats.go/jetstream"

	"jethook/streams"
)

const (
	// followEvery is how often Follow looks for more.
	followEvery = 250 * time.Millisecond
	// followFor bounds one such look: whoever follows is told after as long that
	// nothing comes.
	followFor = 5 * time.Second
)

// Follow calls do with each record that the filter means, from Since on or else
// from now on, as they are stored, until ctx ends or do returns an error. Once it has
// begun, it waits for as long as NATS is away: waits is called with the cause when
// it begins to wait, and with nil when it goes on.
func (s *Store) Follow(ctx context.Context, f Filter, do func(Record) error, waits func(cause error)) error {
	if err := f.Validate(); err != nil {
		return err
	}
	stream, err := s.js.Stream(ctx, s.names.Attempts())
	if ctx.Err() != nil {
		return nil // somebody has seen enough
	}
	if err != nil {
		return fmt.Errorf("follow the attempt log: %w", s.explain(err))
	}
	at := &follower{Store: s, filter: f, do: do, read: s.read(f.subject(s.names), f.Since), created: stream.CachedInfo().Created}
	if f.Since.IsZero() {
		at.read.First = stream.CachedInfo().State.LastSeq + 1
	}
	ticker := time.NewTicker(followEvery)
	defer ticker.Stop()
	for waiting := false; ; {
		over, err := at.more(ctx)
		switch {
		case ctx.Err() != nil:
			return nil
		case over:
			return err
		case (err != nil) != waiting:
			waiting = err != nil
			waits(err)
		}
		select {
		case <-ctx.Done():
			return nil
		case <-ticker.C:
		}
	}
}

// follower is how far somebody has followed.
type follower struct {
	*Store
	filter  Filter
	do      func(Record) error
	read    streams.Read // what comes next
	created time.Time    // when the stream was made that is read
	found   int
}

// more shows what came since. It reports whether that was all that is asked for; an
// error is then do's.
func (f *follower) more(ctx context.Context) (over bool, err error) {
	ctx, cancel := context.WithTimeout(ctx, followFor)
	defer cancel()
	stream, err := f.js.Stream(ctx, f.names.Attempts())
	if err != nil {
		return false, fmt.Errorf("look up stream %s: %w", f.names.Attempts(), f.explain(err))
	}
	f.find(stream.CachedInfo())
	before := f.read.First
	for m, err := range f.read.All(ctx, f.js) {
		if err != nil && f.read.First > before {
			return false, nil // much comes, or the next look fails too
		}
		if err != nil {
			return false, err
		}
		f.read.First = m.Seq + 1
		for r := range readable(f.Store, m, decodeRecord) {
			if !f.filter.matches(&r) {
				continue
			}
			if err := f.do(r); err != nil {
				return true, err
			}
			if f.found++; f.found == f.filter.Limit {
				return true, nil
			}
		}
	}
	return false, nil
}

// find sees to it that nothing is passed over: of a stream that was made anew
// everything comes next, and of one that lost its last messages, as with a machine
// that crashed, what takes their place.
func (f *follower) find(now *jetstream.StreamInfo) {
	switch {
	case !now.Created.Equal(f.created):
		f.created, f.read.First = now.Created, 1
	case f.read.First > now.State.LastSeq+1:
		f.read.First = now.State.LastSeq + 1
	}
}
