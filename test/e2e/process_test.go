package e2e

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"jethook/pkg/freeport"
)

// patience bounds every wait for a fact. It is long because machines are
// shared; nothing waits for it when all is well.
const patience = 2 * time.Minute

// eventually waits until check finds nothing wrong.
func eventually(t *testing.T, what string, check func() error) {
	t.Helper()
	aslong(t, what, func() int { return 0 }, check)
}

// aslong waits until check finds nothing wrong, for as long as there is progress
// towards it: what takes many steps takes long on a busy machine.
func aslong(t *testing.T, what string, progress func() int, check func() error) {
	t.Helper()
	ticker := time.NewTicker(20 * time.Millisecond)
	defer ticker.Stop()
	for before, since := progress(), time.Now(); ; {
		err := check()
		if err == nil {
			return
		}
		<-ticker.C
		if now := progress(); now != before {
			before, since = now, time.Now()
		}
		if time.Since(since) > patience {
			t.Fatalf("%s: not within %s: %v", what, patience, err)
		}
	}
}

// process is a program that runs.
type process struct {
	t    *testing.T
	cmd  *exec.Cmd
	log  *log
	done chan struct{} // closed when it has ended
}

// log collects what a process writes, and can be read meanwhile.
type log struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (l *log) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.Write(p)
}

func (l *log) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.String()
}

// environment is the environment without what would change a test.
func environment(more ...string) []string {
	var env []string
	for _, line := range os.Environ() {
		if !strings.HasPrefix(line, "JETHOOK_") && !strings.HasPrefix(line, "NATS_") && !strings.HasPrefix(line, "OTEL_") {
			env = append(env, line)
		}
	}
	return append(env, more...)
}

// start starts a program and ends it with the test, killed if need be.
func start(t *testing.T, env []string, program string, args ...string) *process {
	t.Helper()
	p := &process{t: t, cmd: exec.CommandContext(context.Background(), program, args...), log: &log{}, done: make(chan struct{})}
	p.cmd.Env, p.cmd.Dir = env, t.TempDir()
	p.cmd.Stdout, p.cmd.Stderr = p.log, p.log
	p.cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	if err := p.cmd.Start(); err != nil {
		t.Fatalf("start %s: %v", program, err)
	}
	go func() {
		_ = p.cmd.Wait() // tests look at ProcessState
		close(p.done)
	}()
	t.Cleanup(func() {
		p.kill()
		if t.Failed() {
			text := p.log.String()
			t.Logf("%s %v (tail of its log):\n%s", filepath.Base(program), args, text[max(0, len(text)-4000):])
		}
	})
	return p
}

// says waits until the log of a process that runs holds all that is asked for: what
// it wrote comes through a pipe.
func (p *process) says(parts ...string) {
	p.t.Helper()
	eventually(p.t, "the process says so", func() error {
		for _, part := range parts {
			if !strings.Contains(p.log.String(), part) {
				return fmt.Errorf("it does not say %q", part)
			}
		}
		return nil
	})
}

// signal sends a signal to a process that runs.
func (p *process) signal(s syscall.Signal) {
	p.t.Helper()
	if err := p.cmd.Process.Signal(s); err != nil && !errors.Is(err, os.ErrProcessDone) {
		p.t.Errorf("signal %s: %v", s, err)
	}
}

// kill ends the process with SIGKILL.
func (p *process) kill() {
	p.signal(syscall.SIGKILL)
	<-p.done
}

// wait waits until the process has ended and returns its exit code.
func (p *process) wait() int {
	p.t.Helper()
	select {
	case <-p.done:
	case <-time.After(patience):
		p.t.Fatalf("the process has not ended after %s", patience)
	}
	return p.cmd.ProcessState.ExitCode()
}

// natsServer is a nats-server process that can be killed and started again on
// the same store and port.
type natsServer struct {
	*process
	t     *testing.T
	url   string
	port  string
	store string
	args  []string
}

// startNATS starts a nats-server with JetStream.
func startNATS(t *testing.T, args ...string) *natsServer {
	t.Helper()
	s := &natsServer{t: t, port: freePort(t), store: t.TempDir(), args: args}
	s.url = "nats://127.0.0.1:" + s.port
	s.start()
	return s
}

func (s *natsServer) start() {
	s.t.Helper()
	s.process = start(s.t, environment(), natsBinary, append([]string{"-js", "-a", "127.0.0.1", "-p", s.port, "-sd", s.store}, s.args...)...)
	eventually(s.t, "nats-server listens", func() error {
		conn, err := new(net.Dialer).DialContext(context.Background(), "tcp", "127.0.0.1:"+s.port)
		if err != nil {
			return err
		}
		return conn.Close()
	})
}

