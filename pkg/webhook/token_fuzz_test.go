package webhook

import (
	"net/http"
	"strings"
	"testing"
	"time"

	"jethook/pkg/egress"
	"jethook/pkg/endpoint"
)

// Whatever an authorization server answers is a token that can be sent, or an
// error that does not give the secret away.
func FuzzTokenAnswer(f *testing.F) {
	f.Add(200, "application/json", []byte(`{"access_token": "t1", "token_type": "bearer", "expires_in": 3600}`))
	f.Add(200, "text/plain", []byte("access_token=t1&expires_in=-9223372036854775808"))
	f.Add(200, "application/json", []byte(`{"access_token": "a\nb", "expires_in": "1e300"}`))
	f.Add(200, "application/json", []byte(`{"access_token": "t", "expires_in": 9223372036854775807}`))
	f.Add(401, "application/json; charset=utf-8", []byte(`{"error": "`+canaryClient+`", "error_uri": "`+canaryClient+`"}`))
	f.Add(302, "", []byte("\xff"))
	f.Fuzz(func(t *testing.T, status int, kind string, body []byte) {
		c := tokenClient{client: clientFunc(func(*http.Request) (egress.Response, error) {
			return egress.Response{Status: status, Header: http.Header{"Content-Type": {kind}, "Location": {kind}}, Body: body}, nil
		})}
		got, err := c.ask(t.Context(), &endpoint.OAuth2{TokenURL: "https://auth.example.com", ClientID: "c", ClientSecret: canaryClient})
		if err != nil {
			if strings.Contains(err.Error(), canaryClient) || len(err.Error()) > maxError {
				t.Fatalf("error %q", err)
			}
			return
		}
		if got.text == "" || len(got.text) > maxToken || strings.ContainsFunc(got.text, func(r rune) bool { return r <= ' ' || r > '~' }) {
			t.Fatalf("token %q", got.text)
		}
		var g grant
		g.keep(got, time.Now())
		if wait := time.Until(g.renew); wait < 0 || wait > maxLife {
			t.Fatalf("renewed in %v", wait)
		}
	})
}
