package endpoint

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/nats-io/nats.go/jetstream"

	"jethook/pkg/nearest"
	"jethook/pkg/secret"
	"jethook/streams"
)

// ErrNotFound is what errors.Is finds in a NotFoundError.
var ErrNotFound = errors.New("no such endpoint")

// NotFoundError is returned for an endpoint that is not in the bucket.
type NotFoundError struct {
	// Name is what was asked for.
	Name string
	// Nearest is the name that was probably meant, or empty.
	Nearest string
}

// Error names the endpoint and the one that was probably meant.
func (e *NotFoundError) Error() string {
	if e.Nearest == "" {
		return "there is no endpoint " + e.Name + ": jethook endpoint list shows those that there are"
	}
	return "there is no endpoint " + e.Name + ": did you mean " + e.Nearest + "?"
}

// Is makes errors.Is(err, ErrNotFound) true.
func (e *NotFoundError) Is(target error) bool { return target == ErrNotFound }

// BrokenError is returned for a document in the bucket that cannot be read.
type BrokenError struct {
	// Key is the document's key in the bucket.
	Key string
	// Err says what is wrong.
	Err error
}

// Error names the key and says what is wrong and what helps.
func (e *BrokenError) Error() string {
	remedy := "apply the endpoint again or remove it"
	if isLaneKey(e.Key) { // how far its events go is known to nobody else
		remedy = "put an earlier revision back, with `nats kv history` and `nats kv revert`"
	}
	return fmt.Sprintf("the document under key %s of the bucket is broken: %v; %s", e.Key, e.Err, remedy)
}

// Unwrap returns what is wrong.
func (e *BrokenError) Unwrap() error { return e.Err }

// Store reads and writes the documents of a bucket. Writes compare revisions,
// so that of two operators who change one endpoint at a time neither undoes
// the other's work unseen.
type Store struct {
	kv     jetstream.KeyValue
	js     jetstream.Publisher
	events EventLog
	ring   *secret.Ring

	maxPerTenant     int // 0: no limit
	ordered, tenants tally

	madeWithin time.Duration
}

// StoreOption changes what a store can do.
type StoreOption func(*Store)

// EventLog tells of the stream of events.
type EventLog interface {
	// Last returns the sequence of the last event.
	Last(ctx context.Context) (uint64, error)
	// Now returns the time by the clock that events are stored by.
	Now(ctx context.Context) (time.Time, error)
	// HasOrdered reports whether an ordered endpoint's consumer was made, that
	// for the patterns it has since an event.
	HasOrdered(ctx context.Context, tenant, endpoint string, patterns []string, since uint64) (bool, error)
}

// Events tells the store of the stream of events. With it, endpoints can be made
// ordered, and lanes made and removed: each begins and ends with an event.
func Events(log EventLog) StoreOption { return func(s *Store) { s.events = log } }

// NewStore returns a store of documents in the bucket.
func NewStore(kv jetstream.KeyValue, options ...StoreOption) *Store {
	s := &Store{kv: kv, events: noEvents{}, madeWithin: madeWithin}
	for _, option := range options {
		option(s)
	}
	return s
}

var errNoEvents = errors.New("this store does not know the stream of events")

// noEvents is the log of a store that was told of none.
type noEvents struct{}

func (noEvents) Last(context.Context) (uint64, error) { return 0, errNoEvents }

// Now does not tell: endpoints can be made all the same.
func (noEvents) Now(context.Context) (time.Time, error) { return time.Time{}, nil }

func (noEvents) HasOrdered(context.Context, string, string, []string, uint64) (bool, error) {
	return false, errNoEvents
}

// Get returns an endpoint's document by TENANT/ID. Secrets are opened as far as
// the store has the keys.
func (s *Store) Get(ctx context.Context, name string) (Document, error) {
	current, err := s.read(ctx, name)
	switch {
	case err != nil:
		return Document{}, err
	case current.err != nil:
		return Document{}, current.err
	case current.revision == 0:
		return Document{}, s.notFound(ctx, name)
	}
	d, err := open(s.ring, current.document)
	if err != nil {
		return Document{}, &BrokenError{Key: current.key, Err: err}
	}
	return d, nil
}

