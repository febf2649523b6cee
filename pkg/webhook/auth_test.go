package webhook

import (
	"bytes"
	"context"
	"fmt"
	"log"
	"net/http"
	"net/url"
	"strings"
	"testing"

	"jethook/pkg/delivery"
	"jethook/pkg/egress"
	"jethook/pkg/endpoint"
	"jethook/pkg/event"
	"jethook/pkg/secret"
)

func basic(user, password string) func(*endpoint.Document) {
	return func(d *endpoint.Document) {
		d.Auth = &endpoint.Auth{Basic: &endpoint.BasicAuth{User: user, Password: secret.Secret(password)}}
	}
}

func withBearer(token string) func(*endpoint.Document) {
	return func(d *endpoint.Document) { d.Auth = &endpoint.Auth{Bearer: secret.Secret(token)} }
}

// What an endpoint asks for is what is sent, whatever else sets the header.
func TestAuthorization(t *testing.T) {
	for name, c := range map[string]struct {
		endpoint func(*endpoint.Document)
		want     string
	}{
		// RFC 7617 has these two.
		"basic":        {basic("Aladdin", "open sesame"), "Basic QWxhZGRpbjpvcGVuIHNlc2FtZQ=="},
		"basic UTF-8":  {basic("test", "123£"), "Basic dGVzdDoxMjPCow=="},
		"basic colon":  {basic("a", "b:c"), "Basic YTpiOmM="},
		"basic base64": {basic("a", "~~~???"), "Basic YTp+fn4/Pz8="},
		"bearer":       {withBearer("mF_9.B5f-4.1JqM"), "Bearer mF_9.B5f-4.1JqM"},
	} {
		t.Run(name, func(t *testing.T) {
			d := given()
			d.Event.Fields = append(d.Event.Fields, event.Field{Name: "authorization", Value: "the event's"})
			s := attempt(t, d, c.endpoint, func(d *endpoint.Document) {
				d.Headers = map[string]string{"authorization": "the document's"}
				d.ExtraSignatures = []endpoint.ExtraSignature{{Header: "Authorization", Secret: "s"}}
			})
			if got := s.header["Authorization"]; len(got) != 1 || got[0] != c.want {
				t.Errorf("sent %q, want %q", got, c.want)
			}
		})
	}
}

// A body larger than the endpoint takes is not sent, and says why.
func TestMaxBody(t *testing.T) {
	sent := 0
	s := NewSender(clientFunc(func(*http.Request) (egress.Response, error) {
		sent++
		return egress.Response{Status: 200}, nil
	}), "test")
	for size, most := range map[int]int{0: 0, 10: 0, 11: 11, 12: 20} {
		d := given()
		d.Event.Body = make([]byte, size)
		sent = 0
		if r := s.Attempt(t.Context(), d, newEndpoint(t, "https://example.com", maxBody(most))); r.Status != 200 || sent != 1 {
			t.Errorf("%d bytes with max_body %d: %+v", size, most, r)
		}
	}
	d := given()
	d.Event.Body = make([]byte, 1025)
	sent = 0
	r := s.Attempt(t.Context(), d, newEndpoint(t, "https://example.com", maxBody(1024)))
	if r.Fault != delivery.FaultInvalidRequest || sent != 0 || r.At.IsZero() || !strings.Contains(r.Error, "1025") || !strings.Contains(r.Error, "1024") {
		t.Errorf("%+v, want an invalid request that says 1025 and 1024 bytes", r)
	}
}

func maxBody(n int) func(*endpoint.Document) { return func(d *endpoint.Document) { d.MaxBody = n } }

// logged returns what is written by way of the standard logger, which net/http
// writes to, from now on.
func logged(t *testing.T) *bytes.Buffer {
	t.Helper()
	var b bytes.Buffer
	before := log.Writer()
	log.SetOutput(&b)
	t.Cleanup(func() { log.SetOutput(before) })
	return &b
}

// Canaries stand for every secret of an endpoint.
const (
	canaryHMAC     = "canary-hmac-1"
	canaryPassword = "canary-password-2"
	canaryBearer   = "canary/bearer+3"
	canaryClient   = "canary-client-secret-4"
	canaryToken    = "canary-access-token-5"
	canaryHeader   = "canary-header-6"
	canaryQuery    = "canary%2Fquery-7"
)

