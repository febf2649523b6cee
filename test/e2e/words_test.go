package e2e

import (
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/emersion/go-smtp"

	"jethook/pkg/receiver"
)

// word is the body of one of jethook's own events, as a receiver reads it.
type word struct {
	Type, Endpoint, URL, Why, Reason string
	At, Since, Until                 time.Time
	Count                            int
	LastStatus                       int    `json:"last_status"`
	LastError                        string `json:"last_error"`
	EventID                          string `json:"event_id"`
	EventType                        string `json:"event_type"`
	Flapping                         *struct{ Changes int }
}

// words returns what a receiver was told, by type and endpoint, each once.
func (s *sink) words(t *testing.T) map[string][]word {
	t.Helper()
	told, seen := map[string][]word{}, map[string]bool{}
	for _, r := range s.seen() {
		if seen[r.EventID] || r.Status != http.StatusOK || !strings.HasPrefix(r.EventType, "jethook.") {
			continue
		}
		seen[r.EventID] = true
		var w word
		if err := json.Unmarshal(r.Body, &w); err != nil {
			t.Fatalf("%v in %s", err, r.Body)
		}
		if w.Type != r.EventType || r.Header.Get("Content-Type") != "application/json" {
			t.Errorf("it is of type %s, the request says %s, %s", w.Type, r.EventType, r.Header.Get("Content-Type"))
		}
		key := strings.TrimPrefix(w.Type, "jethook.") + " " + w.Endpoint
		told[key] = append(told[key], w)
	}
	return told
}

// hears waits until a receiver was told something of an endpoint.
func (s *sink) hears(t *testing.T, what string) word {
	t.Helper()
	var first word
	eventually(t, what+" is told", func() error {
		told := s.words(t)
		if len(told[what]) == 0 {
			return fmt.Errorf("only %d other things are", len(told))
		}
		first = told[what][0]
		return nil
	})
	return first
}

// mailServer is one without TLS, as a relay on the same machine is.
type mailServer struct {
	url string
	mu  sync.Mutex
	all []string // what arrived
}

func startMail(t *testing.T) *mailServer {
	t.Helper()
	l, err := new(net.ListenConfig).Listen(t.Context(), "tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	m := &mailServer{url: "smtp://" + l.Addr().String() + "?tls=none"}
	s := smtp.NewServer(smtp.BackendFunc(func(*smtp.Conn) (smtp.Session, error) { return &mailSession{m: m}, nil }))
	go func() { _ = s.Serve(l) }() // until it is closed
	t.Cleanup(func() { _ = s.Close() })
	return m
}

func (m *mailServer) has(text ...string) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	for _, letter := range m.all {
		missing := ""
		for _, part := range text {
			if !strings.Contains(letter, part) {
				missing = part
			}
		}
		if missing == "" {
			return nil
		}
	}
	return fmt.Errorf("none of %d mails has %q", len(m.all), text)
}

type mailSession struct {
	m  *mailServer
	to string
}

func (*mailSession) Reset()                                      {}
func (*mailSession) Logout() error                               { return nil }
func (*mailSession) Mail(string, *smtp.MailOptions) error        { return nil }
func (s *mailSession) Rcpt(to string, _ *smtp.RcptOptions) error { s.to = to; return nil }

func (s *mailSession) Data(r io.Reader) error {
	text, err := io.ReadAll(r)
	s.m.mu.Lock()
	defer s.m.mu.Unlock()
	s.m.all = append(s.m.all, "to "+s.to+"\n"+string(text))
	return err
}

// startSlack is where an incoming webhook of Slack's leads.
func startSlack(t *testing.T) (url string, has func(text string) error) {
	t.Helper()
	var mu sync.Mutex
	var all []string
	far := httptest.NewServer(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
		var said struct{ Text string }
		if json.NewDecoder(r.Body).Decode(&said) != nil {
			return // a sender that is killed at the end of the test; what a test wants it misses
		}
		mu.Lock()
		defer mu.Unlock()
		all = append(all, r.URL.Path+" "+said.Text)
	}))
	t.Cleanup(far.Close)
	return far.URL + "/services/T0/B0/x", func(text string) error {
		mu.Lock()
		defer mu.Unlock()
		for _, one := range all {
			if strings.Contains(one, text) && strings.HasPrefix(one, "/services/T0/B0/x ") {
				return nil
			}
		}
		return fmt.Errorf("none of %d messages has %q", len(all), text)
	}
}

