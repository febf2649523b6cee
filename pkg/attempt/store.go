package attempt

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"iter"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"jethook/streams"
)

// Store reads the attempt log of a namespace. A line that cannot be read hides no
// other: it is left out and counted.
type Store struct {
	js    jetstream.JetStream
	names streams.Names

	mu         sync.Mutex
	unreadable map[uint64]int // lines, by the message's sequence
}

// NewStore returns the store of a namespace.
func NewStore(js jetstream.JetStream, names streams.Names) *Store {
	return &Store{js: js, names: names, unreadable: make(map[uint64]int)}
}

// Unreadable returns how many lines there were, in all that was read so far, that
// could not be read.
func (s *Store) Unreadable() (lines int) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, n := range s.unreadable {
		lines += n
	}
	return lines
}

// Records yields the records that the filter means, in the order in which they
// were stored, up to the last that there is at the start. After an error it ends.
func (s *Store) Records(ctx context.Context, f Filter) iter.Seq2[Record, error] {
	return func(yield func(Record, error) bool) {
		if err := f.Validate(); err != nil {
			yield(Record{}, err)
			return
		}
		found := 0
		for m, err := range s.read(f.subject(s.names), f.Since).All(ctx, s.js) {
			if err != nil {
				yield(Record{}, err)
				return
			}
			if f.beyond(m.Time) {
				return
			}
			for r := range readable(s, m, decodeRecord) {
				if !f.matches(&r) {
					continue
				}
				if !yield(r, nil) {
					return
				}
				if found++; found == f.Limit {
					return
				}
			}
		}
	}
}

// skew is by how much the clock of a replica, which says when an attempt was made,
// may be ahead of that of the server, which says when it was stored.
const skew = 5 * time.Second

func (s *Store) read(filter string, since time.Time) streams.Read {
	if !since.IsZero() {
		since = since.Add(-skew)
	}
	return streams.Read{Stream: s.names.Attempts(), Filter: filter, Since: since}
}

// ErrUnreadable is the error of a line that cannot be read.
var ErrUnreadable = errors.New("a line cannot be read")

// Entries yields the lines of a message of the ledger. After a line that cannot be
// read it goes on with the next, for whoever goes on.
func Entries(m streams.Message) iter.Seq2[Entry, error] { return decode(m, entryOf(m)) }

// Entries yields those lines of a message of the ledger that can be read.
func (s *Store) Entries(m streams.Message) iter.Seq[Entry] { return readable(s, m, entryOf(m)) }

// entryOf returns what reads a line of a message.
func entryOf(m streams.Message) func([]byte) (Entry, error) {
	return func(line []byte) (Entry, error) {
		e, err := decodeEntry(line)
		e.Stored = m.Time
		return e, err
	}
}

// ErrNoStream is the error where there is no stream of the attempt log.
var ErrNoStream = errors.New("there is no stream")

// Discard keeps that an operator discards all that waits for an endpoint.
func (s *Store) Discard(ctx context.Context, tenant, endpoint string) error {
	return s.discard(ctx, Entry{Tenant: tenant, Endpoint: endpoint})
}

// DiscardLetters keeps that an operator removes dead letters of endpoints, named as
// TENANT/ENDPOINT.
func (s *Store) DiscardLetters(ctx context.Context, names []string) error {
	for _, chunk := range chunks(names) {
		lines := make([]Entry, 0, len(chunk))
		for _, name := range chunk {
			tenant, endpoint, _ := strings.Cut(name, "/")
			lines = append(lines, Entry{Tenant: tenant, Endpoint: endpoint, Letters: true})
		}
		if err := s.discard(ctx, lines...); err != nil {
			return err
		}
	}
	return nil
}

func (s *Store) discard(ctx context.Context, lines ...Entry) error {
	if len(lines) == 0 {
		return nil
	}
	var data []byte
	for _, l := range lines {
		l.At, l.Discarded = time.Now().UTC(), true
		line, err := json.Marshal(l)
		if err != nil {
			return fmt.Errorf("encode a line of the ledger: %w", err)
		}
		data = append(append(data, line...), '\n')
	}
	_, err := s.js.Publish(ctx, s.names.Ledger("0"), data)
	if errors.Is(err, jetstream.ErrNoStreamResponse) {
		// There is no stream, or it has no leader for now.
		if _, missing := s.js.Stream(ctx, s.names.Attempts()); missing != nil {
			err = missing
		}
	}
	if err != nil {
		return fmt.Errorf("keep in the ledger what is discarded: %w", s.explain(err))
	}
	return nil
}

// decode yields what the lines of a message say.
func decode[T any](m streams.Message, line func([]byte) (T, error)) iter.Seq2[T, error] {
	return func(yield func(T, error) bool) {
		for text := range bytes.Lines(m.Data) {
			v, err := line(text)
			if err != nil {
				err = fmt.Errorf("message %d of the attempt log: %w: %w", m.Seq, ErrUnreadable, err)
			}
			if !yield(v, err) {
				return
			}
		}
	}
}

// readable yields what those lines of a message say that can be read, and counts
// the others.
func readable[T any](s *Store, m streams.Message, line func([]byte) (T, error)) iter.Seq[T] {
	return func(yield func(T) bool) {
		bad := 0
		for v, err := range decode(m, line) {
			if err != nil {
				bad++
			} else if !yield(v) {
				break
			}
		}
		if bad > 0 {
			s.mu.Lock()
			defer s.mu.Unlock()
			s.unreadable[m.Seq] = max(s.unreadable[m.Seq], bad)
		}
	}
}

func (s *Store) explain(err error) error {
	switch {
	case errors.Is(err, jetstream.ErrStreamNotFound), errors.Is(err, nats.ErrNoResponders):
		return fmt.Errorf("%w %s: run `jethook serve` or `jethook streams apply` first", ErrNoStream, s.names.Attempts())
	case errors.Is(err, jetstream.ErrNoStreamResponse):
		return fmt.Errorf("stream %s: %w: it has no leader for now, so try again", s.names.Attempts(), err)
	}
	return err
}

// Event yields what the ledger says of events with an id, in the order in which it
// was stored, from a time on. Several events may have the same id: of several
// tenants, or published days apart.
func (s *Store) Event(ctx context.Context, id string, since time.Time) iter.Seq2[Entry, error] {
	return s.ledger(ctx, Part(id), since, appendString(nil, id), func(e *Entry) bool { return e.EventID == id })
}

// Discarded yields what operators discarded from a time on.
func (s *Store) Discarded(ctx context.Context, since time.Time) iter.Seq2[Entry, error] {
	return s.ledger(ctx, 0, since, []byte(`"discarded":true`), func(e *Entry) bool { return e.Discarded })
}

// ledger yields those lines of a part that are meant. All of them contain a text.
func (s *Store) ledger(ctx context.Context, part int, since time.Time, text []byte, meant func(*Entry) bool) iter.Seq2[Entry, error] {
	return func(yield func(Entry, error) bool) {
		for m, err := range s.read(s.names.Ledger(strconv.Itoa(part)), since).All(ctx, s.js) {
			if err != nil {
				yield(Entry{}, err)
				return
			}
			if !bytes.Contains(m.Data, text) {
				continue // which is much faster than to read each line
			}
			for e := range s.Entries(m) {
				if meant(&e) && !yield(e, nil) {
					return
				}
			}
		}
	}
}
