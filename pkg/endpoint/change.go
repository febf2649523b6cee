package endpoint

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/nats-io/nats.go/jetstream"

	"jethook/pkg/secret"
	"jethook/pkg/signature"
)

// Result says what Apply did.
type Result string

// The results of Apply.
const (
	Created   Result = "created"
	Updated   Result = "updated"
	Unchanged Result = "unchanged"
)

// Applied is what Apply did with a document.
type Applied struct {
	// Name is the endpoint's, TENANT/ID, or the lane's.
	Name string
	// Result says whether it is new, changed, or was as it should be.
	Result Result
	// NewSecret is the secret that was made, to be shown once; else empty.
	NewSecret secret.Secret
	// Revision is that of the document in the bucket.
	Revision uint64
	// Plain says that secrets lie there as they are, because no replica has
	// announced a key to seal them with.
	Plain bool
}

// maxConflicts bounds how often a change is tried anew because somebody else
// changed the same endpoint meanwhile.
const maxConflicts = 20

var errConflict = errors.New("others keep changing it at the same time; try again")

// Apply makes the bucket hold the document. An endpoint keeps its secrets when
// the document has none, gets one when it has none to keep, stays paused when
// the document says to keep that, and stays disabled when it is: what disabled
// it is a fact that a file does not know of. With signing none there are no
// secrets, and those it had are dropped. An endpoint that becomes ordered does so
// from the next event on.
func (s *Store) Apply(ctx context.Context, document Document) (Applied, error) {
	// Whether plain http is allowed was judged where the document was read.
	if err := document.Validate(Rules{AllowHTTP: true}); err != nil {
		return Applied{}, fmt.Errorf("apply endpoint %s: %w", document.Name(), err)
	}
	made := newSecret(document.Signing)
	for range maxConflicts {
		applied, err := s.apply(ctx, document, made)
		if !conflicts(err) {
			return applied, err
		}
	}
	return Applied{}, fmt.Errorf("apply endpoint %s: %w", document.Name(), errConflict)
}

// apply tries once to do what Apply does, with made for an endpoint that has no
// secret.
func (s *Store) apply(ctx context.Context, next Document, made secret.Secret) (Applied, error) {
	current, err := s.read(ctx, next.Name())
	if err != nil {
		return Applied{}, err
	}
	next = next.clone()
	next.Disabled, next.MadeAt = current.document.Disabled, current.document.MadeAt
	if current.revision == 0 {
		// Asked before it is said from which event on it is ordered, which is later.
		if next.MadeAt, err = s.events.Now(ctx); err != nil {
			return Applied{}, fmt.Errorf("apply endpoint %s: %w", next.Name(), err)
		}
	}
	if next.KeepPaused {
		next.Paused = current.document.Paused
	}
	if len(next.Secrets) > 0 || next.Signing == SigningNone {
		made = ""
	} else if next.Secrets, err = s.kept(current); err != nil {
		return Applied{}, fmt.Errorf("apply endpoint %s: %w, with its secrets in the document: those in the bucket cannot be read", next.Name(), err)
	} else if len(next.Secrets) > 0 {
		made = ""
	} else {
		next.Secrets = []SigningSecret{{Secret: made}}
	}
	if err := s.order(ctx, current.document, &next); err != nil {
		return Applied{}, fmt.Errorf("apply endpoint %s: %w", next.Name(), err)
	}
	if current.revision == 0 {
		if err := s.roomFor(ctx, next.Tenant, next.Name()); err != nil {
			return Applied{}, fmt.Errorf("apply endpoint %s: %w", next.Name(), err)
		}
	}
	applied, err := s.write(ctx, current, &next)
	if err != nil {
		return Applied{}, err
	}
	applied.NewSecret = made
	return applied, nil
}

// kept returns the secrets that an endpoint has, sealed if they are, and an error
// if they are lost.
func (s *Store) kept(current stored) ([]SigningSecret, error) {
	if current.lost {
		return nil, current.err
	}
	d := Document{Secrets: current.document.Secrets}
	d.Tenant, d.ID, _ = strings.Cut(nameOf(current.key), "/")
	if _, err := open(s.ring, d); err != nil {
		return nil, &BrokenError{Key: current.key, Err: err}
	}
	return d.Secrets, nil
}

// conflicts reports whether somebody else was faster.
func conflicts(err error) bool {
	return errors.Is(err, jetstream.ErrKeyRevisionMismatch) || errors.Is(err, jetstream.ErrKeyExists)
}