// Whatever happens and whoever repeats what, no secret is in a result or a log.
func TestNoSecretsInResults(t *testing.T) {
	out := logged(t)
	for name, auth := range map[string]func(*endpoint.Document){
		"basic": basic("user", canaryPassword), "bearer": withBearer(canaryBearer), "oauth2": withOAuth2("https://auth.example.com/token?x=" + canaryQuery),
	} {
		for what, far := range echoes() {
			t.Run(name+"/"+what, func(t *testing.T) {
				ep := newEndpoint(t, "https://example.com/hooks?key="+canaryQuery, auth, func(d *endpoint.Document) {
					d.Headers = map[string]string{"X-Api-Key": canaryHeader, "X-Other": "Token " + canaryHeader}
					d.ExtraSignatures = []endpoint.ExtraSignature{{Header: "X-Sig", Secret: canaryHMAC}}
				})
				r := NewSender(clientFunc(far), "test").Attempt(t.Context(), given(), ep)
				if r.Error == "" {
					t.Fatalf("%+v, want a failure", r)
				}
				text := fmt.Sprintf("%+v %#v", r, r)
				const basic = "dXNlcjpjYW5hcnktcGFzc3dvcmQtMg" // user and canaryPassword
				for _, secret := range []string{"canary", basic, secretA[6:], secretB[6:]} {
					if strings.Contains(text, secret) {
						t.Errorf("%q in %s", secret, text)
					}
				}
			})
		}
	}
	if out.Len() > 0 {
		t.Errorf("logged %q", out)
	}
}

// echoes are far sides that repeat what they get, in answers and as good as it
// goes in failures.
func echoes() map[string]func(*http.Request) (egress.Response, error) {
	token := func(r *http.Request) bool { return r.URL.Host == "auth.example.com" }
	granted := func() (egress.Response, error) {
		return egress.Response{Status: 200, Header: http.Header{"Content-Type": {"application/json"}}, Body: []byte(`{"access_token":"` + canaryToken + `"}`)}, nil
	}
	dump := func(r *http.Request) []byte {
		var b bytes.Buffer
		_ = r.ParseForm() // what cannot be parsed is none
		user, password, _ := r.BasicAuth()
		query, _ := url.QueryUnescape(r.URL.RawQuery)
		_, alone, _ := strings.Cut(r.Header.Get("Authorization"), " ")
		fmt.Fprint(&b, alone, " ", strings.ReplaceAll(alone, "/", `\/`), " ", r.Header.Get("Authorization"), " ", user, password, " ", r.URL.RawQuery, " ", query, " ", r.Header.Get("X-Api-Key"), r.Header["X-Other"], r.PostForm)
		return b.Bytes()
	}
	return map[string]func(*http.Request) (egress.Response, error){
		"receiver repeats the request": func(r *http.Request) (egress.Response, error) {
			if token(r) {
				return granted()
			}
			return egress.Response{Status: 401, Body: dump(r), Header: http.Header{"X-Request-Id": {string(dump(r))}, "Location": {"https://example.com/" + string(dump(r))}}}, nil
		},
		"receiver repeats late": func(r *http.Request) (egress.Response, error) {
			if token(r) {
				return granted()
			}
			// The secret lies across the end of what is shown.
			return egress.Response{Status: 500, Body: append(bytes.Repeat([]byte(" x\n"), 260), dump(r)...)}, nil
		},
		"authorization server repeats the request": func(r *http.Request) (egress.Response, error) {
			if !token(r) {
				return egress.Response{Status: 400, Body: dump(r)}, nil
			}
			return egress.Response{Status: 400, Header: http.Header{"Content-Type": {"application/json"}},
				Body: []byte(`{"error": "` + canaryClient + `", "error_description": "` + string(dump(r)) + `", "error_uri": "` + canaryClient + `"}`)}, nil
		},
		"authorization server repeats it in text": func(r *http.Request) (egress.Response, error) {
			if !token(r) {
				return egress.Response{Status: 400, Body: dump(r)}, nil
			}
			return egress.Response{Status: 200, Header: http.Header{"Content-Type": {"text/html"}}, Body: dump(r)}, nil
		},
		"no connection": func(r *http.Request) (egress.Response, error) {
			return egress.Response{}, &egress.Error{Failure: egress.Closed, Host: r.URL.Hostname(), Err: fmt.Errorf("%s %s", r.URL, dump(r))}
		},
		"unknown failure": func(r *http.Request) (egress.Response, error) {
			return egress.Response{}, fmt.Errorf("%s %s", r.URL, dump(r))
		},
		"canceled": func(r *http.Request) (egress.Response, error) {
			return egress.Response{}, &egress.Error{Failure: egress.Canceled, Host: r.URL.Hostname(), Err: context.Canceled}
		},
	}
}
