package e2e

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
)

// cast are the users of a NATS server, one for each role, and how the
// permissions of each are printed.
var cast = map[string][]string{
	"producer":    {"producer"},
	"acme":        {"producer", "--tenant", "acme"},
	"worker":      {"worker"},
	"ordered":     {"worker", "--ordered"},
	"reader":      {"reader"},
	"operator":    {"operator"},
	"provisioner": {"provisioner"},
}

// stage is a NATS server that traces what its users ask of it. Each may do what
// `jethook streams permissions` prints and nothing else, but for one that may do
// everything.
type stage struct {
	*natsServer
	inbox map[string]string // by user
	js    jetstream.JetStream
}

// smallPayload is the server's max_payload: the body of an event that is nearly
// as large cannot lie beside the state of its delivery.
const smallPayload = 64 << 10

// startStage starts such a server, with more lines of configuration.
func startStage(t *testing.T, more string) *stage {
	t.Helper()
	s := &stage{inbox: map[string]string{}}
	var conf strings.Builder
	fmt.Fprintf(&conf, "trace: true\nlogtime: false\nmax_traced_msg_len: 32\nmax_payload: %d\n%s\nauthorization: {timeout: 120, users: [\n{user: admin, password: admin}\n", smallPayload, more)
	for user, role := range cast {
		block, stderr, code := cliWith(t, environment(), "", append([]string{"streams", "permissions"}, role...)...)
		if code != 0 {
			t.Fatalf("streams permissions %v: exit code %d: %s", role, code, stderr)
		}
		_, rest, _ := strings.Cut(block, "NATS_INBOX_PREFIX=")
		s.inbox[user], _, _ = strings.Cut(rest, "\n")
		fmt.Fprintf(&conf, "{user: %[1]s, password: %[1]s\n%[2]s}\n", user, block)
	}
	conf.WriteString("]}\n")
	file := filepath.Join(t.TempDir(), "nats.conf")
	if err := os.WriteFile(file, []byte(conf.String()), 0o600); err != nil {
		t.Fatal(err)
	}
	s.natsServer = startNATS(t, "-c", file)
	_, s.js = connect(t, s.url, nats.UserInfo("admin", "admin"))
	return s
}

// as is the environment of a user.
func (s *stage) as(user string) []string {
	return []string{"NATS_URL=" + s.url, "NATS_USER=" + user, "NATS_PASSWORD=" + user, "NATS_INBOX_PREFIX=" + s.inbox[user]}
}

// connect connects as a user.
func (s *stage) connect(t *testing.T, user string) (*nats.Conn, jetstream.JetStream) {
	t.Helper()
	return connect(t, s.url, nats.UserInfo(user, user), nats.CustomInboxPrefix(s.inbox[user]),
		nats.ErrorHandler(func(*nats.Conn, *nats.Subscription, error) {})) // asked for where it matters
}

// may runs a command that a user may run.
func (s *stage) may(t *testing.T, user string, args ...string) string {
	t.Helper()
	stdout, stderr, code := cliWith(t, append(environment(trial...), s.as(user)...), "", args...)
	if code != 0 {
		t.Fatalf("%s: jethook %v: exit code %d\n%s%s", user, args, code, stdout, stderr)
	}
	return stdout
}

// keepHeartbeats has the server remember heartbeats for so long, for ever if that is 0,
// and returns for how long it did: a stall of seconds has it forget what a test wrote.
func (s *stage) keepHeartbeats(t *testing.T, long time.Duration) (before time.Duration) {
	t.Helper()
	stream, err := s.js.Stream(t.Context(), "KV_webhooks_replicas")
	if err != nil {
		t.Fatal(err)
	}
	c := stream.CachedInfo().Config
	before, c.MaxAge = c.MaxAge, long
	if _, err := s.js.UpdateStream(t.Context(), c); err != nil {
		t.Fatal(err)
	}
	return before
}

// apply applies documents as the operator.
func (s *stage) apply(t *testing.T, documents string) {
	t.Helper()
	file := filepath.Join(t.TempDir(), "endpoints.yaml")
	if err := os.WriteFile(file, []byte(documents), 0o600); err != nil {
		t.Fatal(err)
	}
	s.may(t, "operator", "endpoint", "apply", "-f", file)
}

// endpoint waits until an endpoint is in a state, as the reader sees it.
func (s *stage) endpoint(t *testing.T, name, is string, holds bool) {
	t.Helper()
	eventually(t, name+" is "+is, func() error {
		out := s.may(t, "reader", "endpoint", "show", name)
		if !strings.HasPrefix(out, name+": "+is+"\n") || holds != strings.Contains(out, " held") {
			return fmt.Errorf("%s", out)
		}
		return nil
	})
}

// letters waits until there are so many dead letters for a reason, as the reader
// sees them, and returns the sequence of the first.
func (s *stage) letters(t *testing.T, reason string, n int) string {
	t.Helper()
	var out string
	eventually(t, fmt.Sprintf("%d dead letters for the reason %s", n, reason), func() error {
		out = s.may(t, "reader", "dlq", "list", "--reason", reason, "--json")
		if got := strings.Count(out, "\n"); got != n {
			return fmt.Errorf("there are %d", got)
		}
		return nil
	})
	_, rest, _ := strings.Cut(out, `"seq":`)
	seq, _, _ := strings.Cut(rest, ",")
	return seq
}
