package e2e

import (
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/nats-io/nats.go"
	standardwebhooks "github.com/standard-webhooks/standard-webhooks/libraries/go"

	"jethook/pkg/receiver"
	"jethook/pkg/secret"
	"jethook/pkg/signature"
)

func TestAnEventReachesExactlyTheEndpointsThatMatch(t *testing.T) {
	t.Parallel()
	server := startNATS(t)
	r := serve(t, "NATS_URL="+server.url)
	secret, k := key(t)
	orders := newSink(t, receiver.Options{Keys: []signature.Key{k}})
	all := newSink(t, receiver.Options{})
	stranger := newSink(t, receiver.Options{})
	apply(t, server.url, fmt.Sprintf(`endpoints:
- {tenant: acme, id: orders, url: "%s/orders", events: ["order.*"], secrets: [%s], headers: {X-Env: prod}}
- {tenant: acme, id: all, url: "%s", events: [">"]}
- {tenant: other, id: all, url: "%s", events: [">"]}
`, orders.url, secret.Reveal(), all.url, stranger.url), r)

	_, js := connect(t, server.url)
	msg := nats.NewMsg("webhooks.events.acme.order.created")
	msg.Data = []byte(`{"total":  12.50}`) // the space must survive
	msg.Header = nats.Header{"nats-msg-id": {"order-1"}, "Ce-Source": {"/shop"}, "traceparent": {"00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"}}
	ack, err := js.PublishMsg(context.Background(), msg)
	if err != nil {
		t.Fatal(err)
	}
	must(t, server.url, "publish", "acme", "user.created", "--id", "user-1", "-d", `{"name":"é"}`)

	eventually(t, "both events arrived", func() error {
		if n := len(orders.seen()); n != 1 {
			return fmt.Errorf("orders got %d requests", n)
		}
		if n := len(all.seen()); n != 2 {
			return fmt.Errorf("all got %d requests", n)
		}
		return nil
	})
	if n := stranger.Stats().Requests; n != 0 {
		t.Errorf("another tenant's endpoint got %d requests", n)
	}
	got := orders.seen()[0]
	if string(got.Body) != string(msg.Data) {
		t.Errorf("body %q, published %q", got.Body, msg.Data)
	}
	for name, want := range map[string]string{
		"Content-Type": "application/json", "X-Env": "prod", "Ce-Source": "/shop", "Traceparent": msg.Header.Get("traceparent"),
		"Webhook-Id": "order-1", "Webhook-Event-Type": "order.created", "Webhook-Attempt": "1", "Webhook-Replay": "", "Accept-Encoding": "identity",
	} {
		if v := got.Header.Get(name); v != want {
			t.Errorf("header %s is %q, want %q", name, v, want)
		}
	}
	if agent := got.Header.Get("User-Agent"); !strings.HasPrefix(agent, "jethook/") {
		t.Errorf("user-agent %q", agent)
	}
	if at, err := time.Parse(time.RFC3339, got.Header.Get("Webhook-Event-Time")); err != nil || time.Since(at) > patience {
		t.Errorf("webhook-event-time %q: %v", got.Header.Get("Webhook-Event-Time"), err)
	}
	verify(t, secret, got)
	if ack.Sequence == 0 {
		t.Error("the event was not stored")
	}
}

// verify asks the specification's own library.
func verify(t *testing.T, secret secret.Secret, r receiver.Request) {
	t.Helper()
	hook, err := standardwebhooks.NewWebhook(secret.Reveal())
	if err != nil {
		t.Fatal(err)
	}
	if err := hook.Verify(r.Body, r.Header); err != nil {
		t.Errorf("the standard-webhooks library refuses the signature: %v", err)
	}
	forged := append([]byte(nil), r.Body...)
	forged[0]++
	if err := hook.Verify(forged, r.Header); err == nil {
		t.Error("the standard-webhooks library accepts another body")
	}
	if r.Verified != receiver.Yes {
		t.Errorf("our own verifier says %q: %s", r.Verified, r.VerifyError)
	}
}

// letter is what `jethook dlq show --json` gives, as far as tests look at it.
type letter struct {
	Seq        uint64    `json:"seq"`
	EventID    string    `json:"event_id"`
	EventType  string    `json:"event_type"`
	EventTime  time.Time `json:"event_time"`
	DeadAt     time.Time `json:"dead_at"`
	Endpoint   string    `json:"endpoint"`
	Reason     string    `json:"reason"`
	Attempts   int       `json:"attempts"`
	LastStatus int       `json:"last_status"`
	LastError  string    `json:"last_error"`
	URL        string    `json:"url"`
	History    []struct {
		Attempt int       `json:"attempt"`
		At      time.Time `json:"at"`
		Status  int       `json:"status"`
		Error   string    `json:"error"`
	} `json:"history"`
	Headers map[string]any  `json:"headers"`
	Payload json.RawMessage `json:"payload"`
}

