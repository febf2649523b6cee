package endpoint

import (
	"fmt"
	"net/mail"
	"slices"
	"strings"

	"github.com/goccy/go-yaml/ast"

	"jethook/pkg/secret"
)

// Contact says where an endpoint's owner hears of what happens to it, beside
// jethook's own events.
type Contact struct {
	// Email lists addresses, without names.
	Email []string
	// Slack is the URL of an incoming webhook as Slack has them. Whoever knows it
	// can write there, so it is a secret.
	Slack secret.Secret
}

// The bounds of a contact.
const (
	MaxEmails = 10
	maxEmail  = 254 // RFC 5321
)

var contactFields = []string{"email", "slack"}

func (c *Contact) clone() *Contact {
	if c == nil {
		return nil
	}
	return &Contact{Email: slices.Clone(c.Email), Slack: c.Slack}
}

// each visits the secrets of nil or a contact until visit returns false.
func (c *Contact) each(visit func(field string, s *secret.Secret) bool) bool {
	return c == nil || visit("contact.slack", &c.Slack)
}

// Format prints nothing of it, as that of Auth: addresses are people's.
func (Contact) Format(f fmt.State, _ rune) { hide(f) }

func (s *section) readContact(w *wire, node ast.Node) {
	w.Contact = &wireContact{}
	s.fields(node, "contact", contactFields, func(name string, value ast.Node) {
		switch name {
		case "email":
			list(s, "contact.email", value, &w.Contact.Email, text)
		case "slack":
			scalar(s, "contact.slack", value, &w.Contact.Slack, s.secret)
		}
	})
}

func (d Document) checkContact(rules Rules, report func(field, message string)) {
	c := d.Contact
	if c == nil {
		return
	}
	switch n := len(c.Email); {
	case n == 0 && c.Slack == "":
		report("contact", "must have email, a list of addresses, or slack, the URL of an incoming webhook, or both")
	case n > MaxEmails:
		report("contact.email", fmt.Sprintf("must be at most %d addresses, not %d", MaxEmails, n))
	}
	for i, address := range c.Email {
		field := item("contact.email", i)
		if !isEmail(address) {
			report(field, quote(address)+" must be an address alone, such as ops@example.com")
		} else if j := slices.Index(c.Email, address); j < i {
			report(field, "repeats "+item("contact.email", j))
		}
	}
	if c.Slack == "" || c.Slack.Sealed() {
		return // whoever sealed it saw to it
	}
	// Its path is the secret; the error repeats nothing of it.
	if err := CheckURL(c.Slack.Reveal(), rules.AllowHTTP); err != nil {
		report("contact.slack", err.Error())
	}
}

// isEmail reports whether a text is an address as every mail server takes it.
func isEmail(text string) bool {
	if len(text) > maxEmail || strings.ContainsFunc(text, func(c rune) bool { return c <= ' ' || c > '~' }) {
		return false
	}
	address, err := mail.ParseAddress(text)
	return err == nil && address.Address == text && address.Name == ""
}
