package e2e

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"jethook/pkg/receiver"
)

// TestARoleReachesWhatItsReplySubjectNames is what the README warns of, so that it is
// noticed when nats-server judges reply subjects: then roles in one account keep out
// who is hostile, too, and the README can say so. Until then a server answers where it
// is told to, with rights of its own.
func TestARoleReachesWhatItsReplySubjectNames(t *testing.T) {
	t.Parallel()
	s := startStage(t, "")
	s.may(t, "provisioner", "streams", "apply")
	ctx := t.Context()

	// A producer's acknowledgement is an event, and a document.
	acme, _ := s.connect(t, "acme")
	for stream, subjects := range map[string][]string{
		"WEBHOOKS_EVENTS":       {"webhooks.events.other.order.created", "webhooks.events.acme.jethook.endpoint.failing"},
		"KV_webhooks_endpoints": {"$KV.webhooks_endpoints.other.crm", "$KV.webhooks_endpoints._sealing"},
	} {
		for _, subject := range subjects {
			if err := acme.PublishRequest("webhooks.events.acme.order.created", subject, []byte("{}")); err != nil {
				t.Fatal(err)
			}
			eventually(t, "the acknowledgement is stored under "+subject, func() error {
				stream, err := s.js.Stream(ctx, stream)
				if err == nil {
					_, err = stream.GetLastMsgForSubject(ctx, subject)
				}
				return err
			})
		}
	}
	// The answer to who asks for a message that there is not has no body, which is how a
	// stream is removed.
	for user, stream := range map[string]string{"reader": "WEBHOOKS_DLQ", "operator": "WEBHOOKS_ATTEMPTS", "worker": "KV_webhooks_endpoints"} {
		nc, _ := s.connect(t, user)
		if err := nc.PublishRequest("$JS.API.DIRECT.GET.WEBHOOKS_EVENTS", "$JS.API.STREAM.DELETE."+stream, []byte(`{"seq":999999}`)); err != nil {
			t.Fatal(err)
		}
		eventually(t, user+" removed "+stream, func() error {
			_, err := s.js.Stream(ctx, stream)
			if err == nil {
				return errors.New("it is there")
			}
			if errors.Is(err, jetstream.ErrStreamNotFound) {
				return nil
			}
			return err
		})
	}
}

// accounts is a NATS server with an account of jethook's and, for the producer of a
// tenant, one of its own, as `jethook streams permissions` prints it.
type accounts struct {
	*natsServer
	inbox string
	js    jetstream.JetStream // in jethook's account, with all rights
}

func startAccounts(t *testing.T) *accounts {
	t.Helper()
	text, stderr, code := cliWith(t, environment(), "", "streams", "permissions", "producer", "--tenant", "acme", "--account", "JETHOOK")
	if code != 0 {
		t.Fatalf("streams permissions: exit code %d: %s", code, stderr)
	}
	_, rest, _ := strings.Cut(text, "NATS_INBOX_PREFIX=")
	inbox, rest, _ := strings.Cut(rest, "\n")
	_, rest, _ = strings.Cut(rest, "\n") // a comment
	exports, account, _ := strings.Cut(rest, "# among the accounts")
	_, account, _ = strings.Cut(account, "\n")
	account = strings.Replace(account, "users: []", "users: [{user: acme, password: acme}]", 1)
	conf := filepath.Join(t.TempDir(), "nats.conf")
	if err := os.WriteFile(conf, fmt.Appendf(nil, `authorization: {timeout: 120}
accounts: {
JETHOOK: {jetstream: enabled, users: [{user: jethook, password: jethook}], exports: [
%s]}
%s}
`, exports, account), 0o600); err != nil {
		t.Fatal(err)
	}
	s := &accounts{natsServer: startNATS(t, "-c", conf), inbox: inbox}
	_, s.js = connect(t, s.url, nats.UserInfo("jethook", "jethook"))
	return s
}

func (s *accounts) jethook() []string {
	return []string{"NATS_URL=" + s.url, "NATS_USER=jethook", "NATS_PASSWORD=jethook"}
}

// acme runs a command as the producer.
func (s *accounts) acme(t *testing.T, args ...string) (stdout, stderr string, code int) {
	t.Helper()
	return cliWith(t, environment("NATS_URL="+s.url, "NATS_USER=acme", "NATS_PASSWORD=acme", "NATS_INBOX_PREFIX="+s.inbox), "", args...)
}

