package notify

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"io"
	"mime/quotedprintable"
	"net"
	"net/http/httptest"
	"net/mail"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/emersion/go-sasl"
	"github.com/emersion/go-smtp"

	"jethook/pkg/secret"
)

// mailbox is a mail server.
type mailbox struct {
	testing.TB
	url   string // without a user
	roots *x509.CertPool

	user, password string // empty: it asks for none
	mail           chan letter

	mu     sync.Mutex
	refuse []error // what it says to recipients, one after the other
	asked  int     // how often a recipient was named
}

// letter is a mail that arrived.
type letter struct {
	from, to string
	secure   bool
	*mail.Message
	text string
}

// newMailbox starts a mail server: with TLS from the first byte on, with STARTTLS,
// or without any.
func newMailbox(t testing.TB, scheme string, offersTLS bool) *mailbox {
	t.Helper()
	l, err := new(net.ListenConfig).Listen(t.Context(), "tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	return newMailboxAt(t, l, scheme, offersTLS)
}

func newMailboxAt(t testing.TB, l net.Listener, scheme string, offersTLS bool) *mailbox {
	t.Helper()
	b := &mailbox{TB: t, mail: make(chan letter, 64)}
	far := httptest.NewUnstartedServer(nil)
	far.StartTLS()
	far.Close()
	config := &tls.Config{Certificates: far.TLS.Certificates} //nolint:gosec // the client says which version it takes
	b.roots = x509.NewCertPool()
	b.roots.AddCert(far.Certificate())
	b.url = scheme + "://" + l.Addr().String()
	s := smtp.NewServer(smtp.BackendFunc(func(c *smtp.Conn) (smtp.Session, error) { return &session{box: b, conn: c}, nil }))
	s.ErrorLog = quiet{}
	switch {
	case scheme == "smtps":
		l = tls.NewListener(l, config)
	case offersTLS:
		s.TLSConfig = config
	}
	served := make(chan error, 1)
	go func() { served <- s.Serve(l) }()
	t.Cleanup(func() {
		_ = s.Close()
		if err := <-served; err != nil {
			t.Errorf("serve: %v", err)
		}
	})
	return b
}

// A literal address may be one of IPv6: here one that every machine has, by which
// 127.0.0.1 is reached.
func TestAMailServerIsReachedByIPv6(t *testing.T) {
	for _, scheme := range []string{"smtp", "smtps"} {
		b := newMailbox(t, scheme, true)
		b.url = strings.Replace(b.url, "127.0.0.1", "[::ffff:127.0.0.1]", 1)
		if err := b.settings("").send(t.Context(), "owner@example.com", "jethook_1", aWord); err != nil {
			t.Errorf("%s: %v", b.url, err)
			continue
		}
		b.next()
	}
}

// What the server took is not sent again because it says no goodbye, and what it may
// have taken is recognised when it comes again.
func TestAMailThatWasTakenIsSent(t *testing.T) {
	l, err := new(net.ListenConfig).Listen(t.Context(), "tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	b := newMailboxAt(t, rude{l}, "smtp", false)
	b.url += "?tls=none"
	ids := map[string]int{}
	for _, to := range []string{"owner@example.com", "owner@example.com", "another@example.com"} {
		if err := b.settings("").send(t.Context(), to, "jethook_1", aWord); err != nil {
			t.Fatal(err)
		}
		ids[b.next().Header.Get("Message-Id")]++
	}
	if len(ids) != 2 {
		t.Errorf("two mails have the ids %v, want the same for the one that comes again", ids)
	}
	if err := b.settings("").send(t.Context(), "owner@example.com", "jethook_2", aWord); err != nil {
		t.Fatal(err)
	}
	if id := b.next().Header.Get("Message-Id"); ids[id] != 0 || !strings.HasSuffix(id, "@example.com>") {
		t.Errorf("the next word has the id %s", id)
	}
}

// rude are connections that break once the server has taken a mail.
type rude struct{ net.Listener }

func (r rude) Accept() (net.Conn, error) {
	c, err := r.Listener.Accept()
	return rudeConn{c}, err
}

type rudeConn struct{ net.Conn }

func (c rudeConn) Write(p []byte) (int, error) {
	n, err := c.Conn.Write(p)
	if strings.Contains(string(p), "OK: queued") {
		_ = c.Close()
	}
	return n, err
}

type quiet struct{}

func (quiet) Printf(string, ...any) {}
func (quiet) Println(...any)        {}

// settings returns what sends to the mailbox.
func (b *mailbox) settings(userinfo string) *SMTP {
	b.Helper()
	s, err := ParseSMTP(secret.Secret(strings.Replace(b.url, "://", "://"+userinfo, 1)), "Jethook <jethook@example.com>")
	if err != nil {
		b.Fatal(err)
	}
	s.roots = b.roots
	return s
}

func (b *mailbox) next() letter {
	b.Helper()
	select {
	case l := <-b.mail:
		return l
	case <-time.After(30 * time.Second):
		b.Fatal("no mail came")
		return letter{}
	}
}

// session is a connection to the mailbox.
type session struct {
	box    *mailbox
	conn   *smtp.Conn
	known  bool
	letter letter
}

func (s *session) AuthMechanisms() []string { return []string{sasl.Plain} }

func (s *session) Auth(string) (sasl.Server, error) {
	return sasl.NewPlainServer(func(_, user, password string) error {
		if s.known = user == s.box.user && password == s.box.password; !s.known {
			return smtp.ErrAuthFailed
		}
		return nil
	}), nil
}

func (s *session) Mail(from string, _ *smtp.MailOptions) error {
	if s.box.user != "" && !s.known {
		return smtp.ErrAuthRequired
	}
	_, s.letter.secure = s.conn.TLSConnectionState()
	s.letter.from = from
	return nil
}

func (s *session) Rcpt(to string, _ *smtp.RcptOptions) error {
	s.box.mu.Lock()
	defer s.box.mu.Unlock()
	s.box.asked++
	if len(s.box.refuse) > 0 {
		err := s.box.refuse[0]
		if s.box.refuse = s.box.refuse[1:]; err != nil {
			return err
		}
	}
	s.letter.to = to
	return nil
}

func (s *session) Data(r io.Reader) error {
	m, err := mail.ReadMessage(r)
	if err != nil {
		return err
	}
	body, err := io.ReadAll(quotedprintable.NewReader(m.Body))
	s.letter.Message, s.letter.text = m, string(body)
	s.box.mail <- s.letter
	return err
}

func (*session) Reset()        {}
func (*session) Logout() error { return nil }

func TestMailArrivesByEveryWayThatIsSecure(t *testing.T) {
	for name, c := range map[string]struct {
		scheme         string
		offers, secure bool
		userinfo, more string
	}{
		"TLS":                       {"smtps", true, true, "", ""},
		"TLS, with a user":          {"smtps", true, true, "ops%40example.com:p%40ss@", ""},
		"STARTTLS":                  {"smtp", true, true, "", ""},
		"STARTTLS, with a user":     {"smtp", true, true, "ops%40example.com:p%40ss@", ""},
		"a relay that has no TLS":   {"smtp", false, false, "", "?tls=none"},
		"a relay whose TLS is none": {"smtp", true, false, "", "?tls=none"},
	} {
		t.Run(name, func(t *testing.T) {
			b := newMailbox(t, c.scheme, c.offers)
			if c.userinfo != "" {
				b.user, b.password = "ops@example.com", "p@ss"
			}
			b.url += c.more
			if err := b.settings(c.userinfo).send(t.Context(), "owner@example.com", "jethook_1", aWord); err != nil {
				t.Fatal(err)
			}
			l := b.next()
			if l.from != "jethook@example.com" || l.to != "owner@example.com" || l.secure != c.secure {
				t.Errorf("it came from %s to %s, secure %v", l.from, l.to, l.secure)
			}
			if got := l.Header.Get("Subject"); got != "[jethook] acme/crm is failing" {
				t.Errorf("its subject is %q", got)
			}
			if l.Header.Get("Auto-Submitted") != "auto-generated" || l.Header.Get("Date") == "" || l.Header.Get("Message-Id") == "" ||
				!strings.HasPrefix(l.Header.Get("Content-Type"), "text/plain") || l.Header.Get("To") != "<owner@example.com>" {
				t.Errorf("its headers are %v", l.Header)
			}
			if got := strings.ReplaceAll(l.text, "\r\n", "\n"); strings.TrimSpace(got) != strings.TrimSpace(aWord.Text()) {
				t.Errorf("it says %q, not %q", got, aWord.Text())
			}
		})
	}
}

func TestNoMailAndNoPasswordGoesWhereItIsNotSecure(t *testing.T) {
	for name, c := range map[string]struct {
		scheme string
		offers bool
		change func(*SMTP)
		says   string
	}{
		"no STARTTLS, no user":      {"smtp", false, func(s *SMTP) { s.user, s.password = "", "" }, "cannot be reached, or not in the way"},
		"no STARTTLS":               {"smtp", false, nil, "cannot be reached, or not in the way"},
		"another's certificate":     {"smtp", true, func(s *SMTP) { s.roots = x509.NewCertPool() }, "cannot be reached, or not in the way"},
		"another's, from the start": {"smtps", true, func(s *SMTP) { s.roots = x509.NewCertPool() }, "cannot be reached, or not in the way"},
		"a wrong password":          {"smtps", true, func(s *SMTP) { s.password = "CANARY" }, "cannot be reached, or not in the way"},
	} {
		t.Run(name, func(t *testing.T) {
			b := newMailbox(t, c.scheme, c.offers)
			s := b.settings("ops:pass@")
			if c.change != nil {
				c.change(s)
			}
			if s.user != "" {
				b.user, b.password = "ops", "pass"
			}
			err := s.send(t.Context(), "owner@example.com", "jethook_1", aWord)
			if err == nil || !strings.Contains(err.Error(), c.says) || strings.Contains(err.Error(), "owner") || strings.Contains(err.Error(), "CANARY") {
				t.Errorf("sent: %v, want an error that says %q", err, c.says)
			}
			if len(b.mail) > 0 {
				t.Error("a mail came all the same")
			}
		})
	}
}

// A mail server says whom it does not want, which is for nobody's log.
func TestWhatAMailServerRefusesIsSaidWithoutTheAddress(t *testing.T) {
	b := newMailbox(t, "smtp", true)
	for _, c := range []struct {
		code  int
		final bool
	}{{550, true}, {451, false}} {
		b.refuse = []error{&smtp.SMTPError{Code: c.code, EnhancedCode: smtp.EnhancedCode{c.code / 100, 1, 1}, Message: "<owner@example.com> is unknown"}}
		err := b.settings("").send(t.Context(), "owner@example.com", "jethook_1", aWord)
		_, final := errors.AsType[*finalError](err)
		if err == nil || final != c.final || strings.Contains(err.Error(), "owner") {
			t.Errorf("%d: %v, final %v", c.code, err, final)
		}
	}
}

// silent is a server that accepts connections and says nothing.
func silent(t *testing.T) string {
	t.Helper()
	l, err := new(net.ListenConfig).Listen(t.Context(), "tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = l.Close() })
	return l.Addr().String()
}

func TestAMailServerThatSaysNothingIsLeftInTime(t *testing.T) {
	for _, scheme := range []string{"smtp", "smtps"} {
		s, err := ParseSMTP(secret.Secret(scheme+"://"+silent(t)), "a@b.c")
		if err != nil {
			t.Fatal(err)
		}
		ctx, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
		defer cancel()
		began := time.Now()
		if err := s.send(ctx, "owner@example.com", "jethook_1", aWord); err == nil || time.Since(began) >= sendingFor {
			t.Errorf("%s: after %s: %v", scheme, time.Since(began), err)
		}
	}
}

func TestSettingsOfAMailServer(t *testing.T) {
	for raw, want := range map[string]SMTP{
		"smtps://mail.example.com":         {host: "mail.example.com", port: 465, implicit: true},
		"smtps://u:p@mail.example.com:99/": {host: "mail.example.com", port: 99, implicit: true, user: "u", password: "p"},
		"smtp://mail.example.com":          {host: "mail.example.com", port: 587},
		"smtp://a%40b.c:p%2F@[::1]:25":     {host: "::1", port: 25, user: "a@b.c", password: "p/"},
		"smtp://127.0.0.1:25?tls=none":     {host: "127.0.0.1", port: 25},
	} {
		s, err := ParseSMTP(secret.Secret(raw), "a@b.c")
		if err != nil {
			t.Errorf("%s: %v", raw, err)
		} else if s.host != want.host || s.port != want.port || s.implicit != want.implicit || s.user != want.user || s.password != want.password {
			t.Errorf("%s: %s:%d, user %q", raw, s.host, s.port, s.user)
		}
	}
	if s, err := ParseSMTP("smtps://mail.example.com", ""); err != nil || s.from != "jethook@mail.example.com" {
		t.Errorf("without an address to come from: %v", err)
	}
	for raw, says := range map[string]string{
		"":                                 "must be such as smtps://",
		"mail.example.com:25":              "must be such as smtps://",
		"https://CANARY@mail.example.com":  "must be such as smtps://",
		"smtp://":                          "scheme, user, password, host and port alone",
		"smtp://CANARY@mail.example.com/x": "scheme, user, password, host and port alone",
		"smtp://mail.example.com:0":        "a port from 1 to 65535",
		"smtp://u:CANARY%zz@a.b":           "is no valid URL",
		"smtp://u:CANARY@a.b?tls=none":     "without a user",
		"smtps://a.b?tls=none":             "only with smtp://",
		"smtp://a.b?tls=CANARY":            "only with smtp://",
	} {
		s, err := ParseSMTP(secret.Secret(raw), "a@b.c")
		if err == nil || !strings.Contains(err.Error(), says) || strings.Contains(err.Error(), "CANARY") {
			t.Errorf("%s: %v, %v; want an error that says %q", raw, s, err, says)
		}
	}
	if _, err := ParseSMTP("smtp://a.b", "Jethook"); err == nil {
		t.Error("a name passes for an address")
	}
}
