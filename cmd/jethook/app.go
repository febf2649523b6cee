package main

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"strings"
	"sync"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
	"github.com/rs/zerolog"
	"golang.org/x/term"

	"jethook/config"
	"jethook/pkg/endpoint"
	"jethook/pkg/natsconn"
	"jethook/pkg/secret"
	"jethook/streams"
)

// app is what commands share: where they read and write, and how they connect.
type app struct {
	In          io.Reader
	Out, Err    io.Writer
	Terminal    bool // Out is a terminal: colours and progress are welcome
	Interactive bool // In is a terminal: somebody can be asked

	flags        natsFlags
	config       *config.Config
	answers      *bufio.Reader // of In, once something was asked
	patience     time.Duration // replaces replicasPatience in tests
	discardQuiet time.Duration // replaces its constant in tests
}

func newApp() *app {
	return &app{
		In: os.Stdin, Out: os.Stdout, Err: os.Stderr,
		Terminal:    term.IsTerminal(int(os.Stdout.Fd())) && os.Getenv("NO_COLOR") == "",
		Interactive: term.IsTerminal(int(os.Stdin.Fd())),
	}
}

// natsFlags say which NATS server to talk to; each takes the place of an
// environment variable.
type natsFlags struct {
	Server    string        `short:"s" placeholder:"URL" help:"NATS servers (NATS_URL)."`
	Context   string        `placeholder:"NAME" help:"Context saved by the nats CLI (NATS_CONTEXT)."`
	Creds     string        `placeholder:"FILE" help:"Credentials file (NATS_CREDS)."`
	Nkey      string        `placeholder:"FILE" help:"Nkey seed file (NATS_NKEY)."`
	User      string        `placeholder:"USER" help:"User (NATS_USER)."`
	Password  secret.Secret `placeholder:"PASSWORD" help:"Password (NATS_PASSWORD)."`
	Tlsca     string        `name:"tlsca" placeholder:"FILE" help:"Certificates to trust (NATS_CA)."`
	Tlscert   string        `name:"tlscert" placeholder:"FILE" help:"Client certificate (NATS_CERT)."`
	Tlskey    string        `name:"tlskey" placeholder:"FILE" help:"Client key (NATS_KEY)."`
	Inbox     string        `name:"inbox-prefix" placeholder:"PREFIX" help:"Prefix of the subjects of answers (NATS_INBOX_PREFIX)."`
	Namespace string        `placeholder:"NAME" help:"Namespace (JETHOOK_NAMESPACE)."`
}

// over puts the flags that are set in the place of what the environment says.
func (f natsFlags) over(c *config.Config) {
	set := func(to *string, value string) {
		if value != "" {
			*to = value
		}
	}
	if f.Context != "" {
		c.NATS.URL = "" // a context named here counts more than a server named there
	}
	set(&c.NATS.URL, f.Server)
	set(&c.NATS.Context, f.Context)
	set(&c.NATS.Creds, f.Creds)
	set(&c.NATS.Nkey, f.Nkey)
	set(&c.NATS.User, f.User)
	set((*string)(&c.NATS.Password), f.Password.Reveal())
	set(&c.NATS.CA, f.Tlsca)
	set(&c.NATS.Cert, f.Tlscert)
	set(&c.NATS.Key, f.Tlskey)
	set(&c.NATS.InboxPrefix, f.Inbox)
	set(&c.Namespace, f.Namespace)
}

// load reads the configuration: the environment, and the flags above it.
func (a *app) load() (config.Config, error) {
	if a.config != nil {
		return *a.config, nil
	}
	c, err := config.Load()
	if err != nil {
		return config.Config{}, usageError{err}
	}
	a.flags.over(&c)
	if err := c.Validate(); err != nil {
		return config.Config{}, usageError{err}
	}
	a.config = &c
	return c, nil
}

// client is a connection for a command that ends soon.
type client struct {
	NC    *nats.Conn
	JS    jetstream.JetStream
	Names streams.Names

	config config.Config
}

