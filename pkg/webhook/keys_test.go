package webhook

import (
	"net/http"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"jethook/pkg/egress"
	"jethook/pkg/endpoint"
	"jethook/pkg/secret"
	"jethook/pkg/signature"
)

// The private half of secretA1's pair is the seed 0, 1, … 31.
const secretA1 = "whsk_AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8="

// Which keys sign follows the clock, from one attempt to the next.
func TestKeysOverTime(t *testing.T) {
	type key struct {
		text  secret.Secret
		until time.Duration // from the start; 0 is for good
	}
	for name, c := range map[string]struct {
		keys []key
		want map[time.Duration]string // the secrets that sign, by the time of an attempt
	}{
		"both kinds":       {[]key{{secretA, 0}, {secretA1, 0}}, map[time.Duration]string{0: "A A1", time.Hour: "A A1"}},
		"v1a alone":        {[]key{{secretA1, 0}}, map[time.Duration]string{0: "A1"}},
		"rotation":         {[]key{{secretB, 0}, {secretA, time.Hour}}, map[time.Duration]string{0: "B A", time.Hour - 1: "B A", time.Hour: "B", 2 * time.Hour: "B"}},
		"rotation to v1a":  {[]key{{secretA1, 0}, {secretA, time.Hour}}, map[time.Duration]string{0: "A1 A", time.Hour: "A1"}},
		"one after other":  {[]key{{secretA, time.Hour}, {secretB, 2 * time.Hour}, {secretA1, 0}}, map[time.Duration]string{0: "A B A1", time.Hour: "B A1", 2 * time.Hour: "A1"}},
		"expired before":   {[]key{{secretA, -time.Second}, {secretB, 0}}, map[time.Duration]string{0: "B"}},
		"expired, all are": {[]key{{secretA, time.Second}}, map[time.Duration]string{0: "A", time.Minute: ""}},
	} {
		t.Run(name, func(t *testing.T) {
			for after, want := range c.want {
				synctest.Test(t, func(t *testing.T) {
					ep := newEndpoint(t, "https://example.com", func(d *endpoint.Document) {
						d.Secrets = nil
						for _, k := range c.keys {
							s := endpoint.SigningSecret{Secret: k.text}
							if k.until != 0 {
								s.ExpiresAt = time.Now().Add(k.until)
							}
							d.Secrets = append(d.Secrets, s)
						}
					})
					signers(t, ep) // what signs now must not stick
					time.Sleep(after)
					if got := signers(t, ep); got != want {
						t.Errorf("after %v signed by %q, want %q", after, got, want)
					}
				})
			}
		})
	}
}

// signers makes an attempt and returns whose signatures it carries, in order.
func signers(t *testing.T, ep *endpoint.Endpoint) string {
	t.Helper()
	var by []string
	d := given()
	NewSender(clientFunc(func(r *http.Request) (egress.Response, error) {
		for one := range strings.FieldsSeq(r.Header.Get("Webhook-Signature")) {
			by = append(by, signer(t, r.Header, one, d.Event.Body))
		}
		return egress.Response{Status: 200}, nil
	}), "test").Attempt(t.Context(), d, ep)
	return strings.Join(by, " ")
}

func signer(t *testing.T, h http.Header, one string, body []byte) string {
	t.Helper()
	for name, text := range map[string]secret.Secret{"A": secretA, "B": secretB, "A1": secretA1} {
		key, err := signature.ParseKey(text)
		if err != nil {
			t.Fatal(err)
		}
		if signature.Verify([]signature.Key{key}, h.Get(headerID), h.Get(headerTimestamp), one, body, time.Now(), signature.Tolerance) == nil {
			return name
		}
	}
	return "?"
}