// List returns all documents sorted by name, their secrets sealed if they are, and
// what is wrong with those that cannot be read, sorted by key.
func (s *Store) List(ctx context.Context) ([]Document, []*BrokenError, error) {
	var documents []Document
	var broken []*BrokenError
	err := s.each(ctx, func(entry jetstream.KeyValueEntry) {
		d, err := decodeEntry(entry.Key(), entry.Value())
		if err != nil {
			broken = append(broken, &BrokenError{Key: entry.Key(), Err: err})
			return
		}
		documents = append(documents, d)
	})
	if err != nil {
		return nil, nil, fmt.Errorf("list endpoints: %w", err)
	}
	slices.SortFunc(documents, func(a, b Document) int { return strings.Compare(a.Name(), b.Name()) })
	slices.SortFunc(broken, func(a, b *BrokenError) int { return strings.Compare(a.Key, b.Key) })
	return documents, broken, nil
}

// Remove deletes an endpoint, broken or not, with its history in the bucket,
// because that holds secrets.
func (s *Store) Remove(ctx context.Context, name string) error {
	current, err := s.read(ctx, name)
	if err != nil {
		return err
	}
	if current.revision == 0 {
		return s.notFound(ctx, name)
	}
	if err := s.endOrdered(ctx, name, current.document); err != nil {
		return fmt.Errorf("remove endpoint %s: %w", name, err)
	}
	if err := s.kv.Purge(ctx, current.key); err != nil {
		return fmt.Errorf("remove endpoint %s: %w", name, err)
	}
	return nil
}

// stored is what the bucket holds for a name: a document at a revision, or a
// broken one with what could be saved of it, or nothing at revision 0.
type stored struct {
	key      string
	revision uint64
	document Document
	err      error // *BrokenError
	lost     bool  // broken, and its secrets could not be saved
}

func (s *Store) read(ctx context.Context, name string) (stored, error) {
	tenant, id, err := ParseName(name)
	if err != nil {
		return stored{}, err
	}
	current := stored{key: documentKey(tenant, id)}
	entry, err := s.kv.Get(ctx, current.key)
	switch {
	case errors.Is(err, jetstream.ErrKeyNotFound):
		return current, nil
	case err != nil:
		return stored{}, fmt.Errorf("read endpoint %s: %w", name, err)
	}
	current.revision = entry.Revision()
	current.document, err = decodeEntry(current.key, entry.Value())
	if err != nil {
		current.err = &BrokenError{Key: current.key, Err: err}
		current.document, current.lost = salvage(entry.Value())
	}
	return current, nil
}

// salvage reads of a broken document what nobody could write anew: the secrets
// that receivers know, and the state that jethook set.
func salvage(value []byte) (saved Document, lost bool) {
	var parts struct {
		Secrets     []wireSecret `json:"secrets"`
		Disabled    *Disabled    `json:"disabled"`
		Available   time.Time    `json:"available_since"`
		MadeAt      time.Time    `json:"made_at"`
		OrderedFrom uint64       `json:"ordered_from"`
	}
	if json.Unmarshal(value, &parts) != nil {
		return Document{}, true
	}
	return Document{Secrets: wire{Secrets: parts.Secrets}.secrets(), Disabled: parts.Disabled, AvailableSince: parts.Available, MadeAt: parts.MadeAt, OrderedFrom: parts.OrderedFrom}, false
}

// each calls visit for the key of every endpoint that has a value.
func (s *Store) each(ctx context.Context, visit func(jetstream.KeyValueEntry), options ...jetstream.WatchOpt) error {
	return s.eachOf(ctx, ">", func(entry jetstream.KeyValueEntry) {
		if isEndpointKey(entry.Key()) {
			visit(entry)
		}
	}, options...)
}

// eachOf calls visit for every key that matches and has a value.
func (s *Store) eachOf(ctx context.Context, keys string, visit func(jetstream.KeyValueEntry), options ...jetstream.WatchOpt) error {
	watch, err := streams.WatchBucket(ctx, s.kv, keys, append(options, jetstream.IgnoreDeletes())...)
	if err != nil {
		return err
	}
	defer watch.Stop()
	for {
		select {
		case <-ctx.Done():
			return context.Cause(ctx)
		case entry, open := <-watch.Updates():
			switch {
			case !open:
				return watch.Err()
			case entry == nil:
				return nil
			}
			visit(entry)
		}
	}
}

// notFound names the endpoint that was probably meant, if it can be found out.
func (s *Store) notFound(ctx context.Context, name string) error {
	var names []string
	if err := s.each(ctx, func(entry jetstream.KeyValueEntry) {
		names = append(names, nameOf(entry.Key()))
	}, jetstream.MetaOnly()); err != nil {
		return &NotFoundError{Name: name}
	}
	slices.Sort(names)
	return &NotFoundError{Name: name, Nearest: nearest.Of(name, names)}
}
