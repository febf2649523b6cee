package natsconn

import (
	"bytes"
	"errors"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/nats-io/nats-server/v2/server"
	"github.com/nats-io/nats.go"
	"github.com/nats-io/nkeys"
	"github.com/rs/zerolog"
	"go.uber.org/goleak"

	"jethook/pkg/freeport"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

const testTimeout = 2 * time.Minute

func startServer(t *testing.T, o server.Options) (s *server.Server, url string) {
	t.Helper()
	o.Host, o.NoSigs, o.NoLog = "127.0.0.1", true, true
	o.AuthTimeout = testTimeout.Seconds() // that credentials come late is no test's subject
	if o.Port == 0 {
		o.Port = -1
	}
	s, err := server.NewServer(&o)
	if err != nil {
		t.Fatal(err)
	}
	s.Start()
	t.Cleanup(func() { s.Shutdown(); s.WaitForShutdown() })
	if !s.ReadyForConnections(testTimeout) {
		t.Fatal("NATS server is not ready")
	}
	return s, s.ClientURL()
}

// closeAtEnd closes a connection and waits until it is, for goleak's sake.
func closeAtEnd(t *testing.T, nc *nats.Conn) {
	t.Helper()
	closed := make(chan struct{})
	nc.SetClosedHandler(func(*nats.Conn) { close(closed) })
	t.Cleanup(func() { nc.Close(); <-closed })
}

func connect(t *testing.T, o Options) *nats.Conn {
	t.Helper()
	nc, err := Connect(o, "jethook test", zerolog.Nop())
	if err != nil {
		t.Fatal(err)
	}
	closeAtEnd(t, nc)
	return nc
}

// refused checks the error of a connection that must not be made. is may be nil.
func refused(t *testing.T, o Options, is error, parts ...string) {
	t.Helper()
	nc, err := Connect(o, "jethook test", zerolog.Nop())
	if err == nil {
		nc.Close()
		t.Fatalf("%+v connects", o)
	}
	for _, part := range parts {
		if !strings.Contains(err.Error(), part) {
			t.Errorf("error %v, want one with %q", err, part)
		}
	}
	if strings.Contains(err.Error(), "canary") {
		t.Errorf("the password is in the error: %v", err)
	}
	if is != nil && !errors.Is(err, is) {
		t.Errorf("error %v is not %v", err, is)
	}
}

func TestConnect(t *testing.T) {
	user, err := nkeys.CreateUser()
	if err != nil {
		t.Fatal(err)
	}
	public, err := user.PublicKey()
	if err != nil {
		t.Fatal(err)
	}
	seed, err := user.Seed()
	if err != nil {
		t.Fatal(err)
	}
	seedFile := filepath.Join(t.TempDir(), "seed")
	if err := os.WriteFile(seedFile, seed, 0o600); err != nil {
		t.Fatal(err)
	}
	_, open := startServer(t, server.Options{})
	_, users := startServer(t, server.Options{Username: "u", Password: "canary"})
	_, token := startServer(t, server.Options{Authorization: "canary"})
	_, keys := startServer(t, server.Options{Nkeys: []*server.NkeyUser{{Nkey: public}}})
	for name, o := range map[string]Options{
		"without credentials":     {URL: open},
		"several servers":         {URL: "nats://127.0.0.1:1," + open},
		"without a scheme":        {URL: strings.TrimPrefix(open, "nats://")},
		"user and password":       {URL: users, User: "u", Password: "canary"},
		"in the URL":              {URL: strings.Replace(users, "//", "//u:canary@", 1)},
		"a token":                 {URL: token, Token: "canary"},
		"an nkey":                 {URL: keys, Nkey: seedFile},
		"a URL before a context":  {URL: open, Context: "none"},
		"the server's own choice": {URL: open, User: "anybody", Password: "whatever"},
	} {
		nc := connect(t, o)
		if !nc.IsConnected() || nc.Opts.Name != "jethook test" || nc.Opts.MaxReconnect != -1 {
			t.Errorf("%s: connected %v as %q, %d reconnects", name, nc.IsConnected(), nc.Opts.Name, nc.Opts.MaxReconnect)
		}
	}
	if nc := connect(t, Options{URL: strings.Replace(token, "//", "//canary@", 1)}); Server(nc) != strings.Replace(token, "//", "//***@", 1) {
		t.Errorf("connected to %s, which shows a token", Server(nc))
	}
	for _, o := range []Options{
		{URL: users}, {URL: users, User: "u", Password: "canary2"}, {URL: strings.Replace(users, "//", "//u:canary2@", 1)},
		{URL: token, Token: "canary2"}, {URL: keys},
	} {
		refused(t, o, nats.ErrAuthorization, "refuses these credentials", "NATS_CREDS", "NATS_PASSWORD", "127.0.0.1")
	}
}

func TestUnreachable(t *testing.T) {
	l, err := net.Listen("tcp", "127.0.0.1:0") //nolint:noctx // returns at once
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close() //nolint:errcheck // nothing was written
	// Nobody listens at the near end of a connection, nor can begin to while it is open.
	near, err := net.Dial("tcp", l.Addr().String()) //nolint:noctx // returns at once
	if err != nil {
		t.Fatal(err)
	}
	defer near.Close() //nolint:errcheck // nothing was written
	nobody := near.LocalAddr().String()
	for _, url := range []string{"nats://" + nobody, "nats://u:canary@" + nobody, nobody, "nats://" + nobody + ",nats://u:canary@" + nobody} {
		refused(t, Options{URL: url}, nats.ErrNoServers, "cannot reach NATS at", nobody, "jethook serve", "NATS_URL")
	}
}

func TestBadOptions(t *testing.T) {
	_, open := startServer(t, server.Options{})
	for _, c := range []struct {
		o     Options
		parts []string
	}{
		{Options{URL: "nats://u:can%ary@127.0.0.1:4222"}, []string{"address of NATS in NATS_URL", "percent-encoded"}},
		{Options{URL: "nats://u:canary@127.0.0.1:port"}, []string{"address of NATS"}},
		{Options{URL: open + ",://canary"}, []string{"address of NATS"}},
		{Options{URL: "nats://u@127.0.0.1:4222,nats://u:canary"}, []string{"address of NATS"}},
		{Options{URL: "u:canary"}, []string{"address of NATS"}},
		{Options{URL: "nuts://u:[canary"}, []string{"address of NATS"}},
		{Options{URL: "nats://u:can canary@[::1"}, []string{"address of NATS"}},
		{Options{URL: open, Cert: "f"}, []string{"NATS_CERT", "NATS_KEY"}},
		{Options{URL: open, Key: "f"}, []string{"NATS_CERT", "NATS_KEY"}},
		{Options{URL: open, Cert: "nofile", Key: "nofile"}, []string{"nofile"}},
		{Options{URL: open, CA: "nofile"}, []string{"nofile"}},
		{Options{URL: open, Nkey: "nofile"}, []string{"NATS_NKEY", "nofile"}},
		{Options{Context: "nosuch"}, []string{"context nosuch"}},
	} {
		refused(t, c.o, nil, c.parts...)
	}
}

// A context is what the nats CLI saves.
func TestContext(t *testing.T) {
	home := t.TempDir()
	t.Setenv("XDG_CONFIG_HOME", home)
	_, url := startServer(t, server.Options{Username: "u", Password: "canary"})
	directory := filepath.Join(home, "nats", "context")
	if err := os.MkdirAll(directory, 0o700); err != nil {
		t.Fatal(err)
	}
	save := func(name, text string) {
		if err := os.WriteFile(filepath.Join(directory, name+".json"), []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	save("good", fmt.Sprintf(`{"description":"a test","url":%q,"user":"u","password":"canary"}`, url))
	save("wrong", fmt.Sprintf(`{"url":%q,"user":"u","password":"canary2"}`, url))
	save("broken", `{"url":`)
	save("badurl", `{"url":"nats://u:can%ary@127.0.0.1:4222"}`)
	if nc := connect(t, Options{Context: "good"}); !nc.IsConnected() {
		t.Error("not connected")
	}
	refused(t, Options{Context: "wrong"}, nil, "context wrong", "refuses these credentials")
	refused(t, Options{Context: "broken"}, nil, "context broken")
	refused(t, Options{Context: "badurl"}, nil, "address of NATS in context badurl")
	refused(t, Options{Context: "other"}, nil, "context other")
}

func TestNamed(t *testing.T) {
	for _, c := range []struct {
		o    Options
		want bool
	}{{Options{}, false}, {Options{User: "u", Password: "p"}, false}, {Options{URL: "x"}, true}, {Options{Context: "x"}, true}} {
		if got := c.o.Named(); got != c.want {
			t.Errorf("%+v names a server: %v, want %v", c.o, got, c.want)
		}
	}
}

// lines collects the log and lets a test wait for a line of it.
type lines struct {
	mu    sync.Mutex
	text  bytes.Buffer
	wrote chan struct{}
}

func (l *lines) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	defer func() {
		select {
		case l.wrote <- struct{}{}:
		default:
		}
	}()
	return l.text.Write(p)
}

func (l *lines) wait(t *testing.T, part string) {
	t.Helper()
	deadline := time.After(testTimeout)
	for {
		l.mu.Lock()
		text := l.text.String()
		l.mu.Unlock()
		if strings.Contains(text, part) {
			return
		}
		select {
		case <-l.wrote:
		case <-deadline:
			t.Fatalf("%q is not in the log:\n%s", part, text)
		}
	}
}

// What NATS refuses again and again is a line a minute.
func TestErrorsThatNATSReportsAreCounted(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		log := &lines{wrote: make(chan struct{}, 1)}
		r := &reports{log: zerolog.New(log)}
		for range 180 {
			r.hear(nil, nil, nats.ErrPermissionViolation)
			time.Sleep(time.Second)
		}
		want := strings.Repeat("{\"level\":\"warn\",\"error\":\"nats: permissions violation\",\"errors\":60,\"message\":\"NATS reports an error\"}\n", 3)
		if got := log.text.String(); got != strings.Replace(want, ":60", ":1", 1) {
			t.Errorf("the log has\n%s", got)
		}
	})
}

