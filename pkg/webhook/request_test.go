package webhook

import (
	"bytes"
	"io"
	"maps"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	standardwebhooks "github.com/standard-webhooks/standard-webhooks/libraries/go"

	"jethook/pkg/delivery"
	"jethook/pkg/egress"
	"jethook/pkg/endpoint"
	"jethook/pkg/event"
	"jethook/pkg/secret"
	"jethook/pkg/signature"
)

// attempt makes an attempt at a receiver and returns what it got.
func attempt(t *testing.T, d *delivery.Delivery, change ...func(*endpoint.Document)) sent {
	t.Helper()
	url, got := receive(t, ok)
	r := NewSender(newClient(t), "1.2.3").Attempt(within(t, time.Minute), d, newEndpoint(t, url+"/hooks?x=1", change...))
	if r.Status != 200 || r.Fault != delivery.FaultNone || r.Error != "" || r.At.IsZero() || r.Duration <= 0 {
		t.Fatalf("result %+v, want a 200", r)
	}
	return <-got
}

// The request is the contract's, to the byte.
func TestRequest(t *testing.T) {
	before := time.Now().Unix()
	s := attempt(t, given())
	stamp, sig := s.header.Get("Webhook-Timestamp"), s.header.Get("Webhook-Signature")
	want := strings.Join([]string{
		"POST /hooks?x=1 HTTP/1.1",
		"Host: " + s.header.Get("Host"),
		"User-Agent: jethook/1.2.3",
		"Content-Length: 8",
		"Accept-Encoding: identity",
		"Content-Type: application/json",
		"Webhook-Attempt: 1",
		"Webhook-Event-Time: 2026-01-02T03:04:05.678Z",
		"Webhook-Event-Type: order.created",
		"Webhook-Id: evt_1",
		"Webhook-Signature: " + sig,
		"Webhook-Timestamp: " + stamp,
	}, "\r\n")
	if s.raw != want {
		t.Errorf("sent\n%s\nwant\n%s", s.raw, want)
	}
	if string(s.body) != `{"a": 1}` {
		t.Errorf("body %q", s.body)
	}
	if at, err := strconv.ParseInt(stamp, 10, 64); err != nil || at < before || at > time.Now().Unix() {
		t.Errorf("timestamp %q is not the attempt's", stamp)
	}
	if !strings.HasPrefix(s.header.Get("Host"), "127.0.0.1:") {
		t.Errorf("host %q", s.header.Get("Host"))
	}
}

// Each of the endpoint's secrets signs, as we and as the specification's own
// library verify; what was changed on the way does not pass.
func TestSignatures(t *testing.T) {
	s := attempt(t, given())
	if n := len(strings.Fields(s.header.Get("Webhook-Signature"))); n != 2 {
		t.Errorf("%d signatures, want one for each secret", n)
	}
	for _, text := range []string{secretA, secretB} {
		key, err := signature.ParseKey(secret.Secret(text))
		if err != nil {
			t.Fatal(err)
		}
		h := s.header
		verify := func(body []byte) error {
			return signature.Verify([]signature.Key{key}, h.Get("Webhook-Id"), h.Get("Webhook-Timestamp"), h.Get("Webhook-Signature"), body, time.Now(), signature.Tolerance)
		}
		library, err := standardwebhooks.NewWebhook(text)
		if err != nil {
			t.Fatal(err)
		}
		if err := verify(s.body); err != nil {
			t.Error(err)
		}
		if err := library.Verify(s.body, h); err != nil {
			t.Error(err)
		}
		if changed := append(slices.Clone(s.body), ' '); verify(changed) == nil || library.Verify(changed, h) == nil {
			t.Error("a changed body passes")
		}
	}
	unsigned := attempt(t, given(), func(d *endpoint.Document) { d.Signing, d.Secrets = endpoint.SigningNone, nil })
	if got, found := unsigned.header["Webhook-Signature"]; found {
		t.Errorf("signature %q without a secret", got)
	}
}

