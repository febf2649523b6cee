package secret

import (
	"crypto/ecdh"
	"crypto/hkdf"
	"crypto/hpke"
	"crypto/rand"
	"crypto/sha256"
	"encoding/base64"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"slices"
	"strings"
)

// MaxMasterKeys is how many keys a Ring holds at most.
const MaxMasterKeys = 16

const masterKeyBytes = 32

// derivation separates the private key from whatever else a master key may be
// used for one day. Another label would open nothing that is sealed.
const derivation = "jethook sealing v1 x25519 private key"

// Ring is the master keys: the first seals, all open. A nil Ring opens nothing
// and passes what is not sealed. It prints as *** and has no way back to its keys.
// A Ring never changes and is safe for concurrent use.
type Ring struct {
	// Pointers, because fmt prints no more than the address of one, even in an
	// unexported field of somebody else's struct.
	keys []*masterKey
}

// masterKey is the key pair that a master key stands for, which is not kept.
type masterKey struct {
	private hpke.PrivateKey
	sealer  Sealer
}

// NewMasterKey returns a new master key, in the form that ParseRing reads.
func NewMasterKey() Secret {
	b := make([]byte, masterKeyBytes)
	_, _ = rand.Read(b) // ends the program before it would give bytes that can be guessed
	return Secret(base64.StdEncoding.EncodeToString(b))
}

// ParseRing reads master keys with commas between them, white space around each
// allowed. A key is 32 bytes in base64, with or without padding, in the standard
// or the URL alphabet. Each must be there once. An error says what is allowed and
// which key it is about, by its position, and holds nothing of the text.
func ParseRing(text string) (*Ring, error) {
	if strings.TrimSpace(text) == "" {
		return nil, fmt.Errorf("there is no master key: give 1 to %d, each %s", MaxMasterKeys, allowed)
	}
	return newRing(strings.Split(text, ","))
}

const allowed = "32 random bytes in base64, such as `openssl rand -base64 32` prints"

func newRing(texts []string) (*Ring, error) {
	if len(texts) > MaxMasterKeys {
		return nil, fmt.Errorf("there are %d master keys, at most %d are allowed: seal anew what the last ones sealed, then drop them", len(texts), MaxMasterKeys)
	}
	r := &Ring{}
	for i, text := range texts {
		key, err := parseMasterKey(strings.TrimSpace(text))
		if err != nil {
			return nil, fmt.Errorf("master key %d %w", i+1, err)
		}
		// Not only the same key: an id must name one key.
		if first := r.index(key.sealer.id); first >= 0 {
			return nil, fmt.Errorf("master key %d has the same id as master key %d: give each key once", i+1, first+1)
		}
		r.keys = append(r.keys, key)
	}
	return r, nil
}

// oneAlphabet writes base64 of the URL alphabet in the standard one. They differ
// in two characters, which have no meaning in the other.
var oneAlphabet = strings.NewReplacer("-", "+", "_", "/")

func parseMasterKey(text string) (*masterKey, error) {
	encoding := base64.RawStdEncoding
	if strings.HasSuffix(text, "=") {
		encoding = base64.StdEncoding
	}
	b, err := encoding.Strict().DecodeString(oneAlphabet.Replace(text))
	// The decoder would skip line breaks, where a comma may be forgotten.
	if err != nil || strings.ContainsAny(text, "\r\n") {
		return nil, errors.New("must be " + allowed)
	}
	if len(b) != masterKeyBytes {
		return nil, fmt.Errorf("has %d bytes and must be %s", len(b), allowed)
	}
	private, err := hkdf.Key(sha256.New, b, nil, derivation, masterKeyBytes)
	if err != nil {
		return nil, fmt.Errorf("cannot be used: %w", err)
	}
	pair, err := hpke.DHKEM(ecdh.X25519()).NewPrivateKey(private)
	if err != nil {
		return nil, fmt.Errorf("cannot be used: %w", err)
	}
	return &masterKey{private: pair, sealer: newSealer([publicKeyBytes]byte(pair.PublicKey().Bytes()))}, nil
}

// Sealer returns what seals with the first key. That of a nil Ring is the zero
// Sealer, which seals nothing.
func (r *Ring) Sealer() Sealer {
	if r == nil || len(r.keys) == 0 {
		return Sealer{}
	}
	return r.keys[0].sealer
}

// Made reports whether a Sealer is that of one of the keys: whether what it seals can
// be opened. An id alone does not tell, because another key with it can be found.
func (r *Ring) Made(s Sealer) bool {
	i := r.index(s.id)
	return i >= 0 && r.keys[i].sealer == s
}

// Opens reports whether the key that s is sealed with is in the ring. It costs
// next to nothing and promises not that s is undamaged.
func (r *Ring) Opens(s Secret) bool { return r.index(s.KeyID()) >= 0 }

// Current reports whether s is sealed with the key that seals, the first.
func (r *Ring) Current(s Secret) bool { return r.index(s.KeyID()) == 0 }

// index returns the position of the key with this id, or -1.
func (r *Ring) index(id string) int {
	if r == nil {
		return -1
	}
	return slices.IndexFunc(r.keys, func(k *masterKey) bool { return k.sealer.id == id })
}

// Format hides the ring from fmt, whatever the verb and its flags. It drops the
// writer's error, as fmt does for what it formats itself.
func (*Ring) Format(f fmt.State, _ rune) { _, _ = io.WriteString(f, hidden) }

// String hides the ring from whatever asks for a fmt.Stringer.
func (*Ring) String() string { return hidden }

// GoString hides the ring from whatever asks for a fmt.GoStringer.
func (*Ring) GoString() string { return hidden }

// LogValue hides the ring from log/slog.
func (*Ring) LogValue() slog.Value { return slog.StringValue(hidden) }
