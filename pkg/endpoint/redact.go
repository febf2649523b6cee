package endpoint

import (
	"fmt"
	"io"
	"strings"

	"jethook/pkg/secret"
)

// RedactedURL returns the document's address as it may be shown and stored:
// without the query, where credentials live. User names and fragments are refused
// when a document is written.
func (d Document) RedactedURL() string {
	address, _, _ := strings.Cut(d.URL, "?")
	return address
}

// withoutQuery hides an address's query and leaves to be seen that there is one.
func withoutQuery(address string) string {
	before, _, found := strings.Cut(address, "?")
	if found {
		before += "?" + secret.Secret("").String()
	}
	return before
}

// Format prints nothing of it, whatever the verb: fmt shows what a pointer within
// points to without asking it, when the verb is one for text.
func (Auth) Format(f fmt.State, _ rune) { hide(f) }

// Format prints nothing of it, as that of Auth.
func (BasicAuth) Format(f fmt.State, _ rune) { hide(f) }

// Format prints nothing of it, as that of Auth.
func (OAuth2) Format(f fmt.State, _ rune) { hide(f) }

// Format prints nothing of it, as that of Auth.
func (TLS) Format(f fmt.State, _ rune) { hide(f) }

// Format prints nothing of it, as that of Auth.
func (*Parsed) Format(f fmt.State, _ rune) { hide(f) }

// hide drops the writer's error: fmt's State remembers it.
func hide(f fmt.State) { _, _ = io.WriteString(f, secret.Secret("").String()) }
