package signature

import (
	"crypto/ed25519"
	"encoding/base64"
	"errors"
	"fmt"
	"log/slog"
	"strings"

	"jethook/pkg/secret"
)

// The lengths that Standard Webhooks allows for the secret of a v1 signature,
// in bytes before base64.
const (
	MinSecretBytes = 24
	MaxSecretBytes = 64
)

// Key is a parsed secret, ready to sign or to verify. It prints as *** and has
// no way back to the secret's text. Parse once and keep it while it is in use: to
// parse a private key takes as long as to sign. The zero Key signs and verifies
// nothing.
type Key struct {
	// A pointer behind an interface to a struct with nothing but a pointer: even in
	// an unexported field of somebody else's struct, fmt follows the first at the
	// most, for a verb that it does not know, and prints the other as an address.
	scheme scheme
}

// scheme is one version of signatures with its key. The header is what comes
// before the body in the bytes that are signed.
type scheme interface {
	version() string
	public() string
	canSign() bool
	// appendSignature adds the signature in base64, without its version.
	appendSignature(dst, header, body []byte) []byte
	// verifier returns a function that says whether a signature in base64
	// belongs to the message.
	verifier(header, body []byte) func(signature string) bool
}

// ParseKey reads a key's text: whsec_ and 24 to 64 bytes, a secret for v1;
// whsk_ and a 64-byte ed25519 private key or its 32-byte seed, for v1a; whpk_
// and a 32-byte ed25519 public key, which verifies v1a and cannot sign. The
// bytes are in standard base64 with padding. An error says what is allowed and
// holds nothing of the text.
func ParseKey(s secret.Secret) (Key, error) {
	prefix, text, found := strings.Cut(s.Reveal(), "_")
	prefix += "_"
	if !found || (prefix != secretPrefix && prefix != privatePrefix && prefix != publicPrefix) {
		return Key{}, errors.New("a key must begin with whsec_ (shared secret), whsk_ (ed25519 private key) or whpk_ (ed25519 public key)")
	}
	b, err := base64.StdEncoding.DecodeString(text)
	// The decoder would skip line breaks, which a header or a shell may not.
	if err != nil || strings.ContainsAny(text, "\r\n") {
		return Key{}, fmt.Errorf("what follows %s must be standard base64 with padding, without spaces or line breaks", prefix)
	}
	switch prefix {
	case secretPrefix:
		return parseSecret(b)
	case privatePrefix:
		return parsePrivate(b)
	default:
		return parsePublic(b)
	}
}

func parseSecret(b []byte) (Key, error) {
	if len(b) < MinSecretBytes || len(b) > MaxSecretBytes {
		return Key{}, fmt.Errorf("a %s secret must be %d to %d bytes in base64, this one is %d",
			secretPrefix, MinSecretBytes, MaxSecretBytes, len(b))
	}
	return Key{newSymmetric(b)}, nil
}

func parsePrivate(b []byte) (Key, error) {
	switch len(b) {
	case ed25519.SeedSize:
		return Key{newAsymmetric(ed25519.NewKeyFromSeed(b))}, nil
	case ed25519.PrivateKeySize:
	default:
		return Key{}, fmt.Errorf("a %s key must be %d bytes in base64, or the %d bytes of its seed, this one is %d",
			privatePrefix, ed25519.PrivateKeySize, ed25519.SeedSize, len(b))
	}
	private := ed25519.NewKeyFromSeed(b[:ed25519.SeedSize])
	// Signing one message with the right and with a wrong public half gives
	// the private key away to whoever sees both signatures.
	if !private.Equal(ed25519.PrivateKey(b)) {
		return Key{}, fmt.Errorf("the second half of a %s key must be the public key of its first half, and is not: copy the key again, or give its 32-byte seed alone", privatePrefix)
	}
	return Key{newAsymmetric(private)}, nil
}

func parsePublic(b []byte) (Key, error) {
	if len(b) != ed25519.PublicKeySize {
		return Key{}, fmt.Errorf("a %s key must be %d bytes in base64, this one is %d", publicPrefix, ed25519.PublicKeySize, len(b))
	}
	return Key{&asymmetric{&keyPair{publicKey: b}}}, nil
}

// Version returns the version of the key's signatures: v1 or v1a, and nothing
// for the zero Key.
func (k Key) Version() string {
	if k.scheme == nil {
		return ""
	}
	return k.scheme.version()
}

// Public returns the text that receivers verify v1a signatures with, whpk_ and
// the public key. It is empty for a v1 key, which has no public half.
func (k Key) Public() string {
	if k.scheme == nil {
		return ""
	}
	return k.scheme.public()
}

// CanSign says whether the key signs, which a public key and the zero Key do
// not.
func (k Key) CanSign() bool { return k.scheme != nil && k.scheme.canSign() }

// Format hides the key from fmt, whatever the verb and its flags.
func (Key) Format(f fmt.State, _ rune) { hide(f) }

// LogValue hides the key from log/slog.
func (Key) LogValue() slog.Value { return slog.StringValue(hidden) }