const wordyDocuments = `endpoints:
- {tenant: acme, id: shaky, url: "%[1]s?key=CANARY", events: [order.created, "jethook.>"], retry: {base: 200ms, max_delay: 1s, max_attempts: 100}, contact: {email: [owner@example.com], slack: "env:SLACK"}}
- {tenant: acme, id: strict, url: "%[2]s", events: [bad]}
- {tenant: acme, id: gone, url: "%[3]s", events: [gone]}
- {tenant: acme, id: watcher, url: "%[4]s", events: ["jethook.>"]}
- {tenant: acme, id: inorder, url: "%[5]s", events: ["jethook.endpoint.*", "jethook.delivery.*"], ordered: true}
- {tenant: acme, id: plain, url: "%[6]s", events: [">"]}
- {tenant: acme, id: allorder, url: "%[6]s", events: [">"], ordered: true}
- {tenant: other, id: watcher, url: "%[6]s", events: ["jethook.>"]}
`

func TestAnEndpointsTroubleIsToldToOthersAndToItsContact(t *testing.T) {
	t.Parallel()
	server, mail := startNATS(t), startMail(t)
	slack, slackHas := startSlack(t)
	env := []string{"NATS_URL=" + server.url, "JETHOOK_NOTIFY_AFTER=300ms", "JETHOOK_NOTIFY_EVERY=1s", "JETHOOK_SMTP_URL=" + mail.url, "JETHOOK_SMTP_FROM=jethook@example.com"}
	replicas := []*replica{serve(t, env...), serve(t, env...)}
	shaky, watcher, inOrder, plain := newDoor(t, receiver.Options{}), newSink(t, receiver.Options{}), newSink(t, receiver.Options{}), newSink(t, receiver.Options{})
	strict, gone := newSink(t, receiver.Options{Status: http.StatusBadRequest}), newSink(t, receiver.Options{Status: http.StatusGone})
	file := filepath.Join(t.TempDir(), "endpoints.yaml")
	if err := os.WriteFile(file, fmt.Appendf(nil, wordyDocuments, shaky.url, strict.url, gone.url, watcher.url, inOrder.url, plain.url), 0o600); err != nil {
		t.Fatal(err)
	}
	if _, stderr, code := cliWith(t, append(environment(trial...), "NATS_URL="+server.url, "SLACK="+slack), "", "endpoint", "apply", "-f", file); code != 0 {
		t.Fatalf("endpoint apply: %s", stderr)
	}
	_, js := connect(t, server.url)

	shaky.goDown(http.StatusServiceUnavailable, nil)
	const orders = 20
	publish(t, js, "order.created", "o", orders)
	w := watcher.hears(t, "endpoint.failing acme/shaky")
	if w.LastStatus != 503 || w.LastError != "5xx" || w.Why == "" || w.Since.IsZero() || w.URL != shaky.url {
		t.Errorf("it is told %+v", w)
	}
	shaky.comeUp()
	if w := watcher.hears(t, "endpoint.recovered acme/shaky"); !w.Until.After(w.Since) {
		t.Errorf("it is told %+v", w)
	}
	publish(t, js, "bad", "b", 1)
	if w := watcher.hears(t, "delivery.dead acme/strict"); w.EventID != "b-0" || w.EventType != "bad" || w.Reason != "rejected" || w.Count != 1 || w.LastStatus != 400 {
		t.Errorf("it is told %+v", w)
	}
	publish(t, js, "gone", "g", 1)
	if w := watcher.hears(t, "endpoint.disabled acme/gone"); w.Why != "the receiver answered 410 Gone" {
		t.Errorf("it is told %+v", w)
	}
	must(t, server.url, "endpoint", "rotate-secret", "acme/shaky", "--overlap", "1h")
	if w := watcher.hears(t, "endpoint.secret_rotated acme/shaky"); time.Until(w.Until) < 50*time.Minute {
		t.Errorf("it is told %+v", w)
	}
	for _, what := range []string{"endpoint.failing acme/shaky", "endpoint.recovered acme/shaky", "delivery.dead acme/strict", "endpoint.disabled acme/gone", "endpoint.secret_rotated acme/shaky"} {
		inOrder.hears(t, what)
	}
	for _, what := range []string{"is failing", "works again", "has a new signing secret"} {
		eventually(t, "its owner has mail", func() error {
			return mail.has("to owner@example.com", "From: <jethook@example.com>", "Subject: [jethook] acme/shaky "+what, shaky.url)
		})
		eventually(t, "its owner is told in Slack", func() error { return slackHas(" acme/shaky " + what) })
	}
	shaky.hears(t, "endpoint.disabled acme/gone") // what is about others is for it, too
	eventually(t, "every event arrived", func() error { return shaky.missing("o", orders) })
	toldTo(t, shaky.sink, watcher, inOrder, plain)
	for _, r := range replicas {
		if log := r.log.String(); strings.Contains(log, "CANARY") || strings.Contains(log, "owner@") || strings.Contains(log, "/services/") {
			t.Error("the log of a replica has an address")
		}
	}
}

