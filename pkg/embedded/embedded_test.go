package embedded

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/nats-io/nats-server/v2/server"
	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
	"github.com/rs/zerolog"
	"go.uber.org/goleak"

	"jethook/pkg/freeport"
)

// TestMain lets this test program also play the other process.
func TestMain(m *testing.M) {
	if url := os.Getenv("EMBEDDED_TEST_PUBLISH_TO"); url != "" {
		if err := publish(url); err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(1)
		}
		return
	}
	goleak.VerifyTestMain(m)
}

func publish(url string) error {
	nc, err := nats.Connect(url, nats.Timeout(testTimeout))
	if err != nil {
		return err
	}
	defer nc.Close()
	js, err := jetstream.New(nc)
	if err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(context.Background(), testTimeout)
	defer cancel()
	_, err = js.Publish(ctx, "events", []byte("from another process"))
	return err
}

const testTimeout = 2 * time.Minute

func testContext(t *testing.T) context.Context {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), testTimeout)
	t.Cleanup(cancel)
	return ctx
}

func options(dir string) Options {
	return Options{DataDir: dir, Listen: "127.0.0.1:0", Logger: zerolog.Nop()}
}

func startServer(t *testing.T, o Options) *Server {
	t.Helper()
	s, err := Start(o)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { stop(t, s) }) // twice is harmless
	return s
}

func stop(t *testing.T, s *Server) {
	t.Helper()
	s.Shutdown()
	s.WaitForShutdown()
	_ = s.lock.Close()
}

func refused(t *testing.T, o Options, parts ...string) {
	t.Helper()
	s, err := Start(o)
	if err == nil {
		stop(t, s)
		t.Fatal("the server starts")
	}
	for _, part := range parts {
		if !strings.Contains(err.Error(), part) {
			t.Errorf("error %v, want one with %q", err, part)
		}
	}
}

func connect(t *testing.T, url string, o ...nats.Option) jetstream.JetStream {
	t.Helper()
	closed := make(chan struct{})
	nc, err := nats.Connect(url, append(o, nats.Timeout(testTimeout), nats.NoReconnect(), nats.ClosedHandler(func(*nats.Conn) { close(closed) }))...)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { nc.Close(); <-closed })
	js, err := jetstream.New(nc)
	if err != nil {
		t.Fatal(err)
	}
	return js
}

func stored(t *testing.T, js jetstream.JetStream) uint64 {
	t.Helper()
	s, err := js.Stream(testContext(t), "EVENTS")
	if err != nil {
		t.Fatal(err)
	}
	return s.CachedInfo().State.Msgs
}

// What was stored is there after a restart, for this process and for others.
func TestStoreSurvivesARestart(t *testing.T) {
	dir := t.TempDir()
	s := startServer(t, options(dir))
	js := connect(t, "", nats.InProcessServer(s))
	ctx := testContext(t)
	if _, err := js.CreateStream(ctx, jetstream.StreamConfig{Name: "EVENTS", Subjects: []string{"events"}}); err != nil {
		t.Fatal(err)
	}
	for range 10 {
		if _, err := js.Publish(ctx, "events", []byte("x")); err != nil {
			t.Fatal(err)
		}
	}
	other := exec.CommandContext(ctx, os.Args[0])
	other.Env = append(os.Environ(), "EMBEDDED_TEST_PUBLISH_TO="+s.URL())
	if output, err := other.CombinedOutput(); err != nil {
		t.Fatalf("another process: %v\n%s", err, output)
	}
	if err := s.Stop(); err != nil {
		t.Fatal(err)
	}
	again := startServer(t, options(dir))
	if got := stored(t, connect(t, again.URL())); got != 11 {
		t.Errorf("%d messages after the restart, want 11", got)
	}
}

func TestSync(t *testing.T) {
	for sync, always := range map[time.Duration]bool{0: true, time.Second: false} {
		o := options(t.TempDir())
		o.Sync = sync
		s := startServer(t, o)
		config := s.JetStreamConfig()
		if config.SyncAlways != always || !always && config.SyncInterval != sync {
			t.Errorf("Sync %s: always %v, interval %s", sync, config.SyncAlways, config.SyncInterval)
		}
		if err := s.Stop(); err != nil {
			t.Error(err)
		}
	}
}