// What differs from attempt to attempt and from event to event.
func TestHeaders(t *testing.T) {
	fields := func(pairs ...string) func(*delivery.Delivery) {
		return func(d *delivery.Delivery) {
			for i := 0; i < len(pairs); i += 2 {
				d.Event.Fields = append(d.Event.Fields, event.Field{Name: pairs[i], Value: pairs[i+1]})
			}
		}
	}
	none := func(*endpoint.Document) {}
	for name, c := range map[string]struct {
		delivery func(*delivery.Delivery)
		endpoint func(*endpoint.Document)
		want     map[string]string // "" is absent
	}{
		"third attempt": {func(d *delivery.Delivery) { d.State.Attempts = 2 }, none, map[string]string{"Webhook-Attempt": "3", "Webhook-Replay": ""}},
		"replay":        {func(d *delivery.Delivery) { d.State.Replay = true }, none, map[string]string{"Webhook-Attempt": "1", "Webhook-Replay": "true"}},
		"whole second": {func(d *delivery.Delivery) { d.Event.Time = time.Unix(1767323045, 0) }, none,
			map[string]string{"Webhook-Event-Time": "2026-01-02T03:04:05Z"}},
		"nanosecond": {func(d *delivery.Delivery) { d.Event.Time = time.Unix(1767323045, 1) }, none,
			map[string]string{"Webhook-Event-Time": "2026-01-02T03:04:05.000000001Z"}},
		"content type":       {fields("content-type", "text/plain; charset=utf-8"), none, map[string]string{"Content-Type": "text/plain; charset=utf-8"}},
		"empty content type": {fields("content-type", ""), none, map[string]string{"Content-Type": "application/json"}},
		"CloudEvents": {fields("ce-id", "42", "ce-source", "/shop", "ce-specversion", "1.0"), none,
			map[string]string{"Ce-Id": "42", "Ce-Source": "/shop", "Ce-Specversion": "1.0", "Webhook-Id": "evt_1"}},
		"trace": {fields("traceparent", "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01", "tracestate", "a=b"), none,
			map[string]string{"Traceparent": "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01", "Tracestate": "a=b"}},
		"the endpoint's": {fields(), func(d *endpoint.Document) {
			d.Headers = map[string]string{"X-Env": "prod", "authorization": "Bearer x"}
		},
			map[string]string{"X-Env": "prod", "Authorization": "Bearer x"}},
		// No document and no event gets that far, and if one did:
		"ours stay ours": {fields("ce-webhook-id", "x"), func(d *endpoint.Document) {
			d.Headers = map[string]string{"User-Agent": "x", "Webhook-Id": "x", "Webhook-Timestamp": "x", "Webhook-Signature": "x",
				"Webhook-Event-Type": "x", "Webhook-Event-Time": "x", "Webhook-Attempt": "x", "Content-Type": "x", "Accept-Encoding": "gzip"}
		}, map[string]string{"User-Agent": "jethook/1.2.3", "Webhook-Id": "evt_1", "Webhook-Event-Type": "order.created", "Webhook-Attempt": "1",
			"Webhook-Event-Time": "2026-01-02T03:04:05.678Z", "Content-Type": "application/json", "Accept-Encoding": "identity"}},
	} {
		t.Run(name, func(t *testing.T) {
			d := given()
			c.delivery(d)
			s := attempt(t, d, c.endpoint)
			for header, want := range c.want {
				if got := s.header[header]; want == "" && got != nil || want != "" && !slices.Equal(got, []string{want}) {
					t.Errorf("%s: %q, want %q once", header, got, want)
				}
			}
		})
	}
}

// Any bytes are a body, none at all too.
func TestBodies(t *testing.T) {
	for name, body := range map[string][]byte{
		"none": nil, "empty": {}, "binary": {0, 255, '\r', '\n', 0x80}, "large": bytes.Repeat([]byte("x"), 900<<10),
	} {
		t.Run(name, func(t *testing.T) {
			d := given()
			d.Event.Body = body
			s := attempt(t, d)
			if !bytes.Equal(s.body, body) {
				t.Errorf("%d bytes arrived, want %d", len(s.body), len(body))
			}
			if got := s.header.Get("Content-Length"); got != strconv.Itoa(len(body)) {
				t.Errorf("content-length %s, want %d", got, len(body))
			}
			if s.header.Get("Transfer-Encoding") != "" {
				t.Error("the body came in chunks")
			}
		})
	}
}

// A request shares nothing with the endpoint that the client could change for
// the next one, and does not copy the body.
func TestRequestSharesWhatItMay(t *testing.T) {
	ep := newEndpoint(t, "https://example.com/hooks", func(d *endpoint.Document) { d.Headers = map[string]string{"X-Env": "prod"} })
	parsed, err := ep.Parsed()
	if err != nil {
		t.Fatal(err)
	}
	header := parsed.Header
	before := maps.Clone(header)
	d := given()
	s := NewSender(clientFunc(func(r *http.Request) (egress.Response, error) {
		for name := range r.Header {
			delete(r.Header, name)
		}
		body, err := r.GetBody()
		if err != nil {
			t.Fatal(err)
		}
		all, err := io.ReadAll(body)
		if err != nil || !bytes.Equal(all, d.Event.Body) {
			t.Errorf("the body cannot be read again: %q, %v", all, err)
		}
		return egress.Response{Status: 200}, nil
	}), "test")
	s.Attempt(t.Context(), d, ep)
	if !maps.EqualFunc(before, header, slices.Equal) {
		t.Errorf("the endpoint's headers became %v", header)
	}
	d.Event.Body = make([]byte, 1<<20)
	req := s.request(t.Context(), d, parsed, time.Now(), "")
	d.Event.Body[0] = 'x'
	var first [1]byte
	if _, err := io.ReadFull(req.Body, first[:]); err != nil || first[0] != 'x' {
		t.Error("the body was copied")
	}
}

// What an endpoint does not ask for costs it nothing.
func BenchmarkAttempt(b *testing.B) {
	s := NewSender(clientFunc(func(r *http.Request) (egress.Response, error) {
		if r.URL.Host == "auth.example.com" {
			return egress.Response{Status: 200, Header: http.Header{"Content-Type": {"application/json"}}, Body: []byte(`{"access_token": "t1"}`)}, nil
		}
		return egress.Response{Status: 200}, nil
	}), "test")
	d := given()
	d.Event.Body = make([]byte, 512)
	for name, change := range map[string]func(*endpoint.Document){
		"plain":  func(*endpoint.Document) {},
		"basic":  basic("user", "password"),
		"oauth2": withOAuth2("https://auth.example.com"),
		"extra": func(d *endpoint.Document) {
			d.ExtraSignatures = []endpoint.ExtraSignature{{Header: "X-Sig", Secret: "s", Over: "{timestamp}.{body}", Value: "t={timestamp},v1={signature}"}}
		},
	} {
		b.Run(name, func(b *testing.B) {
			ep := newEndpoint(b, "https://example.com/hooks", change)
			b.ReportAllocs()
			for b.Loop() {
				s.Attempt(b.Context(), d, ep)
			}
		})
	}
}
