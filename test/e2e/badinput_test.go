package e2e

import (
	"bytes"
	"context"
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"jethook/pkg/receiver"
	"jethook/streams"
)

// refused checks that a command ends with the exit code and says all that.
func refused(t *testing.T, stderr string, code, wantCode int, says ...string) {
	t.Helper()
	if code != wantCode {
		t.Errorf("exit code %d, want %d: %s", code, wantCode, stderr)
	}
	for _, s := range says {
		if !strings.Contains(stderr, s) {
			t.Errorf("the error does not say %q: %s", s, stderr)
		}
	}
}

func TestWrongInputIsRefusedWithWordsThatSayWhatToDo(t *testing.T) {
	t.Parallel()
	file := filepath.Join(t.TempDir(), "endpoints.yaml")
	if err := os.WriteFile(file, []byte("endpoints:\n- tenant: acme\n  id: crm\n  url: http://127.0.0.1:1\n  evnts: ['>']\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	nowhere := "nats://127.0.0.1:" + freePort(t)
	for name, c := range map[string]struct {
		env  []string
		args []string
		code int
		says []string
	}{
		"unknown variable":         {[]string{"JETHOOK_MAX_INFLIGHT=5"}, []string{"serve"}, 2, []string{"JETHOOK_MAX_INFLIGHT", "JETHOOK_MAX_IN_FLIGHT"}},
		"value out of range":       {[]string{"JETHOOK_MAX_IN_FLIGHT=0"}, []string{"serve"}, 2, []string{"JETHOOK_MAX_IN_FLIGHT", "2 to 10000"}},
		"value of another kind":    {[]string{"JETHOOK_SHUTDOWN_GRACE=soon"}, []string{"serve"}, 2, []string{"JETHOOK_SHUTDOWN_GRACE", "soon"}},
		"unreachable NATS, serve":  {[]string{"NATS_URL=" + nowhere}, []string{"serve"}, 1, []string{nowhere, "NATS_URL"}},
		"unreachable NATS, client": {[]string{"NATS_URL=" + nowhere}, []string{"endpoint", "list"}, 1, []string{nowhere, "jethook serve"}},
		"unknown command":          {nil, []string{"sevre"}, 2, []string{"sevre", "--help"}},
		"unknown flag":             {nil, []string{"publish", "acme", "x", "--dta", "{}"}, 2, []string{"--dta"}},
		"file of endpoints":        {nil, []string{"endpoint", "apply", "-f", file}, 1, []string{"endpoints.yaml:5:3", "evnts", "events"}},
		"no file of endpoints":     {nil, []string{"endpoint", "apply", "-f", file + "x"}, 1, []string{"no such file"}},
		"body that is no JSON":     {nil, []string{"publish", "acme", "order.created", "-d", "{"}, 2, []string{"--data", "--raw"}},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			env := append(environment(append(trial, "NATS_URL="+nowhere)...), c.env...)
			_, stderr, code := cliWith(t, env, "", c.args...)
			refused(t, stderr, code, c.code, c.says...)
		})
	}
}

func TestWrongInputToARunningSystemIsRefused(t *testing.T) {
	t.Parallel()
	server := startNATS(t)
	serve(t, "NATS_URL="+server.url)
	for name, c := range map[string]struct {
		args []string
		code int
		says []string
	}{
		"tenant":                  {[]string{"publish", "Acme!", "order.created"}, 2, []string{"Acme!", "a-z"}},
		"type":                    {[]string{"publish", "acme", "order..created"}, 2, []string{"order..created"}},
		"event id":                {[]string{"publish", "acme", "x", "--id", "a b"}, 2, []string{"a b"}},
		"endpoint that is not":    {[]string{"endpoint", "show", "acme/nobody"}, 1, []string{"acme/nobody"}},
		"endpoint's name":         {[]string{"endpoint", "show", "acme"}, 2, []string{"TENANT/ENDPOINT"}},
		"dead letter that is not": {[]string{"dlq", "show", "7"}, 1, []string{"7"}},
		"removal unasked":         {[]string{"endpoint", "remove", "acme/crm"}, 2, []string{"--yes"}},
		"too large":               {[]string{"publish", "acme", "x", "--raw", "-d", "@" + bodyFile(t, 1<<20)}, 1, []string{"larger", "max_msg_size"}},
	} {
		t.Run(name, func(t *testing.T) {
			_, stderr, code := cli(t, server.url, c.args...)
			refused(t, stderr, code, c.code, c.says...)
		})
	}
}

