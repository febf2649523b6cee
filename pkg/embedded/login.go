package embedded

import (
	"crypto/subtle"

	"github.com/nats-io/nats-server/v2/server"

	"jethook/pkg/secret"
)

// Login is what clients must know: a user and the password, or a token. The zero
// Login is for everybody. It takes the place of the server's own options, which would
// have the log warn of a password in plain text.
type Login struct {
	User            string
	Password, Token secret.Secret
}

// complete reports whether there is something to demand.
func (l Login) complete() bool { return l.User != "" && l.Password != "" || l.Token != "" }

// half reports whether a part of it is missing: it would demand nothing.
func (l Login) half() bool { return !l.complete() && (l.User != "" || l.Password != "") }

// Check lets a client in that knows all that there is to know.
func (l Login) Check(c server.ClientAuthentication) bool {
	said := c.GetOpts()
	same := func(a string, b secret.Secret) bool {
		return subtle.ConstantTimeCompare([]byte(a), []byte(b.Reveal())) == 1
	}
	if l.Token != "" {
		return same(said.Token, l.Token)
	}
	return said.Username == l.User && same(said.Password, l.Password)
}
