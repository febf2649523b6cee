package notify

import (
	"context"
	"crypto/sha256"
	"crypto/tls"
	"crypto/x509"
	"encoding/hex"
	"errors"
	"fmt"
	"net"
	"net/mail"
	"net/url"
	"strconv"
	"strings"

	gomail "github.com/wneessen/go-mail"

	"jethook/pkg/secret"
)

// SMTP is the server that takes e-mail.
type SMTP struct {
	host     string
	port     int
	implicit bool // TLS from the first byte on
	policy   gomail.TLSPolicy
	user     string
	password secret.Secret
	from     string
	roots    *x509.CertPool // nil: the system's
}

// The ports where a URL names none: RFC 8314, section 7.3, and RFC 6409.
const (
	portImplicit = 465
	portSubmit   = 587
)

// ParseSMTP reads the URL of a server and the address that mail comes from, such as
// "jethook@example.com" or "Jethook <jethook@example.com>"; when empty it is jethook at the server. smtps:// is TLS from the
// first byte on; smtp:// is STARTTLS, without which nothing is sent unless the query
// says tls=none, as for a relay on the same machine. Errors repeat nothing of the
// URL, which may hold a password.
func ParseSMTP(raw secret.Secret, from string) (*SMTP, error) {
	u, err := url.Parse(raw.Reveal())
	if err != nil {
		return nil, errors.New("is no valid URL: percent-encode what is special in the user name and the password")
	}
	s := &SMTP{host: u.Hostname(), port: portSubmit, policy: gomail.TLSMandatory, from: from}
	switch u.Scheme {
	case "smtp":
	case "smtps":
		s.implicit, s.port = true, portImplicit
	default:
		return nil, errors.New("must be such as smtps://user:password@mail.example.com:465, or smtp://host:587 for STARTTLS")
	}
	if s.host == "" || strings.Trim(u.Path, "/") != "" || u.Fragment != "" {
		return nil, errors.New("must be scheme, user, password, host and port alone")
	}
	if u.Port() != "" {
		if s.port, err = strconv.Atoi(u.Port()); err != nil || s.port < 1 || s.port > 65535 {
			return nil, errors.New("must have a port from 1 to 65535")
		}
	}
	if u.User != nil {
		password, _ := u.User.Password()
		s.user, s.password = u.User.Username(), secret.Secret(password)
	}
	switch {
	case u.RawQuery == "tls=none" && !s.implicit && s.user == "":
		s.policy = gomail.NoTLS
	case u.RawQuery != "":
		return nil, errors.New("can have the query tls=none, and only with smtp:// and without a user, whose password it would send in the clear")
	}
	if s.from == "" {
		s.from = "jethook@" + s.host
	}
	if _, err := mail.ParseAddress(s.from); err != nil {
		return nil, errors.New("needs an address that mail comes from: JETHOOK_SMTP_FROM, such as jethook@example.com")
	}
	return s, nil
}

// Format prints nothing of it, whatever the verb.
func (SMTP) Format(f fmt.State, _ rune) { secret.Secret("").Format(f, 's') }

// send sends a word, which an event brought, to one address.
func (s *SMTP) send(ctx context.Context, to, eventID string, w Word) error {
	m, err := s.message(to, eventID, w)
	if err != nil {
		return &finalError{err}
	}
	// The library has a deadline for each step, not for all, and leaves a connection
	// open on which it does not get on.
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	c, err := gomail.NewClient(s.host, append(s.options(), gomail.WithDialContextFunc(func(dial context.Context, network, _ string) (net.Conn, error) {
		conn, err := s.dial(dial, network)
		if err == nil {
			context.AfterFunc(ctx, func() { _ = conn.Close() }) // of use to nobody by then
		}
		return conn, err
	}))...)
	if err != nil {
		return &finalError{errors.New("the settings of the mail server are of no use")}
	}
	err = c.DialAndSendWithContext(ctx, m)
	if m.IsDelivered() {
		return nil // the server took it: what failed is the goodbye
	}
	return explainSMTP(err)
}

// dial connects, with TLS from the first byte on where that is asked for. The library
// would take an IPv6 address and a port for one name.
func (s *SMTP) dial(ctx context.Context, network string) (net.Conn, error) {
	address := net.JoinHostPort(s.host, strconv.Itoa(s.port))
	if s.implicit {
		return (&tls.Dialer{Config: s.config()}).DialContext(ctx, network, address)
	}
	return (&net.Dialer{}).DialContext(ctx, network, address)
}

func (s *SMTP) config() *tls.Config {
	return &tls.Config{MinVersion: tls.VersionTLS12, ServerName: s.host, RootCAs: s.roots}
}

func (s *SMTP) options() []gomail.Option {
	policy := s.policy
	if s.implicit { // which the library would not see on a connection that it did not make
		policy = gomail.TLSOpportunistic
	}
	o := []gomail.Option{gomail.WithPort(s.port), gomail.WithTimeout(sendingFor), gomail.WithTLSConfig(s.config()), gomail.WithTLSPolicy(policy)}
	if s.user != "" {
		o = append(o, gomail.WithSMTPAuth(gomail.SMTPAuthAutoDiscover), gomail.WithUsername(s.user), gomail.WithPassword(s.password.Reveal()))
	}
	return o
}

// message is the mail. It says that a machine wrote it, so that no other one
// answers, and has the same id when it is sent again.
func (s *SMTP) message(to, eventID string, w Word) (*gomail.Msg, error) {
	m := gomail.NewMsg()
	if err := m.From(s.from); err != nil {
		return nil, errors.New("the sender's address is of no use")
	}
	if err := m.To(to); err != nil {
		return nil, errors.New("the address is of no use")
	}
	m.Subject("[jethook] " + w.Subject())
	m.SetDate()
	m.SetMessageIDWithValue(s.messageID(to, eventID))
	m.SetGenHeader("Auto-Submitted", "auto-generated")
	m.SetBodyString(gomail.TypeTextPlain, w.Text())
	return m, nil
}

// messageID names a mail by the event and the address, and does not tell the address.
func (s *SMTP) messageID(to, eventID string) string {
	sum := sha256.Sum256([]byte(to))
	from, _ := mail.ParseAddress(s.from) // ParseSMTP has seen that it is one
	return eventID + "." + hex.EncodeToString(sum[:8]) + from.Address[strings.LastIndexByte(from.Address, '@'):]
}

// explainSMTP returns what went wrong without what the server said, which repeats
// addresses.
func explainSMTP(err error) error {
	if err == nil {
		return nil
	}
	refused, ok := errors.AsType[*gomail.SendError](err)
	switch {
	case ok && refused.ErrorCode() >= 500:
		return &finalError{fmt.Errorf("the mail server refuses it with %d", refused.ErrorCode())}
	case ok && refused.ErrorCode() > 0:
		return fmt.Errorf("the mail server answers %d", refused.ErrorCode())
	case errors.Is(err, context.DeadlineExceeded):
		return errors.New("the mail server does not answer in time")
	}
	return errors.New("the mail server cannot be reached, or not in the way that JETHOOK_SMTP_URL asks for (TLS, user)")
}
