package e2e

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/nats-io/nats.go"

	"jethook/pkg/receiver"
)

// users are an operator who may do everything, and a replica's user to whom
// one thing is denied.
const users = `authorization {
  timeout: 120
  users: [
    {user: operator, password: operator}
    {user: replica, password: replica, permissions: {publish: {deny: ["%s"]}}}
  ]
}
`

// startRestricted starts a NATS server where user replica may not publish to
// some subjects.
func startRestricted(t *testing.T, denied string) (s *natsServer, operator, replica []string) {
	t.Helper()
	file := filepath.Join(t.TempDir(), "nats.conf")
	if err := os.WriteFile(file, fmt.Appendf(nil, users, denied), 0o600); err != nil {
		t.Fatal(err)
	}
	s = startNATS(t, "-c", file)
	as := func(user string) []string {
		return []string{"NATS_URL=" + s.url, "NATS_USER=" + user, "NATS_PASSWORD=" + user}
	}
	return s, as("operator"), as("replica")
}

func TestAUserWhoMayNotMakeStreamsIsToldWhatIsMissing(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		denied string
		says   []string
	}{
		"streams":   {"$JS.API.STREAM.CREATE.>", []string{"WEBHOOKS_EVENTS", "jethook streams apply", "$JS.API.STREAM.CREATE.WEBHOOKS_EVENTS"}},
		"consumers": {`$JS.API.CONSUMER.CREATE.WEBHOOKS_EVENTS.>", "$JS.API.CONSUMER.CREATE.WEBHOOKS_DELIVERIES.deliver.>`, []string{"fanout", "jethook streams apply", "$JS.API.CONSUMER.CREATE.WEBHOOKS_EVENTS"}},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s, operator, user := startRestricted(t, c.denied)
			r := serveUnready(t, user...)
			code := r.wait()
			refused(t, r.log.String(), code, 1, c.says...)

			// What it was told to do is all that was missing.
			if _, stderr, code := cliWith(t, append(environment(), operator...), "", "streams", "apply"); code != 0 {
				t.Fatalf("streams apply: exit code %d: %s", code, stderr)
			}
			works(t, s, serve(t, user...))
		})
	}
}

func TestAUserWhoMayNotFeedBackWhatIsHeldIsToldAtTheStart(t *testing.T) {
	t.Parallel()
	_, operator, user := startRestricted(t, "$JS.API.CONSUMER.CREATE.WEBHOOKS_DELIVERIES.*.webhooks.held.>")
	if _, stderr, code := cliWith(t, append(environment(), operator...), "", "streams", "apply"); code != 0 {
		t.Fatalf("streams apply: exit code %d: %s", code, stderr)
	}
	r := serveUnready(t, user...)
	code := r.wait()
	refused(t, r.log.String(), code, 1, "feed back what is held", "$JS.API.CONSUMER.CREATE.WEBHOOKS_DELIVERIES")
}

func TestAUserWhoMayNotServeOrderedEndpointsIsWarned(t *testing.T) {
	t.Parallel()
	s, operator, user := startRestricted(t, "$JS.API.CONSUMER.CREATE.WEBHOOKS_EVENTS.>")
	if _, stderr, code := cliWith(t, append(environment(), operator...), "", "streams", "apply"); code != 0 {
		t.Fatalf("streams apply: exit code %d: %s", code, stderr)
	}
	r := serve(t, user...)
	r.says("ordered endpoints, if there are any, get nothing")
	works(t, s, r)
	_, stderr, code := cliWith(t, append(environment(), operator...), `endpoints:
- {tenant: acme, id: ledger, url: "https://ledger.example.com/", events: [ledger], ordered: true}
`, "endpoint", "apply", "-f", "-")
	if code != 0 || !strings.Contains(stderr, "streams permissions worker --ordered") {
		t.Errorf("apply of an ordered endpoint: exit code %d, it does not say that nobody may serve it: %s", code, stderr)
	}
}

// works checks that a replica with just the rights that it has delivers, and
// retries what fails.
func works(t *testing.T, s *natsServer, r *replica) {
	t.Helper()
	_, js := connect(t, s.url, nats.UserInfo("operator", "operator"))
	far := newSink(t, receiver.Options{Fail: 0.5, Status: saysNothing})
	apply(t, "nats://operator:operator@127.0.0.1:"+s.port, fmt.Sprintf(persistent, far.url), r)
	const events = 20
	publish(t, js, "order.created", "r", events)
	everyEventArrived(t, js, far, "r", events)
}

func TestAUserWhoMayNotReadTheEndpointsIsToldSo(t *testing.T) {
	t.Parallel()
	_, operator, user := startRestricted(t, "$JS.API.CONSUMER.CREATE.KV_webhooks_endpoints.>")
	if _, stderr, code := cliWith(t, append(environment(), operator...), "", "streams", "apply"); code != 0 {
		t.Fatalf("streams apply: exit code %d: %s", code, stderr)
	}
	r := serveUnready(t, user...)
	code := r.wait()
	refused(t, r.log.String(), code, 1, "load endpoints", "lacks a permission", "$JS.API.CONSUMER.CREATE.KV_webhooks_endpoints")
}

func TestAWrongPasswordIsSaidToBeOne(t *testing.T) {
	t.Parallel()
	s, _, _ := startRestricted(t, "nothing")
	for name, env := range map[string][]string{
		"wrong password": {"NATS_URL=" + s.url, "NATS_USER=replica", "NATS_PASSWORD=secret-canary"},
		"no password":    {"NATS_URL=" + s.url},
		"in the URL":     {"NATS_URL=nats://replica:secret-canary@127.0.0.1:" + s.port},
	} {
		t.Run(name, func(t *testing.T) {
			r := serveUnready(t, env...)
			code := r.wait()
			refused(t, r.log.String(), code, 1, "refuses these credentials", "NATS_USER")
			if strings.Contains(r.log.String(), "canary") {
				t.Errorf("the log shows the password: %s", r.log)
			}
			_, stderr, code := cliWith(t, append(environment(), env...), "", "endpoint", "list")
			refused(t, stderr, code, 1, "refuses these credentials", "NATS_USER")
		})
	}
}