// A lost connection is made again, with new credentials, too, and the log says
// so without a password.
func TestReconnect(t *testing.T) {
	log := &lines{wrote: make(chan struct{}, 1)}
	port := freeport.Get(t)
	s, url := startServer(t, server.Options{Port: port, Username: "u", Password: "canary"})
	nc, err := Connect(Options{URL: strings.Replace(url, "//", "//u:canary@", 1)}, "jethook test", zerolog.New(log))
	if err != nil {
		t.Fatal(err)
	}
	closeAtEnd(t, nc)
	s.Shutdown()
	s.WaitForShutdown()
	log.wait(t, "lost the connection to NATS")

	// For a moment the credentials are wrong: no reason to give up.
	stranger, _ := startServer(t, server.Options{Port: port, Username: "u", Password: "other"})
	log.wait(t, "NATS reports an error")
	stranger.Shutdown()
	stranger.WaitForShutdown()

	startServer(t, server.Options{Port: port, Username: "u", Password: "canary"})
	log.wait(t, "reconnected to NATS")
	if err := nc.FlushTimeout(testTimeout); err != nil {
		t.Error(err)
	}
	log.mu.Lock()
	defer log.mu.Unlock()
	if strings.Contains(log.text.String(), "canary") {
		t.Errorf("the password is in the log:\n%s", log.text.String())
	}
}