// jetstream connects to a NATS server.
func connect(t *testing.T, url string, options ...nats.Option) (*nats.Conn, jetstream.JetStream) {
	t.Helper()
	nc, err := nats.Connect(url, append([]nats.Option{nats.Timeout(patience), nats.MaxReconnects(-1), nats.ReconnectWait(50 * time.Millisecond)}, options...)...)
	if err != nil {
		t.Fatalf("connect to %s: %v", url, err)
	}
	t.Cleanup(nc.Close)
	js, err := jetstream.New(nc,
		jetstream.WithPublishAsyncMaxPending(50_000), // more than any test publishes at once
		jetstream.WithDefaultTimeout(patience/4))     // an answer that is lost with its server leaves time for another try
	if err != nil {
		t.Fatal(err)
	}
	return nc, js
}

// replica is a `jethook serve` process.
type replica struct {
	*process
	http string // base URL
}

// trial are the settings with which deliveries may go to this machine.
var trial = []string{"JETHOOK_ALLOW_HTTP=true", "JETHOOK_EGRESS_ALLOW=127.0.0.0/8"}

// serve starts a replica and waits until it is ready.
func serve(t *testing.T, env ...string) *replica {
	t.Helper()
	r := serveUnready(t, env...)
	r.ready()
	return r
}

// serveUnready starts a replica.
func serveUnready(t *testing.T, env ...string) *replica {
	t.Helper()
	addr := "127.0.0.1:" + freePort(t)
	all := append(environment(trial...), "JETHOOK_HTTP_ADDR="+addr)
	return &replica{start(t, append(all, env...), jethookBinary, "serve"), "http://" + addr}
}

func (r *replica) ready() {
	r.t.Helper()
	eventually(r.t, "replica is ready", func() error {
		select {
		case <-r.done:
			r.t.Fatalf("the replica has ended: %s", r.log)
		default:
		}
		_, err := get(r.http + "/readyz")
		return err
	})
}

func get(url string) (string, error) {
	req, err := http.NewRequestWithContext(context.Background(), http.MethodGet, url, nil)
	if err != nil {
		return "", err
	}
	res, err := http.DefaultClient.Do(req)
	if err != nil {
		return "", err
	}
	defer res.Body.Close()
	var b bytes.Buffer
	if _, err := b.ReadFrom(res.Body); err != nil {
		return "", err
	}
	if res.StatusCode != http.StatusOK {
		return "", fmt.Errorf("%s: %d %s", url, res.StatusCode, b.String())
	}
	return b.String(), nil
}

// cli runs a jethook command to its end.
func cli(t *testing.T, url string, args ...string) (stdout, stderr string, code int) {
	t.Helper()
	return cliWith(t, append(environment(trial...), "NATS_URL="+url), "", args...)
}

// cliWith runs a jethook command with an environment and standard input.
func cliWith(t *testing.T, env []string, stdin string, args ...string) (stdout, stderr string, code int) {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	cmd := exec.CommandContext(ctx, jethookBinary, args...)
	cmd.Env, cmd.Dir, cmd.Stdin = env, t.TempDir(), strings.NewReader(stdin)
	var out, errOut bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &errOut
	err := cmd.Run()
	var exit *exec.ExitError
	if err != nil && !errors.As(err, &exit) {
		t.Fatalf("jethook %v: %v", args, err)
	}
	return out.String(), errOut.String(), cmd.ProcessState.ExitCode()
}

// must runs a jethook command that must go well and returns what it prints.
func must(t *testing.T, url string, args ...string) string {
	t.Helper()
	stdout, stderr, code := cli(t, url, args...)
	if code != 0 {
		t.Fatalf("jethook %v: exit code %d\n%s%s", args, code, stdout, stderr)
	}
	return stdout
}

// apply applies endpoint documents and waits until the replicas have them in
// force.
func apply(t *testing.T, url, documents string, replicas ...*replica) {
	t.Helper()
	file := filepath.Join(t.TempDir(), "endpoints.yaml")
	if err := os.WriteFile(file, []byte(documents), 0o600); err != nil {
		t.Fatal(err)
	}
	must(t, url, "endpoint", "apply", "-f", file)
	want := fmt.Sprintf("\njethook_endpoints %d\n", strings.Count(must(t, url, "endpoint", "list", "--json"), "\n"))
	for _, r := range replicas {
		eventually(t, "replica knows the endpoints", func() error {
			text, err := get(r.http + "/metrics")
			if err == nil && !strings.Contains(text, want) {
				err = fmt.Errorf("no %q in its metrics", want)
			}
			return err
		})
	}
}

// freePort returns a port that nobody listens on.
func freePort(t *testing.T) string {
	t.Helper()
	return strconv.Itoa(freeport.Get(t))
}