// Update changes an endpoint's document, its secrets sealed if they are, and returns
// it as it then is. It calls change again when somebody else changed the endpoint
// meanwhile.
func (s *Store) Update(ctx context.Context, name string, change func(*Document) error) (Document, error) {
	for range maxConflicts {
		current, err := s.read(ctx, name)
		switch {
		case err != nil:
			return Document{}, err
		case current.err != nil:
			return Document{}, current.err
		case current.revision == 0:
			return Document{}, s.notFound(ctx, name)
		}
		next := current.document.clone()
		if err := change(&next); err != nil {
			return Document{}, err
		}
		if next.Name() != name {
			return Document{}, fmt.Errorf("update endpoint %s: it cannot be renamed to %s: apply the new one and remove the old", name, next.Name())
		}
		if err := s.order(ctx, current.document, &next); err != nil {
			return Document{}, fmt.Errorf("update endpoint %s: %w", name, err)
		}
		if _, err = s.write(ctx, current, &next); !conflicts(err) {
			return next, err
		}
	}
	return Document{}, fmt.Errorf("update endpoint %s: %w", name, errConflict)
}

// RotateSecret gives the endpoint a new secret and returns it, to be shown once.
// The old ones sign too until the overlap is over, after the new one, so that
// receivers can change over; those that expire before that still do.
func (s *Store) RotateSecret(ctx context.Context, name string, overlap time.Duration) (secret.Secret, error) {
	var made secret.Secret
	_, err := s.Update(ctx, name, func(d *Document) error {
		if d.Signing == SigningNone {
			return fmt.Errorf("endpoint %s has no secret to rotate: its signing is none", name)
		}
		made = newSecret(d.Signing)
		secrets := []SigningSecret{{Secret: made}}
		now := time.Now().UTC().Truncate(time.Second)
		until := now.Add(overlap)
		for _, old := range d.Secrets {
			if old.ExpiresAt.IsZero() || old.ExpiresAt.After(until) {
				old.ExpiresAt = until
			}
			if !old.Expired(now) {
				secrets = append(secrets, old)
			}
		}
		if len(secrets) > MaxSecrets {
			return fmt.Errorf("endpoint %s has %d secrets that have not expired, the most there can be: rotate with --overlap 0s, or apply the document with those that are still needed", name, MaxSecrets)
		}
		d.Secrets = secrets
		return nil
	})
	if err != nil {
		return "", err
	}
	return made, nil
}

// newSecret makes a secret of the kind that the signing needs.
func newSecret(signing Signing) secret.Secret {
	switch signing {
	case SigningV1:
		return signature.NewSecret()
	case SigningV1a:
		return signature.NewSigningKey()
	}
	return ""
}

// write stores a document over the one that was read, dated. It never stores what
// the registry would call broken, and does not touch what is the same already.
func (s *Store) write(ctx context.Context, current stored, next *Document) (Applied, error) {
	if err := s.date(ctx, current.document, next); err != nil {
		return Applied{}, fmt.Errorf("store endpoint %s: %w", next.Name(), err)
	}
	applied := Applied{Name: next.Name(), Result: Unchanged, Revision: current.revision}
	if err := next.Validate(Rules{AllowHTTP: true}); err != nil {
		return Applied{}, fmt.Errorf("store endpoint %s: %w", next.Name(), err)
	}
	if current.revision > 0 && current.err == nil {
		same, err := s.same(current.document, *next)
		if err != nil {
			return Applied{}, err
		}
		if same {
			applied.Plain = current.document.has(Plain)
			return applied, nil
		}
	}
	data, plain, err := s.encode(ctx, *next)
	if err != nil {
		return Applied{}, err
	}
	applied.Plain = plain
	if current.revision == 0 {
		applied.Result = Created
		applied.Revision, err = s.kv.Create(ctx, current.key, data)
	} else {
		applied.Result = Updated
		applied.Revision, err = s.kv.Update(ctx, current.key, data, current.revision)
	}
	if err != nil {
		return Applied{}, fmt.Errorf("store endpoint %s: %w", next.Name(), err)
	}
	return applied, nil
}

// same reports whether two documents say the same, as far as what is sealed in
// them can be opened. Opening costs more than all else, so it comes last.
func (s *Store) same(a, b Document) (bool, error) {
	if same, err := equal(a, b); same || err != nil || !a.has(s.ring.Opens) {
		return same, err
	}
	a, errA := open(s.ring, a)
	b, errB := open(s.ring, b)
	if errA != nil || errB != nil {
		return false, nil // of what cannot be read, nobody can say so
	}
	return equal(a, b)
}

func equal(a, b Document) (bool, error) {
	before, err := Encode(a)
	if err != nil {
		return false, err
	}
	after, err := Encode(b)
	return bytes.Equal(before, after), err
}
