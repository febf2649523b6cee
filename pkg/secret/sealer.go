package secret

import (
	"crypto/ecdh"
	"crypto/hpke"
	"crypto/sha256"
	"encoding/base64"
	"encoding/hex"
	"errors"
	"fmt"
	"strings"
)

const publicKeyBytes = 32

// identification begins what the id of a key is the hash of.
const identification = "jethook sealing v1 key id"

const idDigits = 8

// Sealer is the public half of a master key: it seals what only a Ring with that
// key opens. It is no secret, and two are equal (==) if they are of the same key.
// The zero Sealer seals nothing.
type Sealer struct {
	id  string
	key [publicKeyBytes]byte
}

func newSealer(key [publicKeyBytes]byte) Sealer {
	sum := sha256.Sum256(append([]byte(identification), key[:]...))
	return Sealer{id: hex.EncodeToString(sum[:])[:idDigits], key: key}
}

// ParseSealer reads what String wrote. An error says what is wrong and holds
// nothing of the text.
func ParseSealer(text string) (Sealer, error) {
	_, encoded, _ := strings.Cut(text, ":")
	b, err := base64.StdEncoding.DecodeString(encoded)
	if err != nil || len(b) != publicKeyBytes {
		return Sealer{}, fmt.Errorf("a public key that seals must be its id of %d hexadecimal digits, a colon, and %d bytes in base64", idDigits, publicKeyBytes)
	}
	s := newSealer([publicKeyBytes]byte(b))
	// Beside the id, the decoder skips line breaks and does not look at the last bits.
	if s.String() != text {
		return Sealer{}, errors.New("the id of the public key that seals is not that of its key: one of them was changed, copy both again")
	}
	return s, nil
}

// ID returns the key's id, eight hexadecimal digits. It tells the keys of a ring
// apart and proves nothing: another key with the same id can be searched for.
func (s Sealer) ID() string { return s.id }

// String returns the id and the public key, in the form that ParseSealer reads.
func (s Sealer) String() string {
	if s.id == "" {
		return ""
	}
	return s.id + ":" + base64.StdEncoding.EncodeToString(s.key[:])
}

// Seal seals a secret that is about something: only Open with the same about opens
// it, so that what is sealed for one use cannot be put in the place of another.
// The length of the secret still shows. Sealing what is sealed is an error.
func (s Sealer) Seal(text Secret, about string) (Secret, error) {
	if text.Sealed() {
		return "", fmt.Errorf("text that begins with %s counts as sealed and cannot be sealed again", sealed)
	}
	if s.id == "" {
		return "", errors.New("there is no key to seal with")
	}
	public, err := hpke.DHKEM(ecdh.X25519()).NewPublicKey(s.key[:])
	if err != nil {
		return "", fmt.Errorf("seal with key %s: %w", s.id, err)
	}
	encapsulated, sender, err := hpke.NewSender(public, hpke.HKDFSHA256(), hpke.AES256GCM(), []byte(purpose))
	if err != nil {
		return "", fmt.Errorf("seal with key %s: %w", s.id, err)
	}
	ciphertext, err := sender.Seal([]byte(about), []byte(text))
	if err != nil {
		return "", fmt.Errorf("seal with key %s: %w", s.id, err)
	}
	return Secret(sealedV1 + s.id + ":" + base64.RawURLEncoding.EncodeToString(append(encapsulated, ciphertext...))), nil
}
