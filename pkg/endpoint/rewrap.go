package endpoint

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"jethook/pkg/secret"
)

// Plain reports whether a secret is not sealed.
func Plain(s secret.Secret) bool { return !s.Sealed() }

// Old returns what reports whether a secret is not sealed with the key in use.
func (s *Store) Old(ctx context.Context) (func(secret.Secret) bool, error) {
	sealer, revision, err := announced(ctx, s.kv)
	if err != nil {
		return nil, err
	}
	if revision == 0 {
		return nil, errors.New("no replica has announced a key to seal with: start one that has master keys")
	}
	if own := s.ring.Sealer(); s.ring != nil && own != sealer {
		return nil, fmt.Errorf("the key in use has the id %s, and the first of JETHOOK_MASTER_KEYS %s: start the replicas with these keys, in this order, first", sealer.ID(), own.ID())
	}
	return func(s secret.Secret) bool { return s.KeyID() != sealer.ID() }, nil
}

// errNotOpen is why a document cannot be sealed anew, of which the error of opening
// it would say nothing: what no key is there for just stays sealed.
var errNotOpen = errors.New("it is sealed with a master key that is not among these: set JETHOOK_MASTER_KEYS to all that are in use")

// Rewrap seals, with the key in use, the secrets of all documents of which the
// bucket holds one that is due, in an earlier revision too, and removes the earlier
// revisions. It returns how many documents that were. Those that cannot be read or
// opened stay as they are: the error tells of the first and how many there are.
func (s *Store) Rewrap(ctx context.Context, due func(secret.Secret) bool) (done int, err error) {
	names, err := s.due(ctx, due)
	if err != nil {
		return 0, fmt.Errorf("list endpoints: %w", err)
	}
	var first error
	failed := 0
	for _, name := range names {
		err := s.rewrap(ctx, name, due)
		_, broken := errors.AsType[*BrokenError](err)
		switch {
		case err == nil:
			done++
			continue
		case !broken && !errors.Is(err, errNotOpen):
			return done, fmt.Errorf("seal the secrets of endpoint %s: %w", name, err)
		case first == nil:
			first = fmt.Errorf("seal the secrets of endpoint %s: %w", name, err)
		}
		failed++
	}
	if failed > 1 {
		first = fmt.Errorf("%d endpoints, of which this is the first: %w", failed, first)
	}
	return done, first
}

// due returns the names of the endpoints that have a revision with a secret that is
// due, or with who knows what, because it cannot be read.
func (s *Store) due(ctx context.Context, due func(secret.Secret) bool) ([]string, error) {
	names := make(map[string]bool)
	err := s.each(ctx, func(entry jetstream.KeyValueEntry) {
		name := nameOf(entry.Key())
		if names[name] {
			return
		}
		if d, err := decodeEntry(entry.Key(), entry.Value()); err != nil || d.has(due) {
			names[name] = true
		}
	}, jetstream.IncludeHistory())
	return slices.Sorted(maps.Keys(names)), err
}

func (s *Store) rewrap(ctx context.Context, name string, due func(secret.Secret) bool) error {
	for again := range maxConflicts {
		current, err := s.read(ctx, name)
		switch {
		case err != nil:
			return err
		case current.err != nil:
			return current.err
		case current.revision == 0:
			return nil // it was removed
		case again > 0 && !current.document.has(due):
			return nil // another replica was faster
		}
		opened, err := open(s.ring, current.document)
		if err != nil {
			return &BrokenError{Key: current.key, Err: err}
		}
		if opened.has(func(text secret.Secret) bool { return text.Sealed() && due(text) }) {
			return errNotOpen
		}
		data, _, err := s.encode(ctx, opened)
		if err != nil {
			return err
		}
		if err := s.rollUp(ctx, current, data); !conflicts(err) {
			return err
		}
	}
	return errConflict
}

// rollUp stores a document over the one that was read and removes all before it.
func (s *Store) rollUp(ctx context.Context, current stored, data []byte) error {
	m := nats.NewMsg("$KV." + s.kv.Bucket() + "." + current.key)
	m.Data = data
	m.Header.Set(jetstream.MsgRollup, jetstream.MsgRollupSubject)
	_, err := s.js.PublishMsg(ctx, m, jetstream.WithExpectLastSequencePerSubject(current.revision))
	if api, ok := errors.AsType[*jetstream.APIError](err); ok && api.ErrorCode == jetstream.JSErrCodeStreamWrongLastSequence {
		return jetstream.ErrKeyRevisionMismatch
	}
	return err
}
