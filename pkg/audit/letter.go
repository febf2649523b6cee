package audit

import (
	"context"
	"fmt"
	"strings"
	"time"

	"jethook/pkg/deadletter"
)

// exhume looks whether the dead letters are there that the ledger tells of. Each is
// looked for once: it was stored before that line. One that is not there has been
// replayed, or removed, or is nowhere.
func (b *books) exhume(ctx context.Context) error {
	dead := make(map[key]*entry)
	for k, it := range b.deliveries {
		if it != nil && it.match > 0 && it.state == Dead && it.letter == 0 {
			dead[k] = it
		}
	}
	if b.unburied || len(dead) == 0 {
		return nil
	}
	if err := b.cleared(ctx); err != nil {
		return err
	}
	for _, f := range b.graves(dead) {
		if err := b.dig(ctx, f, dead); err != nil {
			return err
		}
	}
	for _, it := range dead {
		it.state = ""
	}
	return nil
}

// dig looks for letters, and forgets of which deliveries it has found them.
func (b *books) dig(ctx context.Context, f deadletter.Filter, dead map[key]*entry) error {
	for l, err := range b.letters.All(ctx, f) {
		if err != nil {
			return err
		}
		k := key{l.EventSeq, l.Name()}
		if it := dead[k]; it != nil {
			it.letter = l.Seq
			delete(dead, k)
		}
		if len(dead) == 0 {
			return nil
		}
	}
	return nil
}

// lineAfter is for how long the line about a dead letter is stored after that at most.
const lineAfter = 2 * time.Minute

// graves say where the letters of deliveries lie.
func (b *books) graves(of map[key]*entry) []deadletter.Filter {
	var f deadletter.Filter
	for _, it := range of {
		if at := it.died.Add(-lineAfter); f.Since.IsZero() || at.Before(f.Since) {
			f.Since = at
		}
	}
	few := endpoints(of)
	if len(few) > fewEndpoints {
		return []deadletter.Filter{f}
	}
	var all []deadletter.Filter
	for _, name := range few {
		f.Tenant, f.Endpoint, _ = strings.Cut(name, "/")
		all = append(all, f)
	}
	return all
}

// cleared takes into account that somebody removed the oldest letters, or the stream
// of them, with another tool than jethook, or that they are as old as they may get.
func (b *books) cleared(ctx context.Context) error {
	stream, err := b.js.Stream(ctx, b.names.DeadLetters())
	if err != nil {
		return fmt.Errorf("look up stream %s: %w", b.names.DeadLetters(), err)
	}
	info := stream.CachedInfo()
	until := info.Created
	switch state := info.State; {
	case state.Msgs == 0 && state.LastSeq > 0:
		until = info.TimeStamp
	case state.FirstSeq > 1:
		until = state.FirstTime.Add(b.skew) // the line is stored after the letter
	}
	b.removals = append(b.removals, removal{letters: true, until: until})
	return nil
}
