package endpoint

import (
	"context"
	"errors"
	"fmt"

	"github.com/nats-io/nats.go/jetstream"

	"jethook/pkg/secret"
)

// sealingKey is where replicas announce the public key with which secrets are
// sealed. Whoever writes documents seals with it; only replicas open.
const sealingKey = "_sealing"

// Sealing gives the store the master keys, and what it publishes with when it
// seals anew. Without keys it seals with the public key that a replica announced,
// and leaves sealed what is.
func Sealing(js jetstream.Publisher, ring *secret.Ring) StoreOption {
	return func(s *Store) { s.js, s.ring = js, ring }
}

// ErrSealedByOthers is returned by Announce where the bucket's secrets are
// sealed with a master key that is not in the ring.
var ErrSealedByOthers = errors.New("the bucket's secrets are sealed with a master key that is not among these")

// RingInUse returns the ring if the bucket's secrets are sealed with one of its
// keys, and otherwise nil.
func RingInUse(ctx context.Context, kv jetstream.KeyValue, ring *secret.Ring) (*secret.Ring, error) {
	if ring == nil {
		return nil, nil
	}
	sealer, revision, err := announced(ctx, kv)
	made := ring.Made(sealer)
	if err == nil && revision == 0 || errors.Is(err, errNoSealer) { // nobody announced it, or it is gone
		made, _, err = (&Store{kv: kv, ring: ring}).sealedWith(ctx)
	}
	if err != nil || !made {
		return nil, err
	}
	return ring, nil
}

// Announce makes known with which key secrets are sealed from now on: the ring's
// first. Where another key was announced that the ring does not have, it refuses
// unless what is sealed is the ring's to open: then somebody put that key there. Where
// nothing is sealed only the sole replica may take over, whose NATS server is its own.
// Where no key was announced, it was deleted, or overwritten with something else, it
// refuses if anything is sealed that the ring does not open.
func (s *Store) Announce(ctx context.Context, sole bool) error {
	for range maxConflicts {
		current, revision, err := announced(ctx, s.kv)
		switch {
		case err == nil && revision == 0, errors.Is(err, errNoSealer):
			err = s.begins(ctx)
		case err != nil:
			return err
		case !s.ring.Made(current):
			err = s.takesOver(ctx, current, sole)
		}
		if err != nil || s.ring == nil || revision > 0 && current == s.ring.Sealer() {
			return err
		}
		value := []byte(s.ring.Sealer().String())
		if revision == 0 {
			_, err = s.kv.Create(ctx, sealingKey, value)
		} else {
			_, err = s.kv.Update(ctx, sealingKey, value, revision)
		}
		if !conflicts(err) {
			return err
		}
	}
	return fmt.Errorf("announce the public key that seals: %w", errConflict)
}

// takesOver returns an error unless the key that was announced may be replaced.
func (s *Store) takesOver(ctx context.Context, announced secret.Sealer, sole bool) error {
	if s.ring == nil {
		return s.sealedByOthers(announced.ID())
	}
	own, foreign, err := s.sealedWith(ctx)
	if err == nil && (foreign != nil || !own && !sole) {
		err = s.sealedByOthers(announced.ID())
	}
	return err
}

// begins returns an error unless the ring may be the first of which is announced
// with what secrets are sealed.
func (s *Store) begins(ctx context.Context) error {
	_, foreign, err := s.sealedWith(ctx)
	if err == nil && foreign != nil {
		err = s.sealedByOthers(foreign.KeyID())
	}
	return err
}

// sealedWith tells whether something is sealed with a key of the ring, and of what is
// sealed with any other it returns one, or nil.
func (s *Store) sealedWith(ctx context.Context) (own bool, foreign *secret.Secret, err error) {
	err = s.each(ctx, func(entry jetstream.KeyValueEntry) {
		d, err := decodeEntry(entry.Key(), entry.Value())
		if err != nil {
			return // it is told of where it is read
		}
		for _, text := range d.eachSecret() {
			switch {
			case s.ring.Opens(*text):
				own = true
			case text.Sealed():
				foreign = new(*text)
			}
		}
	})
	if err != nil {
		err = fmt.Errorf("load endpoints, to see with which key they are sealed: %w", err)
	}
	return own, foreign, err
}