// letters returns the dead letters, whole.
func letters(t *testing.T, url string) []letter {
	t.Helper()
	var all []letter
	for line := range strings.Lines(must(t, url, "dlq", "list", "--json")) {
		var l letter
		if err := json.Unmarshal([]byte(line), &l); err != nil {
			t.Fatalf("dlq list --json: %v in %q", err, line)
		}
		text := must(t, url, "dlq", "show", fmt.Sprint(l.Seq), "--json")
		if err := json.Unmarshal([]byte(text), &l); err != nil {
			t.Fatalf("dlq show --json: %v in %q", err, text)
		}
		all = append(all, l)
	}
	return all
}

// awaitLetters waits for n dead letters.
func awaitLetters(t *testing.T, url string, n int) []letter {
	t.Helper()
	var all []letter
	eventually(t, "dead letters", func() error {
		if all = letters(t, url); len(all) != n {
			return fmt.Errorf("there are %d, want %d", len(all), n)
		}
		return nil
	})
	return all
}

func TestAFailingEndpointIsRetriedWithJitterAndThenItsEventIsADeadLetter(t *testing.T) {
	t.Parallel()
	server := startNATS(t)
	r := serve(t, "NATS_URL="+server.url)
	failing := newSink(t, receiver.Options{Status: saysNothing})
	// Equal jitter lies between half the backoff and the whole of it.
	apply(t, server.url, fmt.Sprintf(`endpoints:
- {tenant: acme, id: down, url: "%s/hook?key=canary", events: [">"], retry: {base: 600ms, factor: 2, max_delay: 1200ms, max_attempts: 4, jitter: equal}}
`, failing.url), r)
	_, js := connect(t, server.url)
	const events = 8
	publish(t, js, "order.created", "o", events)

	all := awaitLetters(t, server.url, events)
	var jitter []time.Duration
	for _, l := range all {
		if l.Reason != "attempts_exhausted" || l.Attempts != 4 || l.LastStatus != saysNothing || l.Endpoint != "down" || l.EventType != "order.created" {
			t.Errorf("dead letter %+v", l)
		}
		if strings.Contains(l.URL, "canary") {
			t.Errorf("the dead letter's url %q shows the query", l.URL)
		}
		if len(l.History) != 4 {
			t.Fatalf("history of %d attempts, want 4", len(l.History))
		}
		for i, want := range []time.Duration{300 * time.Millisecond, 600 * time.Millisecond, 600 * time.Millisecond} {
			gap := l.History[i+1].At.Sub(l.History[i].At)
			if gap < want {
				t.Errorf("attempt %d came %s after the one before, equal jitter allows %s at the least", i+2, gap, want)
			}
			jitter = append(jitter, gap-want)
		}
	}
	same := 0
	for _, d := range jitter[1:] {
		if (d - jitter[0]).Abs() < time.Millisecond {
			same++
		}
	}
	if same == len(jitter)-1 {
		t.Errorf("no jitter: beyond the least, the delays are %v", jitter)
	}
	// The history is true: it agrees with what the receiver saw.
	if n := failing.Stats().Requests; n != events*4 {
		t.Errorf("the receiver got %d requests, want %d", n, events*4)
	}
	attempts := map[string]int{}
	for _, req := range failing.seen() {
		attempts[req.EventID]++
		if req.Attempt != attempts[req.EventID] {
			t.Errorf("event %s: webhook-attempt is %d at request %d", req.EventID, req.Attempt, attempts[req.EventID])
		}
	}
}