func TestStoreIsForItsOwnerOnly(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "data")
	startServer(t, options(dir))
	info, err := os.Stat(filepath.Join(dir, "nats"))
	if err != nil || info.Mode().Perm() != 0o700 {
		t.Errorf("the store is %v, %v, want it closed to others", info.Mode(), err)
	}
}

func TestPortTaken(t *testing.T) {
	l, err := net.Listen("tcp", "127.0.0.1:0") //nolint:noctx // returns at once
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close() //nolint:errcheck // nothing was written
	o := options(t.TempDir())
	o.Listen = l.Addr().String()
	refused(t, o, o.Listen, "port is taken", "NATS_URL=nats://"+o.Listen, "JETHOOK_NATS_LISTEN")
	o.Listen = "127.0.0.1:0" // and nothing stays locked
	startServer(t, o)
}

func TestBadAddress(t *testing.T) {
	for _, listen := range []string{"4222", "127.0.0.1", "127.0.0.1:99999", "192.0.2.1:4222"} {
		o := options(t.TempDir())
		o.Listen = listen
		refused(t, o, listen, "JETHOOK_NATS_LISTEN")
	}
}

func TestOpenToOtherMachinesOnlyWithALogin(t *testing.T) {
	for _, listen := range []string{"0.0.0.0:0", ":0"} {
		for _, login := range []Login{{}, {User: "u"}, {Password: "p"}} {
			o := options(t.TempDir())
			o.Listen, o.Login = listen, login
			refused(t, o, "JETHOOK_NATS_LISTEN="+listen, "NATS_USER and NATS_PASSWORD, or NATS_TOKEN", "127.0.0.1")
		}
	}
	for _, listen := range []string{"127.0.0.1:0", "localhost:0"} { // what this is about
		o := options(t.TempDir())
		o.Listen = listen
		for _, login := range []Login{{User: "u"}, {Password: "p"}} { // a slip, which would leave it open
			o.Login = login
			refused(t, o, "of NATS_USER and NATS_PASSWORD only one is set")
		}
		o.Login = Login{}
		startServer(t, o)
	}
}

// logIn connects and says what comes of that. The server judges those only who send
// their login within 2 s, and hangs up on others, as on a busy machine.
func logIn(url string, o ...nats.Option) (err error) {
	for range 5 {
		var nc *nats.Conn
		closed := make(chan struct{})
		nc, err = nats.Connect(url, append(o, nats.Timeout(testTimeout), nats.ClosedHandler(func(*nats.Conn) { close(closed) }))...)
		if err == nil {
			nc.Close()
			<-closed
		}
		if err == nil || errors.Is(err, nats.ErrAuthorization) {
			break
		}
	}
	return err
}

func TestALoginIsDemandedOfEverybody(t *testing.T) {
	user := Login{User: "u", Password: "p"}
	for listen, login := range map[string]Login{"0.0.0.0:0": user, ":0": {Token: "t"}, "127.0.0.1:0": user, "localhost:0": {User: "u", Password: "p", Token: "t"}} {
		o := options(t.TempDir())
		o.Listen, o.Login = listen, login
		var log bytes.Buffer
		o.Logger = zerolog.New(zerolog.SyncWriter(&log)).Level(zerolog.WarnLevel)
		s := startServer(t, o)
		_, port, err := net.SplitHostPort(s.Addr().String())
		if err != nil {
			t.Fatal(err)
		}
		for name, c := range map[string]struct {
			user, password, token string
			in                    bool
		}{
			"nothing":        {},
			"wrong password": {user: "u", password: "P"},
			"wrong user":     {user: "U", password: "p"},
			"user alone":     {user: "u"},
			"wrong token":    {token: "T"},
			"user":           {user: "u", password: "p", in: login.Token == ""},
			"token":          {token: "t", in: login.Token != ""},
			"both":           {user: "u", password: "p", token: "t", in: true},
		} {
			err := logIn("nats://127.0.0.1:"+port, nats.UserInfo(c.user, c.password), nats.Token(c.token))
			if c.in != (err == nil) || err != nil && !errors.Is(err, nats.ErrAuthorization) {
				t.Errorf("%s, %s: %v", listen, name, err)
			}
		}
		if err := s.Stop(); err != nil { // then it has said all that it will
			t.Error(err)
		}
		if text := log.String(); strings.Contains(text, "assword") {
			t.Errorf("it warns: %s", text)
		}
	}
}

