// Package secret promises that what must stay secret does not reach a log line, an
// error or a page by accident, and lies in a bucket only sealed.
package secret

import (
	"fmt"
	"io"
	"log/slog"
)

// hidden is what a secret prints as.
const hidden = "***"

// Secret is a text that must stay secret, such as a signing secret or a
// password, or that text sealed: see [Secret.Sealed]. It prints as *** with fmt,
// slog and encoding/json, so that it cannot reach a log line by accident; Reveal is the one way
// to its text.
//
// JSON is written as *** too, and with it what loggers print by way of JSON; it is
// read as text. Whoever stores a Secret says so with Reveal. The exception is fmt: it
// asks no type before it prints an unexported field of a struct, or with the verbs %p
// and %w, which go vet refuses here.
type Secret string

// Reveal returns the secret's text.
func (s Secret) Reveal() string { return string(s) }

// Format hides the secret from fmt, whatever the verb and its flags. It drops the
// writer's error, as fmt does for what it formats itself.
func (Secret) Format(f fmt.State, _ rune) { _, _ = io.WriteString(f, hidden) }

// String hides the secret from whatever asks for a fmt.Stringer.
func (Secret) String() string { return hidden }

// GoString hides the secret from whatever asks for a fmt.GoStringer.
func (Secret) GoString() string { return hidden }

// MarshalJSON hides the secret from encoding/json.
func (Secret) MarshalJSON() ([]byte, error) { return []byte(`"` + hidden + `"`), nil }

// LogValue hides the secret from log/slog.
func (Secret) LogValue() slog.Value { return slog.StringValue(hidden) }