func (s *Store) sealedByOthers(id string) error {
	return fmt.Errorf("%w: its id is %s; add it to JETHOOK_MASTER_KEYS, or to the file master-keys in JETHOOK_DATA_DIR; where it is lost, so are the secrets: "+
		"`nats kv del %s %s`, then give every endpoint that has any its secrets anew, or remove it", ErrSealedByOthers, id, s.kv.Bucket(), sealingKey)
}

// errNoSealer says that what lies where public keys are announced is none.
var errNoSealer = errors.New("it is not as a replica wrote it")

// announced returns the public key that a replica announced, at revision 0 if none
// did. With errNoSealer comes the revision of what cannot be read.
func announced(ctx context.Context, kv jetstream.KeyValue) (secret.Sealer, uint64, error) {
	entry, err := kv.Get(ctx, sealingKey)
	switch {
	case errors.Is(err, jetstream.ErrKeyNotFound):
		return secret.Sealer{}, 0, nil
	case err != nil:
		return secret.Sealer{}, 0, fmt.Errorf("read the public key that seals: %w", err)
	}
	sealer, err := secret.ParseSealer(string(entry.Value()))
	if err != nil {
		return secret.Sealer{}, entry.Revision(), fmt.Errorf("key %s of bucket %s: %w (%w): start a replica that has the master keys, which makes it anew", sealingKey, kv.Bucket(), errNoSealer, err)
	}
	return sealer, entry.Revision(), nil
}

// encode gives the document as the bucket is to hold it, its secrets sealed with
// the key that was announced: before any was, with the ring's, or not at all, which
// plain says.
func (s *Store) encode(ctx context.Context, d Document) (data []byte, plain bool, err error) {
	if d.has(Plain) {
		sealer, err := s.sealer(ctx)
		if err != nil {
			return nil, false, err
		}
		if plain = sealer == (secret.Sealer{}); !plain {
			if d, err = seal(sealer, d); err != nil {
				return nil, false, err
			}
		}
	}
	if data, err = Encode(d); err == nil {
		// What could not be read again would be an endpoint that is lost.
		_, err = Decode(data, Rules{AllowHTTP: true})
	}
	return data, plain, err
}

// sealer returns what to seal with, the zero Sealer if nothing is to be.
func (s *Store) sealer(ctx context.Context) (secret.Sealer, error) {
	sealer, revision, err := announced(ctx, s.kv)
	switch {
	case err != nil:
		return secret.Sealer{}, err
	case revision == 0:
		return s.ring.Sealer(), nil
	case s.ring != nil && !s.ring.Made(sealer):
		// Somebody else's public key could have been put there to read what we seal.
		return secret.Sealer{}, s.sealedByOthers(sealer.ID())
	}
	return sealer, nil
}

// seal seals what is not sealed yet.
func seal(sealer secret.Sealer, d Document) (Document, error) {
	d = d.clone()
	for about, s := range d.eachSecret() {
		if s.Sealed() {
			continue
		}
		var err error
		if *s, err = sealer.Seal(*s, about); err != nil {
			return Document{}, fmt.Errorf("seal the secrets of endpoint %s: %w", d.Name(), err)
		}
	}
	return d, nil
}

// open opens what the ring has the keys for. What it has none for stays sealed;
// what was tampered with is an error.
func open(ring *secret.Ring, d Document) (Document, error) {
	if !d.has(ring.Opens) {
		return d, nil
	}
	d = d.clone()
	for about, s := range d.eachSecret() {
		if !ring.Opens(*s) {
			continue
		}
		var err error
		if *s, err = ring.Open(*s, about); err != nil {
			return Document{}, err
		}
	}
	return d, nil
}