func TestStoreLocked(t *testing.T) {
	dir := t.TempDir()
	first := startServer(t, options(dir))
	refused(t, options(dir), "in use by another jethook", filepath.Join(dir, "nats"), "NATS_URL", "JETHOOK_DATA_DIR")
	startServer(t, options(t.TempDir())) // one of its own is fine
	if err := first.Stop(); err != nil {
		t.Fatal(err)
	}
	startServer(t, options(dir)) // the lock went with the server
}

// The reason is in the error, at once, and not only in a log.
func TestStoreThatCannotBeUsed(t *testing.T) {
	file := filepath.Join(t.TempDir(), "file")
	if err := os.WriteFile(file, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	refused(t, options(file), "data directory", "JETHOOK_DATA_DIR", file)

	dir := t.TempDir()
	if err := os.Mkdir(filepath.Join(dir, "nats"), 0o700); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(dir, "nats", "jetstream"), nil, 0o600); err != nil {
		t.Fatal(err)
	}
	begin := time.Now()
	refused(t, options(dir), filepath.Join(dir, "nats"), "JetStream")
	if took := time.Since(begin); took > 10*time.Second {
		t.Errorf("the error took %s", took)
	}
	if err := os.Remove(filepath.Join(dir, "nats", "jetstream")); err != nil {
		t.Fatal(err)
	}
	startServer(t, options(dir)) // nothing stays locked
}

func TestURL(t *testing.T) {
	s := startServer(t, options(t.TempDir()))
	host, port, err := net.SplitHostPort(strings.TrimPrefix(s.URL(), "nats://"))
	if n, convErr := strconv.Atoi(port); err != nil || convErr != nil || host != "127.0.0.1" || n == 0 {
		t.Errorf("URL() = %q", s.URL())
	}
}

// A port that is named is tried; any other is taken by the server, which keeps it.
func TestAnyPortIsTakenOnce(t *testing.T) {
	named := freeport.Get(t)
	for text, want := range map[string]int{"0": server.RANDOM_PORT, "": server.RANDOM_PORT, "00": server.RANDOM_PORT, strconv.Itoa(named): named} {
		o := options(t.TempDir())
		o.Listen = "127.0.0.1:" + text
		if _, port, err := address(o); port != want || err != nil {
			t.Errorf("%s: port %d, %v, want %d", o.Listen, port, err, want)
		}
		s := startServer(t, o)
		if host := strings.TrimPrefix(s.URL(), "nats://"); host != s.Addr().String() {
			t.Errorf("%s: it is said to be at %s, and listens on %s", o.Listen, s.URL(), s.Addr())
		}
	}
}

// The server's notices are for who debugs; its warnings are for everybody.
func TestLogger(t *testing.T) {
	for _, c := range []struct {
		level zerolog.Level
		lines int
	}{{zerolog.TraceLevel, 6}, {zerolog.DebugLevel, 4}, {zerolog.InfoLevel, 3}, {zerolog.ErrorLevel, 2}} {
		var b bytes.Buffer
		fatal := make(chan string, 1)
		l := logger{zerolog.New(io.Writer(&b)).Level(c.level), fatal}
		l.Noticef("a %d", 1)
		l.Warnf("a %d", 2)
		l.Errorf("a %d", 3)
		l.Debugf("a %d", 4)
		l.Tracef("a %d", 5)
		l.Fatalf("a %d", 6)
		l.Fatalf("a %d", 7)
		if why := <-fatal; why != "a 6" {
			t.Errorf("fatal is %q", why)
		}
		if got := strings.Count(b.String(), "nats-server: a "); got != c.lines {
			t.Errorf("%s: %d lines, want %d:\n%s", c.level, got, c.lines, b.String())
		}
	}
}