// Close closes the connection.
func (c *client) Close() { c.NC.Close() }

// connect connects as the environment and the flags say.
func (a *app) connect(context.Context) (*client, error) {
	c, err := a.load()
	if err != nil {
		return nil, err
	}
	names, err := streams.NewNames(c.Namespace)
	if err != nil {
		return nil, usageError{err}
	}
	nc, err := natsconn.Connect(c.NATS, "jethook "+version, zerolog.Nop())
	if err != nil {
		return nil, err
	}
	nc.SetErrorHandler(a.refusals())
	// Without a timeout, an answer that never comes would be awaited for ever.
	js, err := jetstream.New(nc, jetstream.WithPublishAsyncTimeout(publishTimeout))
	if err != nil {
		nc.Close()
		return nil, fmt.Errorf("JetStream: %w", err)
	}
	return &client{NC: nc, JS: js, Names: names, config: c}, nil
}

// publishTimeout is how long an answer to a publish is awaited.
const publishTimeout = 10 * time.Second

// refusals returns what says, once, that NATS refuses something to this user: it
// does not answer then, and the command only waits.
func (a *app) refusals() nats.ErrHandler {
	var once sync.Once
	return func(_ *nats.Conn, _ *nats.Subscription, err error) {
		if errors.Is(err, nats.ErrPermissionViolation) {
			once.Do(func() {
				fmt.Fprintf(a.Err, "jethook: NATS does not let this user do that: %s (`jethook streams permissions` prints what each role needs)\n", err)
			})
		}
	}
}

// endpoints opens the store of endpoint documents.
func (c *client) endpoints(ctx context.Context) (*endpoint.Store, error) {
	kv, err := c.JS.KeyValue(ctx, c.Names.EndpointsBucket())
	if errors.Is(err, jetstream.ErrBucketNotFound) {
		return nil, fmt.Errorf("bucket %s does not exist: run `jethook serve` or `jethook streams apply` first", c.Names.EndpointsBucket())
	}
	if err != nil {
		return nil, fmt.Errorf("open bucket %s: %w", c.Names.EndpointsBucket(), err)
	}
	ring, err := c.ring(ctx, kv)
	if err != nil {
		return nil, err
	}
	return endpoint.NewStore(kv, endpoint.Events(streams.NewEventLog(c.JS, c.Names)), endpoint.Sealing(c.JS, ring),
		endpoint.MaxPerTenant(c.config.TenantEndpoints)), nil
}

// ring returns the master keys to open secrets with: those that are configured, or
// else those in the data directory where they are the ones in use.
func (c *client) ring(ctx context.Context, kv jetstream.KeyValue) (*secret.Ring, error) {
	ring, err := c.config.Ring()
	if err != nil || ring != nil {
		return ring, err
	}
	found, _, err := secret.LoadRing(c.config.DataDir)
	if err != nil {
		return nil, nil //nolint:nilerr // another user's keys: a client does without
	}
	return endpoint.RingInUse(ctx, kv, found)
}

// errNobody is the error of a question that nobody can answer.
var errNobody = usageError{errors.New("nobody can be asked here: repeat with --yes to go on without a question")}

// ask asks a question that is answered with yes or no.
func (a *app) ask(question string) (bool, error) {
	answer, err := a.answer(question + " [y/N]")
	return answer == "y" || answer == "yes", err
}

// answer asks a question and returns what was answered, in lower case.
func (a *app) answer(question string) (string, error) {
	if !a.Interactive {
		return "", errNobody
	}
	fmt.Fprint(a.Err, question+" ")
	if a.answers == nil {
		a.answers = bufio.NewReader(a.In)
	}
	answer, err := a.answers.ReadString('\n')
	if err != nil && !errors.Is(err, io.EOF) {
		return "", fmt.Errorf("read the answer: %w", err)
	}
	return strings.ToLower(strings.TrimSpace(answer)), nil
}