func TestAProducerInAnAccountOfItsOwnPublishes(t *testing.T) {
	t.Parallel()
	s := startAccounts(t)
	sink := newSink(t, receiver.Options{})
	r := serve(t, s.jethook()...)
	apply(t, "nats://jethook:jethook@127.0.0.1:"+s.port, fmt.Sprintf("endpoints:\n- {tenant: acme, id: crm, url: %q, events: [\">\"]}\n", sink.url), r)
	const trace = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"
	for _, says := range []string{"", "not stored: 2 of the events"} { // the second time, NATS knows them
		_, stderr, code := s.acme(t, "publish", "acme", "order.created", "--count", "2", "--id", "o", "-d", `{"total":12}`,
			"-H", "Content-Type:application/x-order+json", "-H", "traceparent:"+trace, "-H", "ce-source:shop")
		if code != 0 || !strings.Contains(stderr, says) {
			t.Fatalf("exit code %d, it does not say %q: %s", code, says, stderr)
		}
	}
	eventually(t, "every event arrived", func() error { return sink.lacks("o", 2) })
	for _, q := range sink.seen() {
		h := q.Header
		if q.EventType != "order.created" || string(q.Body) != `{"total":12}` || h.Get("Content-Type") != "application/x-order+json" ||
			!strings.HasPrefix(h.Get("Traceparent"), trace[:35]) || h.Get("Ce-Source") != "shop" {
			t.Errorf("what arrived is %s %s %v", q.EventType, q.Body, h)
		}
		for name := range h {
			if strings.HasPrefix(name, "Nats-") { // where a server says who asked
				t.Errorf("header %s arrived", name)
			}
		}
	}
	// Large events, and their refusals, come across as well.
	_, stderr, code := s.acme(t, "publish", "acme", "order.created", "--raw", "-d", strings.Repeat("x", 100_000))
	if code != 0 {
		t.Errorf("a large event: exit code %d: %s", code, stderr)
	}
	for subject, args := range map[string][]string{
		"webhooks.events.other.order.created": {"publish", "other", "order.created"},
		"$JS.API.STREAM.INFO.WEBHOOKS_EVENTS": {"streams", "check"},
	} {
		if _, stderr, code := s.acme(t, args...); code != 1 || !strings.Contains(stderr, "does not let this user do that") || !strings.Contains(strings.ToLower(stderr), strings.ToLower(subject)) {
			t.Errorf("%v: exit code %d: %s", args, code, stderr)
		}
	}
}

// TestAReplyFromAnotherAccountReachesNothing is TestARoleReachesWhatItsReplySubjectNames
// for a producer that has an account of its own.
func TestAReplyFromAnotherAccountReachesNothing(t *testing.T) {
	t.Parallel()
	s := startAccounts(t)
	ctx := t.Context()
	if _, stderr, code := cliWith(t, environment(s.jethook()...), "", "streams", "apply"); code != 0 {
		t.Fatalf("streams apply: exit code %d: %s", code, stderr)
	}
	nc, js := connect(t, s.url, nats.UserInfo("acme", "acme"), nats.CustomInboxPrefix(s.inbox),
		nats.ErrorHandler(func(*nats.Conn, *nats.Subscription, error) {}))
	const subject = "webhooks.events.acme.order.created"
	publish := func() *jetstream.PubAck {
		t.Helper()
		ack, err := js.Publish(ctx, subject, []byte("{}"))
		if err != nil {
			t.Fatal(err)
		}
		return ack
	}
	publish()
	fanout, err := s.js.Consumer(ctx, "WEBHOOKS_EVENTS", "fanout")
	if err != nil {
		t.Fatal(err)
	}
	taken, err := fanout.Next(jetstream.FetchMaxWait(patience)) // and not acknowledged
	if err != nil {
		t.Fatal(err)
	}
	before := s.others(t)
	forged := []string{
		"webhooks.events.other.order.created", "webhooks.events.acme.jethook.endpoint.failing",
		"webhooks.deliveries.default.other.crm", "webhooks.dlq.other.crm", "webhooks.held.other.crm.new",
		"$KV.webhooks_endpoints.other.crm", "$KV.webhooks_endpoints._sealing", "$KV.webhooks_gates.other.crm",
		"$JS.API.STREAM.DELETE.WEBHOOKS_DLQ", "$JS.API.STREAM.PURGE.WEBHOOKS_EVENTS", "$JS.API.CONSUMER.DELETE.WEBHOOKS_EVENTS.fanout", taken.Reply(),
	}
	for _, to := range forged {
		for _, header := range []nats.Header{
			nil,
			{"Nats-Batch-Id": {"b"}, "Nats-Batch-Sequence": {"1"}}, // answered without a body, where a stream takes batches
			{"Nats-Expected-Stream": {"none"}},
		} {
			if err := nc.PublishMsg(&nats.Msg{Subject: subject, Reply: to, Header: header, Data: []byte("{}")}); err != nil {
				t.Fatal(err)
			}
		}
		if err := nc.PublishMsg(&nats.Msg{Subject: subject, Header: nats.Header{"Nats-Trace-Dest": {to}}, Data: []byte("{}")}); err != nil {
			t.Fatal(err)
		}
	}
	// What a stream answers it answers in turn. Of every four one was stored: the second
	// is of a batch, the third expects another stream, and the server does judge where
	// traces go, as it does replies that look like a consumer's, such as the last.
	last := publish().Sequence
	if n := uint64(1 + len(forged)); last != n {
		t.Errorf("%d events were stored, not %d", last, n)
	}
	if after := s.others(t); after != before {
		t.Errorf("it was\n%s\nnow it is\n%s", before, after)
	}
	events, err := s.js.Stream(ctx, "WEBHOOKS_EVENTS")
	if err != nil {
		t.Fatal(err)
	}
	info, err := events.Info(ctx, jetstream.WithSubjectFilter(">"))
	if err != nil || info.State.Msgs != last || len(info.State.Subjects) != 1 || info.State.Subjects[subject] != last {
		t.Errorf("%v: the events are %v", err, info.State)
	}
	state, err := fanout.Info(ctx)
	if err != nil || state.NumAckPending != 1 {
		t.Errorf("%v: of what was taken, %d wait for their acknowledgement", err, state.NumAckPending)
	}
}

// others says what is in all streams but that of the events.
func (s *accounts) others(t *testing.T) string {
	t.Helper()
	lines := strings.Split(holdings(t, s.js), "\n")
	lines = slices.DeleteFunc(lines, func(l string) bool { return strings.HasPrefix(l, "WEBHOOKS_EVENTS ") })
	return strings.Join(lines, "\n")
}
