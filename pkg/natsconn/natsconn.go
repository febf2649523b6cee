// Package natsconn promises a connection to NATS made the way the nats tools
// make theirs, that comes back by itself, or an error that says what to do.
package natsconn

import (
	"cmp"
	"errors"
	"fmt"
	"net/url"
	"strings"
	"sync"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/rs/zerolog"
	"github.com/synadia-io/orbit.go/natscontext"

	"jethook/pkg/secret"
)

// Options say where NATS is and who we are, under the names that the nats
// tools give to the environment variables.
type Options struct {
	URL      string        `desc:"servers, separated by commas"`
	Context  string        `desc:"a context that the nats CLI saved"`
	Creds    string        `desc:"file with a JWT and its key"`
	Nkey     string        `desc:"file with an nkey seed"`
	User     string        `desc:"user name"`
	Password secret.Secret `desc:"password"`
	Token    secret.Secret `desc:"token"`
	CA       string        `desc:"file with the certificates to trust"`
	Cert     string        `desc:"file with the client's certificate"`
	Key      string        `desc:"file with the client's key"`
	// InboxPrefix is under which this user is answered, where it may not listen to
	// everybody's answers.
	InboxPrefix string `split_words:"true" desc:"prefix of the subjects of answers, such as the one that jethook streams permissions names; _INBOX when unset"`
}

// Named reports whether a server is named at all.
func (o Options) Named() bool { return o.URL != "" || o.Context != "" }

// Connect connects under the given client name. The first connection must
// succeed; a lost one is made again for ever.
func Connect(o Options, name string, log zerolog.Logger) (*nats.Conn, error) {
	options, err := o.options()
	if err != nil {
		return nil, err
	}
	options = append(options, Durable(name, log)...)
	server := cmp.Or(o.URL, nats.DefaultURL)
	if err := check(server); err != nil {
		return nil, err
	}
	var nc *nats.Conn
	if o.URL == "" && o.Context != "" {
		nc, _, err = natscontext.Connect(o.Context, options...)
	} else {
		nc, err = nats.Connect(server, options...)
	}
	if err != nil {
		return nil, o.explain(err)
	}
	return nc, nil
}

// Durable returns the options of every connection of ours: reconnect for ever,
// notice a dead peer, and say so in the log.
func Durable(name string, log zerolog.Logger) []nats.Option {
	return []nats.Option{
		nats.Name(name),
		nats.MaxReconnects(-1),
		nats.ReconnectWait(250 * time.Millisecond),
		nats.IgnoreAuthErrorAbort(), // credentials are rotated while we run
		nats.PingInterval(20 * time.Second),
		nats.Timeout(5 * time.Second),
		nats.DisconnectErrHandler(func(_ *nats.Conn, err error) {
			if err != nil {
				log.Warn().Err(err).Msg("lost the connection to NATS, reconnecting")
			}
		}),
		nats.ReconnectHandler(func(nc *nats.Conn) {
			log.Info().Str("server", Server(nc)).Msg("reconnected to NATS")
		}),
		nats.ErrorHandler((&reports{log: log}).hear),
	}
}

// reports are errors that NATS sends unasked, as often as something is refused: the
// log has the first at once, then a line a minute with how many there were.
type reports struct {
	log    zerolog.Logger
	mu     sync.Mutex
	errors int
	next   time.Time
}

func (r *reports) hear(_ *nats.Conn, _ *nats.Subscription, err error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.errors++
	if now := time.Now(); !now.Before(r.next) {
		r.log.Warn().Err(err).Int("errors", r.errors).Msg("NATS reports an error")
		r.errors, r.next = 0, now.Add(time.Minute)
	}
}

func (o Options) options() ([]nats.Option, error) {
	var options []nats.Option
	if o.Creds != "" {
		options = append(options, nats.UserCredentials(o.Creds))
	}
	if o.Nkey != "" {
		option, err := nats.NkeyOptionFromSeed(o.Nkey)
		if err != nil {
			return nil, fmt.Errorf("NATS_NKEY: %w", err)
		}
		options = append(options, option)
	}
	if o.User != "" {
		options = append(options, nats.UserInfo(o.User, o.Password.Reveal()))
	}
	if o.Token != "" {
		options = append(options, nats.Token(o.Token.Reveal()))
	}
	if o.CA != "" {
		options = append(options, nats.RootCAs(o.CA))
	}
	if o.InboxPrefix != "" {
		if strings.ContainsAny(o.InboxPrefix, "*> \t") || strings.HasSuffix(o.InboxPrefix, ".") {
			return nil, fmt.Errorf("NATS_INBOX_PREFIX %q: write what stands before the last full stop of the subjects of answers, such as _INBOX_worker, without wildcards", o.InboxPrefix)
		}
		options = append(options, nats.CustomInboxPrefix(o.InboxPrefix))
	}
	switch {
	case o.Cert != "" && o.Key != "":
		options = append(options, nats.ClientCert(o.Cert, o.Key))
	case o.Cert != "" || o.Key != "":
		return nil, errors.New("NATS_CERT and NATS_KEY go together: set both")
	}
	return options, nil
}

func (o Options) explain(err error) error {
	place, server := "NATS_URL", redact(cmp.Or(o.URL, nats.DefaultURL))
	if o.URL == "" && o.Context != "" {
		place = "context " + o.Context
		server = place
	}
	switch {
	case errors.Is(err, nats.ErrNoServers):
		return fmt.Errorf("cannot reach NATS at %s: start `jethook serve` or nats-server, or set NATS_URL or NATS_CONTEXT (%w)", server, err)
	case errors.Is(err, nats.ErrAuthorization), errors.Is(err, nats.ErrAuthExpired):
		return fmt.Errorf("NATS at %s refuses these credentials: set NATS_CREDS, NATS_NKEY, NATS_USER and NATS_PASSWORD, or NATS_TOKEN (%w)", server, err)
	}
	if _, ok := errors.AsType[*url.Error](err); ok { // its text quotes the password
		return unreadable(place)
	}
	return fmt.Errorf("connect to NATS at %s: %w", server, err)
}
