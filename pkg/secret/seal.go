package secret

import (
	"crypto/hpke"
	"encoding/base64"
	"errors"
	"fmt"
	"strings"
)

// What sealed text begins with: that of this version, and that of any, so that a
// form of later days is not taken for plain text. After sealedV1 come the id of
// the key, a colon, and in base64 an HPKE (RFC 9180) encapsulated key and the
// ciphertext.
const (
	sealed   = "sealed:"
	sealedV1 = sealed + "v1:"
)

// purpose is the info of HPKE: what is sealed for anything else does not open.
const purpose = "jethook sealing v1"

// ErrNoKey is returned by Open for what is sealed with a key that is not in the
// ring.
var ErrNoKey = errors.New("sealed with a master key that is not among those given")

// ErrDamaged is returned by Open for what its key does not open: it was changed,
// or sealed about something else.
var ErrDamaged = errors.New("sealed text does not open: it was changed, or sealed for another use")

// Sealed reports whether the text counts as sealed, which is all that begins with
// "sealed:".
func (s Secret) Sealed() bool { return strings.HasPrefix(string(s), sealed) }

// KeyID returns the id of the key that s is sealed with. It is empty for what is
// not sealed, and for what is not sealed in a form that this version knows.
func (s Secret) KeyID() string {
	id, _, _ := s.parts()
	return id
}

// parts cuts sealed text into the key's id and the rest, still encoded.
func (s Secret) parts() (id, encoded string, ok bool) {
	rest, ok := strings.CutPrefix(string(s), sealedV1)
	if !ok {
		return "", "", false
	}
	id, encoded, ok = strings.Cut(rest, ":")
	// Ids are told to people and written to logs, so nothing else may pass.
	if !ok || len(id) != idDigits || strings.Trim(id, "0123456789abcdef") != "" {
		return "", "", false
	}
	return id, encoded, true
}

// Open returns the secret that was sealed about this, and what is not sealed as it
// is. What it returns is never sealed. An error is ErrNoKey, with the id of the
// key, or ErrDamaged, and holds nothing of the text.
func (r *Ring) Open(s Secret, about string) (Secret, error) {
	if !s.Sealed() {
		return s, nil
	}
	id, encoded, ok := s.parts()
	if !ok {
		return "", fmt.Errorf("%w, or by a newer jethook", ErrDamaged)
	}
	i := r.index(id)
	if i < 0 {
		return "", fmt.Errorf("%w: it has the id %s", ErrNoKey, id)
	}
	text, ok := r.keys[i].open(encoded, about)
	if !ok {
		return "", fmt.Errorf("%w (opened with master key %s as %q)", ErrDamaged, id, about)
	}
	return text, nil
}

// open does not say why it could not: whoever changes what is sealed is to learn
// nothing from that.
func (k *masterKey) open(encoded, about string) (Secret, bool) {
	b, err := base64.RawURLEncoding.Strict().DecodeString(encoded)
	// The decoder would skip line breaks: one text only is what was sealed.
	if err != nil || strings.ContainsAny(encoded, "\r\n") || len(b) < publicKeyBytes {
		return "", false
	}
	recipient, err := hpke.NewRecipient(b[:publicKeyBytes], k.private, hpke.HKDFSHA256(), hpke.AES256GCM(), []byte(purpose))
	if err != nil {
		return "", false
	}
	text, err := recipient.Open([]byte(about), b[publicKeyBytes:])
	if err != nil || Secret(text).Sealed() {
		return "", false
	}
	return Secret(text), true
}
