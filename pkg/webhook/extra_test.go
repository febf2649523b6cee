package webhook

import (
	"bytes"
	"maps"
	"net/http"
	"runtime"
	"slices"
	"strings"
	"testing"
	"time"

	"jethook/pkg/endpoint"
)

// Each value was computed with openssl, GitHub's is in its documentation too.
func TestExtraSignatures(t *testing.T) {
	for name, c := range map[string]struct {
		x                   endpoint.ExtraSignature
		id, timestamp, body string
		want                string
	}{
		"GitHub": {
			endpoint.ExtraSignature{Secret: "It's a Secret to Everybody", Value: "sha256={signature}"},
			"evt_1", "1614265330", "Hello, World!",
			"sha256=757107ea0eb2509fc211221cce984b8a37570b6d7586c22c46f4379c8b043e17",
		},
		// The secret's text is the key, though it looks like base64 with a prefix.
		"Stripe": {
			endpoint.ExtraSignature{Secret: "whsec_5WbX5kEWLlfzsGNjH64I8lOOqUB6e8FH", Over: "{timestamp}.{body}", Value: "t={timestamp},v1={signature}", Encoding: endpoint.EncodingHex},
			"evt_1", "1614265330", `{"id": "evt_1"}`,
			"t=1614265330,v1=11c1de2ddaf6dc397cc8b665ed3cc58397a2d6c5ce4c7a46ed3a6d09ed776413",
		},
		"Slack": {
			endpoint.ExtraSignature{Secret: "8f742231b10e8888abcd99yyyzzz85a5", Over: "v0:{timestamp}:{body}", Value: "v0={signature}"},
			"evt_1", "1531420618", "token=xyz&team_id=T1",
			"v0=71b0a7e79a0e37393adc80ac96f8aeffcbcdbf0ff8a0506259cf6bd02e6e13f2",
		},
		"Shopify": {
			endpoint.ExtraSignature{Secret: "hush", Encoding: endpoint.EncodingBase64},
			"evt_1", "1614265330", `{"id":820982911946154508}`,
			"qBvrsZF7RfB1iS6BX6IHqJTp5L911P7intnPeTPsH0I=",
		},
		// Neither a body nor a secret is text, and a body that looks like a template is none.
		"any bytes": {
			endpoint.ExtraSignature{Secret: "k\u00e9y", Over: "{id}.{body}.{timestamp}", Value: "{id}/{timestamp}/{signature}"},
			"evt_1", "1614265330", "\xff\x00{id}{body}",
			"evt_1/1614265330/0e9370df7ee8f436612df54939108dc34ffb28f70624808b3389d3b11270e388",
		},
	} {
		t.Run(name, func(t *testing.T) {
			if got := extraSignature(c.x, message{c.id, c.timestamp, []byte(c.body)}); got != c.want {
				t.Errorf("got  %s\nwant %s", got, c.want)
			}
		})
	}
}

// An extra signature is one header more, under the name that the document gives,
// and the request is otherwise what it is without.
func TestExtraSignaturesAreSentBeside(t *testing.T) {
	at := time.Unix(1614265330, 0)
	request := func(change ...func(*endpoint.Document)) *http.Request {
		of, err := newEndpoint(t, "https://example.com/hooks", change...).Parsed()
		if err != nil {
			t.Fatal(err)
		}
		d := given()
		d.Event.Body = []byte("Hello, World!")
		return NewSender(nil, "test").request(t.Context(), d, of, at, "")
	}
	plain := request()
	signed := request(func(d *endpoint.Document) {
		d.ExtraSignatures = []endpoint.ExtraSignature{
			{Header: "x-hub-signature-256", Secret: "It's a Secret to Everybody", Value: "sha256={signature}"},
			{Header: "X-Id", Secret: "s", Value: "{id},{timestamp},{signature}"},
			// No document gets that far, and if one did:
			{Header: "Webhook-Signature", Secret: "s"},
		}
	})
	if got := signed.Header["X-Hub-Signature-256"]; !slices.Equal(got, []string{"sha256=757107ea0eb2509fc211221cce984b8a37570b6d7586c22c46f4379c8b043e17"}) {
		t.Errorf("sent %q", got)
	}
	if got := signed.Header.Get("X-Id"); !strings.HasPrefix(got, "evt_1,1614265330,") {
		t.Errorf("sent %q, want the id and the time of webhook-timestamp", got)
	}
	delete(signed.Header, "X-Hub-Signature-256")
	delete(signed.Header, "X-Id")
	if !maps.EqualFunc(plain.Header, signed.Header, slices.Equal) || plain.ContentLength != signed.ContentLength {
		t.Errorf("sent\n%v\nand without extra signatures\n%v", signed.Header, plain.Header)
	}
}

// A large body is signed where it is.
func TestExtraSignaturesDoNotCopyTheBody(t *testing.T) {
	m := message{"evt_1", "1614265330", bytes.Repeat([]byte("x"), 8<<20)}
	var before, after runtime.MemStats
	runtime.ReadMemStats(&before)
	extraSignature(endpoint.ExtraSignature{Secret: "s", Over: "{id}{timestamp}{body}"}, m)
	runtime.ReadMemStats(&after)
	if grown := after.TotalAlloc - before.TotalAlloc; grown > 1<<20 {
		t.Errorf("%d bytes were allocated", grown)
	}
}
