package signature

import (
	"crypto/ed25519"
	"crypto/rand"
	"encoding/base64"
	"fmt"
	"io"
	"log/slog"
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

// Secret is a signing secret in its textual form, such as "whsec_…". It prints
// as *** with fmt and slog, so that it cannot reach a log line by accident;
// Reveal is the one way to its text.
//
// JSON is the exception: a Secret marshals to its text, because that is how it
// is stored. A logger that prints by way of JSON, such as zerolog's Interface,
// Any and Fields, would print it too; give such a logger String's result or
// nothing. Nor does fmt ask a type before it prints an unexported field of a
// struct, or with the verbs %p and %w, which go vet refuses here: a struct
// that is printed and keeps a secret holds a [Key] instead, which has no text.
type Secret string

// NewSecret returns a new secret for v1 signatures.
func NewSecret() Secret {
	return Secret(encode(secretPrefix, randomBytes(newSecretBytes)))
}

// NewSigningKey returns a new ed25519 private key for v1a signatures. Its
// receivers need the public half: see [Key.Public].
func NewSigningKey() Secret {
	return Secret(encode(privatePrefix, ed25519.NewKeyFromSeed(randomBytes(ed25519.SeedSize))))
}

// Reveal returns the secret's text.
func (s Secret) Reveal() string { return string(s) }

// Format hides the secret from fmt, whatever the verb and its flags.
func (Secret) Format(f fmt.State, _ rune) { hide(f) }

// String hides the secret from whatever asks for a fmt.Stringer.
func (Secret) String() string { return hidden }

// GoString hides the secret from whatever asks for a fmt.GoStringer.
func (Secret) GoString() string { return hidden }

// LogValue hides the secret from log/slog.
func (Secret) LogValue() slog.Value { return slog.StringValue(hidden) }

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