func bodyFile(t *testing.T, size int) string {
	t.Helper()
	file := filepath.Join(t.TempDir(), "body")
	if err := os.WriteFile(file, bytes.Repeat([]byte("x"), size), 0o600); err != nil {
		t.Fatal(err)
	}
	return file
}

func TestABrokenFileOfEndpointsKeepsAReplicaFromStarting(t *testing.T) {
	t.Parallel()
	server := startNATS(t)
	file := filepath.Join(t.TempDir(), "endpoints.yaml")
	if err := os.WriteFile(file, []byte("endpoints:\n- {tenant: acme, id: crm, url: 'ftp://x', events: ['>']}\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	r := serveUnready(t, "NATS_URL="+server.url, "JETHOOK_ENDPOINTS_FILE="+file)
	code := r.wait()
	refused(t, r.log.String(), code, 1, "JETHOOK_ENDPOINTS_FILE", "endpoints.yaml:2", "url")
}

func TestAFullStreamRefusesAndLosesNothing(t *testing.T) {
	t.Parallel()
	server := startNATS(t)
	_, js := connect(t, server.url)
	// An operator made the streams of events and of dead letters, and gave them
	// room for little.
	for name, subject := range map[string]string{"WEBHOOKS_EVENTS": "webhooks.events.>", "WEBHOOKS_DLQ": "webhooks.dlq.>"} {
		if _, err := js.CreateStream(context.Background(), jetstream.StreamConfig{Name: name, Subjects: []string{subject},
			Discard: jetstream.DiscardNew, MaxBytes: 8 << 10, AllowDirect: true}); err != nil {
			t.Fatal(err)
		}
	}
	r := serve(t, "NATS_URL="+server.url)
	broken := newSink(t, receiver.Options{Status: http.StatusBadRequest})
	apply(t, server.url, fmt.Sprintf("endpoints:\n- {tenant: acme, id: crm, url: '%s', events: ['>']}\n", broken.url), r)

	published := 0
	for ; published < 1000; published++ {
		_, err := js.Publish(context.Background(), "webhooks.events.acme.order.created", bytes.Repeat([]byte("x"), 500))
		if err != nil {
			break // the stream is full, and says so
		}
	}
	if published == 1000 {
		t.Fatal("the stream never was full")
	}
	_, stderr, code := cliWith(t, append(environment(trial...), "NATS_URL="+server.url), strings.Repeat("x", 500),
		"publish", "acme", "order.created", "--raw", "-d", "-")
	refused(t, stderr, code, 1, "not stored", "WEBHOOKS_EVENTS")

	// The dead letters take more room than there is. Those that do not fit are
	// stored once there is some.
	eventually(t, "every event was attempted", func() error {
		if n := broken.Stats().Requests; n < published {
			return fmt.Errorf("%d of %d", n, published)
		}
		return nil
	})
	config, err := js.Stream(context.Background(), "WEBHOOKS_DLQ")
	if err != nil {
		t.Fatal(err)
	}
	roomy := config.CachedInfo().Config
	roomy.MaxBytes = -1
	if _, err := js.UpdateStream(context.Background(), roomy); err != nil {
		t.Fatal(err)
	}
	awaitLetters(t, server.url, published)
}

func TestABodyAtTheSizeLimitIsRetriedDeadLetteredAndReplayed(t *testing.T) {
	t.Parallel()
	for name, events := range map[string]*jetstream.StreamConfig{
		"as jethook makes the stream": nil,
		"as an operator made it": {Name: "WEBHOOKS_EVENTS", Subjects: []string{"webhooks.events.>"},
			Discard: jetstream.DiscardNew, AllowDirect: true},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			server := startNATS(t)
			nc, js := connect(t, server.url)
			size := 983040 - len("webhooks.events.acme.big") - 200
			if events != nil {
				if _, err := js.CreateStream(context.Background(), *events); err != nil {
					t.Fatal(err)
				}
				size = int(nc.MaxPayload()) - 100
			}
			r := serve(t, "NATS_URL="+server.url)
			broken := newSink(t, receiver.Options{Status: http.StatusServiceUnavailable})
			document := "endpoints:\n- {tenant: acme, id: crm, url: '%s', events: ['>'], retry: {schedule: [10ms, 10ms]}}\n"
			apply(t, server.url, fmt.Sprintf(document, broken.url), r)
			body := bytes.Repeat([]byte("y"), size)
			if _, err := js.Publish(context.Background(), "webhooks.events.acme.big", body); err != nil {
				t.Fatal(err)
			}
			if l := awaitLetters(t, server.url, 1)[0]; l.Reason != "attempts_exhausted" || len(l.History) != 3 {
				t.Errorf("reason %s after %d attempts", l.Reason, len(l.History))
			}
			mended := newSink(t, receiver.Options{})
			apply(t, server.url, fmt.Sprintf(document, mended.url), r)
			must(t, server.url, "replay", "--yes")
			eventually(t, "the replay arrived", func() error {
				if n := mended.Stats().OK; n != 1 {
					return fmt.Errorf("%d requests", n)
				}
				return nil
			})
			for _, s := range []*sink{broken, mended} {
				for _, req := range s.seen() {
					if !bytes.Equal(req.Body, body) {
						t.Fatalf("a body of %d bytes arrived, %d were published", len(req.Body), len(body))
					}
				}
			}
		})
	}
}

