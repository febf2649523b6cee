package deadletter

import (
	"context"
	"errors"
	"fmt"
	"iter"
	"time"

	"github.com/nats-io/nats.go/jetstream"

	"jethook/pkg/event"
	"jethook/streams"
)

// ErrNotFound is returned for a sequence under which no dead letter lies.
var ErrNotFound = errors.New("no such dead letter")

// Store reads, removes and replays the dead letters of a namespace.
type Store struct {
	js    jetstream.JetStream
	names streams.Names

	// interrupt is called between any two steps of a replay. An error from it
	// ends the replay there, as a kill would. Only tests set it.
	interrupt func(at string) error
}

// NewStore returns the store of a namespace.
func NewStore(js jetstream.JetStream, names streams.Names) *Store {
	return &Store{js: js, names: names}
}

// Get reads one dead letter with its payload. A body that was too large to lie
// in the letter is read from the event; if that is gone, Problem says so.
func (s *Store) Get(ctx context.Context, seq uint64) (Letter, error) {
	stream, err := s.stream(ctx, s.names.DeadLetters())
	if err != nil {
		return Letter{}, err
	}
	m, err := stream.GetMsg(ctx, seq)
	switch {
	case errors.Is(err, jetstream.ErrMsgNotFound):
		return Letter{}, fmt.Errorf("%w under sequence %d: jethook dlq list shows those that there are", ErrNotFound, seq)
	case err != nil:
		return Letter{}, fmt.Errorf("read dead letter %d: %w", seq, err)
	}
	o := read(s.names, stored{m.Subject, m.Sequence, m.Time, m.Header, m.Data})
	body := o.body
	if o.delivery.BodyInEvent {
		body, err = event.Body(ctx, s.js, s.names.Events(), o.delivery.Event.Seq)
		if errors.Is(err, event.ErrGone) {
			o.letter.Problem = err.Error() + ", and the body was only there"
			return o.letter, nil
		}
		if err != nil {
			return Letter{}, err
		}
	}
	o.letter.setPayload(body)
	return o.letter, nil
}

// All yields the dead letters that the filter means, oldest first, without
// their payloads, up to the last one that there is at the start. Letters that
// cannot be read are among them, with their Problem. After an error it ends.
func (s *Store) All(ctx context.Context, f Filter) iter.Seq2[Letter, error] {
	return func(yield func(Letter, error) bool) {
		if err := f.Validate(); err != nil {
			yield(Letter{}, err)
			return
		}
		found := 0
		for m, err := range s.scan(ctx, f) {
			if err != nil {
				yield(Letter{}, err)
				return
			}
			o := read(s.names, m)
			if !f.matches(&o.letter) {
				continue
			}
			if !yield(o.letter, nil) {
				return
			}
			if found++; found == f.Limit {
				return
			}
		}
	}
}

// Count counts the dead letters that the filter means, and those among them that
// died before a time. It reads no more of each than it must.
func (s *Store) Count(ctx context.Context, f Filter, before time.Time) (total, older int, err error) {
	if err := f.Validate(); err != nil {
		return 0, 0, err
	}
	for m, err := range s.scan(ctx, f) {
		if err != nil {
			return 0, 0, err
		}
		letter := Letter{Seq: m.seq, DeadAt: m.time}
		if f.Type != "" || f.Reason != "" {
			letter = read(s.names, m).letter
		}
		if !f.matches(&letter) {
			continue
		}
		if letter.DeadAt.Before(before) {
			older++
		}
		if total++; total == f.Limit {
			break
		}
	}
	return total, older, nil
}

// Stats counts dead letters.
type Stats struct {
	Total      int            `json:"total"`
	ByReason   map[string]int `json:"by_reason"`   // "unreadable" for what has none
	ByEndpoint map[string]int `json:"by_endpoint"` // by TENANT/ENDPOINT
	Oldest     time.Time      `json:"oldest,omitzero"`
	Newest     time.Time      `json:"newest,omitzero"`
}

// Unreadable is what Stats counts as the reason of a letter that has none.
const Unreadable = "unreadable"

// Stats counts the dead letters that the filter means.
func (s *Store) Stats(ctx context.Context, f Filter) (Stats, error) {
	stats := Stats{ByReason: map[string]int{}, ByEndpoint: map[string]int{}}
	for l, err := range s.All(ctx, f) {
		if err != nil {
			return Stats{}, err
		}
		reason := string(l.Reason)
		if reason == "" {
			reason = Unreadable
		}
		stats.Total++
		stats.ByReason[reason]++
		stats.ByEndpoint[l.Name()]++
		if stats.Oldest.IsZero() {
			stats.Oldest = l.DeadAt
		}
		stats.Newest = l.DeadAt
	}
	return stats, nil
}

func (s *Store) stream(ctx context.Context, name string) (jetstream.Stream, error) {
	stream, err := s.js.Stream(ctx, name)
	switch {
	case errors.Is(err, jetstream.ErrStreamNotFound):
		return nil, fmt.Errorf("there is no stream %s: run `jethook serve` or `jethook streams apply` first", name)
	case err != nil:
		return nil, fmt.Errorf("look up stream %s: %w", name, err)
	}
	return stream, nil
}