func TestReplayDrainsTheDeadLetterQueue(t *testing.T) {
	t.Parallel()
	server := startNATS(t)
	r := serve(t, "NATS_URL="+server.url)
	broken := newSink(t, receiver.Options{Status: http.StatusBadRequest})
	document := `endpoints:
- {tenant: acme, id: crm, url: "%s", events: [">"], retry: {base: 10ms, max_attempts: 3, max_delay: 20ms}}
`
	apply(t, server.url, fmt.Sprintf(document, broken.url), r)
	_, js := connect(t, server.url)
	const events = 50
	publish(t, js, "order.created", "o", events)
	for _, l := range awaitLetters(t, server.url, events) {
		if l.Reason != "rejected" || l.Attempts != 1 || l.LastStatus != 400 {
			t.Fatalf("dead letter %+v", l)
		}
	}

	// A replay to an endpoint that is still broken adds to the history.
	must(t, server.url, "replay", "--yes", "--limit", "1")
	eventually(t, "the replayed dead letter is back", func() error {
		for _, l := range letters(t, server.url) {
			if len(l.History) == 2 && l.Seq > events {
				return nil
			}
		}
		return fmt.Errorf("no dead letter with two attempts")
	})

	mended := newSink(t, receiver.Options{})
	apply(t, server.url, fmt.Sprintf(document, mended.url), r)
	must(t, server.url, "replay", "--yes")
	eventually(t, "every event arrived", func() error { return mended.missing("o", events) })
	eventually(t, "the dead-letter queue is empty", func() error {
		if n := len(letters(t, server.url)); n != 0 {
			return fmt.Errorf("%d dead letters", n)
		}
		return nil
	})
	for _, req := range mended.seen() {
		if !req.Replay || req.Attempt != 1 {
			t.Fatalf("a replay has webhook-replay: true and counts from 1, got replay %v, attempt %d", req.Replay, req.Attempt)
		}
	}
	if events, copies := mended.counts(); copies != 0 {
		t.Errorf("%d copies of %d events", copies, events)
	}
}

func TestAnEventThatWaitedTooLongIsADeadLetter(t *testing.T) {
	t.Parallel()
	server := startNATS(t)
	r := serve(t, "NATS_URL="+server.url)
	failing := newSink(t, receiver.Options{Status: http.StatusInternalServerError})
	apply(t, server.url, fmt.Sprintf(`endpoints:
- {tenant: acme, id: slow, url: "%s", events: [">"], retry: {schedule: [100ms, 1h]}, expire_after: 10m}
`, failing.url), r)
	_, js := connect(t, server.url)
	publish(t, js, "order.created", "o", 1)
	l := awaitLetters(t, server.url, 1)[0]
	if l.Reason != "expired" || len(l.History) != 2 {
		t.Errorf("reason %s after %d attempts, want expired after 2: the third could only be made when the event has expired", l.Reason, len(l.History))
	}
}

func TestAReceiverThatIsGoneIsDisabledAndLosesNothing(t *testing.T) {
	t.Parallel()
	server := startNATS(t)
	r := serve(t, "NATS_URL="+server.url)
	gone := newSink(t, receiver.Options{Status: http.StatusGone})
	apply(t, server.url, fmt.Sprintf(`endpoints:
- {tenant: acme, id: crm, url: "%s", events: [">"]}
`, gone.url), r)
	_, js := connect(t, server.url)
	publish(t, js, "order.created", "first", 1)
	if l := awaitLetters(t, server.url, 1)[0]; l.Reason != "rejected" || l.LastStatus != 410 {
		t.Errorf("dead letter %+v", l)
	}
	eventually(t, "the endpoint is disabled", func() error {
		if text := must(t, server.url, "endpoint", "show", "acme/crm"); !strings.Contains(text, "410") {
			return fmt.Errorf("endpoint show: %s", text)
		}
		return nil
	})
}

func TestSecretsAreShownOnlyToThoseWhoAsk(t *testing.T) {
	t.Parallel()
	server := startNATS(t)
	serve(t, "NATS_URL="+server.url)
	secret, _ := key(t)
	apply(t, server.url, fmt.Sprintf("endpoints:\n- {tenant: acme, id: crm, url: 'https://example.com', events: ['>'], secrets: [%s]}\n", secret.Reveal()))
	for _, args := range [][]string{{"endpoint", "list", "--json"}, {"endpoint", "show", "acme/crm"}, {"endpoint", "show", "acme/crm", "--json"}} {
		if text := must(t, server.url, args...); strings.Contains(text, secret.Reveal()) || !strings.Contains(text, `"***"`) {
			t.Errorf("jethook %v prints %s", args, text)
		}
	}
	if text := must(t, server.url, "endpoint", "show", "acme/crm", "--secrets"); !strings.Contains(text, secret.Reveal()) {
		t.Errorf("endpoint show --secrets prints %s", text)
	}
	rotated := must(t, server.url, "endpoint", "rotate-secret", "acme/crm", "--json")
	text := must(t, server.url, "endpoint", "show", "acme/crm", "--secrets")
	var made struct{ Secret string }
	if err := json.Unmarshal([]byte(rotated), &made); err != nil || made.Secret == "" || !strings.Contains(text, made.Secret) || !strings.Contains(text, secret.Reveal()) {
		t.Errorf("after rotate-secret (%s): %s", rotated, text)
	}
}