// toldTo checks who was told what, when all was told.
func toldTo(t *testing.T, shaky, watcher, inOrder, plain *sink) {
	t.Helper()
	for what, words := range shaky.words(t) {
		if strings.HasSuffix(what, " acme/shaky") {
			t.Errorf("the endpoint is told %s of itself: %+v", what, words)
		}
	}
	for name, s := range map[string]*sink{"watcher": watcher, "the ordered one": inOrder} {
		for what, words := range s.words(t) {
			if len(words) > 1 {
				t.Errorf("%s is told %s %d times", name, what, len(words))
			}
			if strings.Contains(fmt.Sprintf("%+v", words), "CANARY") {
				t.Errorf("%s is told a query string: %+v", name, words)
			}
		}
	}
	for _, r := range plain.seen() {
		if strings.HasPrefix(r.EventType, "jethook") {
			t.Errorf("%s goes where nobody asked for it", r.EventType)
		}
	}
}

func TestAFlappingEndpointYieldsADigestAndNoStorm(t *testing.T) {
	t.Parallel()
	server := startNATS(t)
	env := []string{"NATS_URL=" + server.url, "JETHOOK_NOTIFY_AFTER=100ms", "JETHOOK_NOTIFY_EVERY=6s"}
	replicas := []*replica{serve(t, env...), serve(t, env...)}
	shaky, watcher := newDoor(t, receiver.Options{}), newSink(t, receiver.Options{})
	apply(t, server.url, "endpoints:\n"+strings.Replace(fmt.Sprintf(steadfast, "shaky", shaky.url), `[">"]`, "[order.created]", 1)+
		fmt.Sprintf("- {tenant: acme, id: watcher, url: '%s', events: [jethook.endpoint.*]}\n", watcher.url), replicas...)
	_, js := connect(t, server.url)
	is := func(state string) {
		t.Helper()
		eventually(t, "it is "+state, func() error {
			if s := stateOf(t, server.url, "acme/shaky"); s.Is != state {
				return fmt.Errorf("it is %s", s.Is)
			}
			return nil
		})
	}
	counts := func() (one, digests int) {
		for _, words := range watcher.words(t) {
			for _, w := range words {
				if w.Flapping != nil {
					digests++
				} else {
					one++
				}
			}
		}
		return one, digests
	}
	const flaps = 6
	heard := 0
	for i := range flaps {
		for _, down := range []bool{true, false} {
			if down {
				shaky.goDown(http.StatusServiceUnavailable, nil)
				publish(t, js, "order.created", fmt.Sprintf("f%d", i), 10)
				is("failing")
			} else {
				shaky.comeUp()
				is("active")
			}
			// The first ones are told of one by one, and each may be short of that.
			if heard < 6 {
				heard++
				eventually(t, "that is told", func() error {
					if one, digests := counts(); one < heard && digests == 0 {
						return fmt.Errorf("%d are, want %d", one, heard)
					}
					return nil
				})
			}
		}
	}
	eventually(t, "there is a digest", func() error {
		if _, digests := counts(); digests == 0 {
			return fmt.Errorf("there is none")
		}
		return nil
	})
	one, digests := counts()
	if one > 6 || digests > 2 {
		t.Errorf("%d words and %d digests tell of %d changes", one, digests, 2*flaps)
	}
}
