//go:build conformance

// Package conformance asks other implementations of Standard Webhooks for their
// opinion on our signatures. It needs Node.js and npm, so it is not among the
// tests that run everywhere: .ci/run runs it with -tags conformance.
package conformance

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"os/exec"
	"strings"
	"testing"
	"time"

	"net/netip"

	"jethook/pkg/delivery"
	"jethook/pkg/egress"
	"jethook/pkg/endpoint"
	"jethook/pkg/event"
	"jethook/pkg/receiver"
	"jethook/pkg/secret"
	"jethook/pkg/signature"
	"jethook/pkg/webhook"
)

// hook is a line of verify.mjs's input.
type hook struct {
	Secret  string            `json:"secret"`
	Headers map[string]string `json:"headers"`
	Body    []byte            `json:"body"`
}

func TestTheJavaScriptLibraryAcceptsOurRequests(t *testing.T) {
	install(t)
	var hooks []hook
	var want []string
	for i, body := range []string{`{}`, `{"total": 12.5}`, `{"€":"café"}`, `[` + strings.Repeat(`"x",`, 10000) + `1]`} {
		old, fresh := signature.NewSecret(), signature.NewSecret()
		request := send(t, fmt.Sprintf("evt_%d", i), []byte(body), []secret.Secret{fresh, old})
		headers := signed(request)
		// Both secrets of a rotation are accepted, a stranger's is not, nor is
		// another body.
		for _, c := range []struct {
			secret secret.Secret
			body   []byte
			ok     bool
		}{
			{fresh, request.Body, true}, {old, request.Body, true},
			{signature.NewSecret(), request.Body, false}, {fresh, append([]byte(" "), request.Body...), false},
		} {
			hooks = append(hooks, hook{c.secret.Reveal(), headers, c.body})
			want = append(want, map[bool]string{true: "ok", false: "WebhookVerificationError"}[c.ok])
		}
	}
	for i, got := range verdicts(t, hooks) {
		if !strings.HasPrefix(got, want[i]) {
			t.Errorf("webhook %d: the library says %q, want %s", i, got, want[i])
		}
	}
}

// OpenSSL accepts our signatures of v1a with the public key alone, beside others and
// in any place.
func TestOpenSSLAcceptsOurAsymmetricSignatures(t *testing.T) {
	install(t)
	var hooks []hook
	var want []string
	for i, body := range []string{``, `{"total": 12.5}`, `{"€":"café"}`, strings.Repeat("x", 100000)} {
		old, fresh, shared := signature.NewSigningKey(), signature.NewSigningKey(), signature.NewSecret()
		request := send(t, fmt.Sprintf("evt_%d", i), []byte(body), []secret.Secret{fresh, shared, old})
		for _, c := range []struct {
			secret secret.Secret
			body   []byte
			ok     bool
		}{
			{fresh, request.Body, true}, {old, request.Body, true},
			{signature.NewSigningKey(), request.Body, false}, {fresh, append([]byte(" "), request.Body...), false},
		} {
			key, err := signature.ParseKey(c.secret)
			if err != nil {
				t.Fatal(err)
			}
			hooks = append(hooks, hook{key.Public(), signed(request), c.body})
			want = append(want, map[bool]string{true: "ok", false: "NoMatch"}[c.ok])
		}
	}
	for i, got := range verdicts(t, hooks) {
		if !strings.HasPrefix(got, want[i]) {
			t.Errorf("webhook %d: OpenSSL says %q, want %s", i, got, want[i])
		}
	}
}

// install installs the JavaScript library.
func install(t *testing.T) {
	t.Helper()
	npm := exec.CommandContext(t.Context(), "npm", "ci", "--silent", "--no-audit", "--no-fund")
	if out, err := npm.CombinedOutput(); err != nil {
		t.Fatalf("npm ci: %v\n%s", err, out)
	}
}

// signed returns the headers that a verifier reads.
func signed(r receiver.Request) map[string]string {
	headers := map[string]string{}
	for _, name := range []string{"webhook-id", "webhook-timestamp", "webhook-signature"} {
		headers[name] = r.Header.Get(name)
	}
	return headers
}

// send makes a real attempt and returns the request that arrived.
func send(t *testing.T, id string, body []byte, secrets []secret.Secret) receiver.Request {
	t.Helper()
	got := make(chan receiver.Request, 1)
	r := receiver.New(receiver.Options{OnRequest: func(r receiver.Request) { got <- r }})
	url, err := r.Listen("127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer func() {
		if err := r.Close(); err != nil {
			t.Error(err)
		}
	}()
	document := endpoint.NewDocument()
	document.Tenant, document.ID, document.URL, document.Events = "acme", "crm", url, []string{">"}
	for _, s := range secrets {
		document.Secrets = append(document.Secrets, endpoint.SigningSecret{Secret: s})
	}
	ep, err := endpoint.Compile(document)
	if err != nil {
		t.Fatal(err)
	}
	client := egress.New(egress.Options{AllowHTTP: true, Allow: egress.AnyPort(netip.MustParsePrefix("127.0.0.0/8"))})
	defer client.Close()
	d := delivery.New(event.New(event.Message{Tenant: "acme", Type: "order.created", Body: body, Time: time.Now(),
		Header: map[string][]string{"Nats-Msg-Id": {id}}}), "crm")
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	if result := webhook.NewSender(client, "test").Attempt(ctx, &d, ep); result.Status != 200 {
		t.Fatalf("attempt: %+v", result)
	}
	return <-got
}

func verdicts(t *testing.T, hooks []hook) []string {
	t.Helper()
	var in bytes.Buffer
	for _, h := range hooks {
		if err := json.NewEncoder(&in).Encode(h); err != nil {
			t.Fatal(err)
		}
	}
	cmd := exec.CommandContext(t.Context(), "node", "verify.mjs")
	cmd.Stdin = &in
	out, err := cmd.CombinedOutput()
	if err != nil {
		t.Fatalf("node verify.mjs: %v\n%s", err, out)
	}
	var lines []string
	for s := bufio.NewScanner(bytes.NewReader(out)); s.Scan(); {
		lines = append(lines, s.Text())
	}
	if len(lines) != len(hooks) {
		t.Fatalf("%d verdicts for %d webhooks:\n%s", len(lines), len(hooks), out)
	}
	return lines
}
