package signature

import (
	"crypto/ed25519"
	"crypto/rand"
	"encoding/base64"
	"io"

	"jethook/pkg/secret"
)

// The prefixes that tell the three kinds of key text apart.
const (
	secretPrefix  = "whsec_"
	privatePrefix = "whsk_"
	publicPrefix  = "whpk_"
)

// hidden is what a secret prints as.
const hidden = "***"

// newSecretBytes is as long as what SHA-256 gives: longer keys add nothing.
const newSecretBytes = 32

// NewSecret returns a new secret for v1 signatures.
func NewSecret() secret.Secret {
	return secret.Secret(encode(secretPrefix, randomBytes(newSecretBytes)))
}

// NewSigningKey returns a new ed25519 private key for v1a signatures. Its
// receivers need the public half: see [Key.Public].
func NewSigningKey() secret.Secret {
	return secret.Secret(encode(privatePrefix, ed25519.NewKeyFromSeed(randomBytes(ed25519.SeedSize))))
}

// hide drops the writer's error, as fmt does for what it formats itself.
func hide(w io.Writer) { _, _ = io.WriteString(w, hidden) }

// randomBytes cannot fail: crypto/rand ends the program before it would give
// bytes that can be guessed.
func randomBytes(n int) []byte {
	b := make([]byte, n)
	_, _ = rand.Read(b)
	return b
}

func encode(prefix string, b []byte) string {
	return prefix + base64.StdEncoding.EncodeToString(b)
}
