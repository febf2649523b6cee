package endpoint

import (
	"bytes"
	"context"
	"errors"
	"fmt"

	"github.com/nats-io/nats.go/jetstream"

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
	NewSecret signature.Secret
	// Revision is that of the document in the bucket.
	Revision uint64
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
	applied := Applied{Name: document.Name()}
	made := newSecret(document.Signing)
	for range maxConflicts {
		current, err := s.read(ctx, applied.Name)
		if err != nil {
			return Applied{}, err
		}
		next := document.clone()
		next.Disabled = current.document.Disabled
		if next.KeepPaused {
			next.Paused = current.document.Paused
		}
		if len(next.Secrets) == 0 && next.Signing != SigningNone {
			if current.lost {
				return Applied{}, fmt.Errorf("apply endpoint %s: %w, with its secrets in the document: those in the bucket cannot be read", applied.Name, current.err)
			}
			next.Secrets = current.document.Secrets
		}
		applied.NewSecret = ""
		if len(next.Secrets) == 0 && made != "" {
			next.Secrets, applied.NewSecret = []signature.Secret{made}, made
		}
		if err := s.order(ctx, current.document, &next); err != nil {
			return Applied{}, fmt.Errorf("apply endpoint %s: %w", applied.Name, err)
		}
		applied.Result, applied.Revision, err = s.write(ctx, current, next)
		if !errors.Is(err, jetstream.ErrKeyRevisionMismatch) && !errors.Is(err, jetstream.ErrKeyExists) {
			return applied, err
		}
	}
	return Applied{}, fmt.Errorf("apply endpoint %s: %w", applied.Name, errConflict)
}

// Update changes an endpoint's document and returns it as it then is. It calls
// change again when somebody else changed the endpoint meanwhile.
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
		_, _, err = s.write(ctx, current, next)
		if !errors.Is(err, jetstream.ErrKeyRevisionMismatch) {
			return next, err
		}
	}
	return Document{}, fmt.Errorf("update endpoint %s: %w", name, errConflict)
}

// RotateSecret gives the endpoint a new secret and returns it, to be shown
// once. With keepOld the old ones sign too, after the new one, so that
// receivers can change over; without, they end at once.
func (s *Store) RotateSecret(ctx context.Context, name string, keepOld bool) (signature.Secret, error) {
	var made signature.Secret
	_, err := s.Update(ctx, name, func(d *Document) error {
		if d.Signing == SigningNone {
			return fmt.Errorf("endpoint %s has no secret to rotate: its signing is none", name)
		}
		made = newSecret(d.Signing)
		secrets := []signature.Secret{made}
		if keepOld {
			secrets = append(secrets, d.Secrets...)
		}
		if len(secrets) > MaxSecrets {
			return fmt.Errorf("endpoint %s has %d secrets already, the most there can be: rotate without keeping the old ones, or apply the document with those that are still needed", name, MaxSecrets)
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
func newSecret(signing Signing) signature.Secret {
	switch signing {
	case SigningV1:
		return signature.NewSecret()
	case SigningV1a:
		return signature.NewSigningKey()
	}
	return ""
}

// write stores a document over the one that was read. It never stores what the
// registry would call broken, and does not touch what is the same already.
func (s *Store) write(ctx context.Context, current stored, next Document) (Result, uint64, error) {
	if err := next.Validate(Rules{AllowHTTP: true}); err != nil {
		return "", 0, fmt.Errorf("store endpoint %s: %w", next.Name(), err)
	}
	data, err := Encode(next)
	if err != nil {
		return "", 0, err
	}
	if current.revision == 0 {
		revision, err := s.kv.Create(ctx, current.key, data)
		if err != nil {
			return "", 0, fmt.Errorf("store endpoint %s: %w", next.Name(), err)
		}
		return Created, revision, nil
	}
	if current.err == nil {
		before, err := Encode(current.document)
		if err != nil {
			return "", 0, err
		}
		if bytes.Equal(before, data) {
			return Unchanged, current.revision, nil
		}
	}
	revision, err := s.kv.Update(ctx, current.key, data, current.revision)
	if err != nil {
		return "", 0, fmt.Errorf("store endpoint %s: %w", next.Name(), err)
	}
	return Updated, revision, nil
}