func TestWhatHTTPRefusesIsADeadLetterAndNoRetry(t *testing.T) {
	t.Parallel()
	server := startNATS(t)
	r := serve(t, "NATS_URL="+server.url)
	s := newSink(t, receiver.Options{})
	apply(t, server.url, fmt.Sprintf("endpoints:\n- {tenant: acme, id: crm, url: '%s', events: ['>']}\n", s.url), r)
	_, js := connect(t, server.url)
	bad := nats.NewMsg("webhooks.events.acme.order.created")
	bad.Header.Set("Content-Type", "text/\x01plain")
	if _, err := js.PublishMsg(context.Background(), bad); err != nil {
		t.Fatal(err)
	}
	strange := nats.NewMsg("webhooks.events.acme.ordér:created")
	if _, err := js.PublishMsg(context.Background(), strange); err != nil {
		t.Fatal(err)
	}
	l := awaitLetters(t, server.url, 1)[0]
	if l.Reason != "invalid_request" || len(l.History) != 1 {
		t.Errorf("dead letter %+v", l)
	}
	// A strange type is delivered as it is, since HTTP can carry it.
	eventually(t, "the event of the strange type arrived", func() error {
		if n := s.Stats().OK; n != 1 {
			return fmt.Errorf("%d requests", n)
		}
		return nil
	})
	// And one without a usable tenant matches nobody, and stops nothing.
	if _, err := js.Publish(context.Background(), "webhooks.events.ACME.x", nil); err != nil {
		t.Fatal(err)
	}
	publish(t, js, "order.created", "after", 1)
	eventually(t, "the next event arrived", func() error { return s.missing("after", 1) })
	if r := auditNow(t, js); r.Events == 0 || r.Unaccounted != 0 {
		t.Errorf("the audit says %+v", r)
	}
}

func TestATargetThatIsNotPublicIsNeverContacted(t *testing.T) {
	t.Parallel()
	server := startNATS(t)
	names, err := streams.NewNames("")
	if err != nil {
		t.Fatal(err)
	}
	// Deliveries to this machine are not allowed here.
	r := serve(t, "NATS_URL="+server.url, "JETHOOK_EGRESS_ALLOW=")
	s := newSink(t, receiver.Options{})
	apply(t, server.url, fmt.Sprintf("endpoints:\n- {tenant: acme, id: crm, url: '%s', events: ['>']}\n", s.url), r)
	_, js := connect(t, server.url)
	publish(t, js, "order.created", "o", 1)
	if l := awaitLetters(t, server.url, 1)[0]; l.Reason != "blocked_address" {
		t.Errorf("dead letter %+v", l)
	}
	if n := s.Stats().Requests; n != 0 {
		t.Errorf("the receiver got %d requests", n)
	}
	info, err := js.Stream(context.Background(), names.Deliveries())
	if err != nil {
		t.Fatal(err)
	}
	if n := info.CachedInfo().State.Msgs; n != 0 {
		t.Errorf("%d deliveries wait", n)
	}
}
