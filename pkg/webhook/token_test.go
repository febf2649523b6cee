package webhook

import (
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"jethook/pkg/delivery"
	"jethook/pkg/egress"
	"jethook/pkg/endpoint"
	"jethook/pkg/secret"
)

func withOAuth2(tokenURL string, change ...func(*endpoint.OAuth2)) func(*endpoint.Document) {
	return func(d *endpoint.Document) {
		o := &endpoint.OAuth2{TokenURL: tokenURL, ClientID: "jethook+1", ClientSecret: secret.Secret(canaryClient)}
		for _, f := range change {
			f(o)
		}
		d.Auth = &endpoint.Auth{OAuth2: o}
	}
}

// authority is an authorization server over the wire.
type authority struct {
	*httptest.Server
	asked atomic.Int32
}

func newAuthority(t *testing.T, answer http.HandlerFunc) *authority {
	t.Helper()
	a := &authority{}
	a.Server = httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		a.asked.Add(1)
		if err := r.ParseForm(); err != nil { // a body that was not read hides that the client is gone
			t.Error(err)
		}
		answer(w, r)
	}))
	t.Cleanup(a.Close)
	return a
}

// grants answers with a token for an hour, as RFC 6749 has it.
func grants(w http.ResponseWriter, text string) {
	w.Header().Set("Content-Type", "application/json")
	_ = json.NewEncoder(w).Encode(map[string]any{"access_token": text, "token_type": "bearer", "expires_in": 3600}) // the test sees what is missing
}

// The request for a token is the grant of RFC 6749, in either of the two places
// that servers look for credentials, and the token is sent as it came.
func TestTokenRequest(t *testing.T) {
	for name, inForm := range map[string]bool{"in the header": false, "in the form": true} {
		t.Run(name, func(t *testing.T) {
			a := newAuthority(t, func(w http.ResponseWriter, r *http.Request) {
				user, password, header := r.BasicAuth()
				if inForm {
					user, password = r.PostFormValue("client_id"), r.PostFormValue("client_secret")
				}
				if header == inForm {
					w.WriteHeader(http.StatusUnauthorized)
					return
				}
				if user != map[bool]string{false: "jethook%2B1", true: "jethook+1"}[inForm] || password != canaryClient {
					t.Errorf("asked by %s with %s", user, password)
				}
				want := map[string]string{"grant_type": "client_credentials", "scope": "a b", "audience": "https://example.com"}
				for name, value := range want {
					if got := r.PostFormValue(name); got != value {
						t.Errorf("%s is %q, want %q", name, got, value)
					}
				}
				if got := r.UserAgent(); got != "jethook/1.2.3" {
					t.Errorf("asked by %q", got)
				}
				grants(w, canaryToken)
			})
			s := attempt(t, given(), withOAuth2(a.URL, func(o *endpoint.OAuth2) { o.Scopes, o.Audience = []string{"a", "b"}, "https://example.com" }))
			if got := s.header["Authorization"]; len(got) != 1 || got[0] != "Bearer "+canaryToken {
				t.Errorf("sent %q", got)
			}
		})
	}
}

// A server that says it in a form, as some do.
func TestTokenInAForm(t *testing.T) {
	a := newAuthority(t, func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Type", "application/x-www-form-urlencoded")
		fmt.Fprint(w, "access_token=t1&token_type=bearer&expires_in=3600")
	})
	if got := attempt(t, given(), withOAuth2(a.URL)).header.Get("Authorization"); got != "Bearer t1" {
		t.Errorf("sent %q", got)
	}
}

// However many attempts need the same token, it is asked for once.
func TestTokenIsAskedForOnce(t *testing.T) {
	const attempts = 64
	var waiting sync.WaitGroup
	waiting.Add(attempts)
	a := newAuthority(t, func(w http.ResponseWriter, _ *http.Request) {
		waiting.Wait() // until all want it
		grants(w, "t1")
	})
	far := newClient(t)
	s := NewSender(clientFunc(func(r *http.Request) (egress.Response, error) {
		if r.URL.Host == "example.com" {
			if got := r.Header.Get("Authorization"); got != "Bearer t1" {
				t.Errorf("sent %q", got)
			}
			return egress.Response{Status: 200}, nil
		}
		return far.Do(r)
	}), "test")
	ctx := within(t, time.Minute)
	var all sync.WaitGroup
	for i := range attempts {
		// Endpoints with the same credentials share a token.
		ep := newEndpoint(t, "https://example.com", withOAuth2(a.URL), func(d *endpoint.Document) { d.ID = fmt.Sprint("crm", i%3) })
		all.Go(func() {
			waiting.Done()
			if r := s.Attempt(ctx, given(), ep); r.Status != 200 {
				t.Errorf("%+v", r)
			}
		})
	}
	all.Wait()
	if n := a.asked.Load(); n != 1 {
		t.Errorf("asked %d times", n)
	}
}

// An authorization server that fails is the reason that the endpoint's owner sees,
// and the receiver hears nothing.
func TestTokenFailures(t *testing.T) {
	receiver, got := receive(t, ok)
	elsewhere := newAuthority(t, func(w http.ResponseWriter, _ *http.Request) { grants(w, "stolen") })
	text := func(kind, body string) http.HandlerFunc {
		return func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("Content-Type", kind)
			fmt.Fprint(w, body)
		}
	}
	status := func(code int, body string) http.HandlerFunc {
		return func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("Content-Type", "application/json")
			w.WriteHeader(code)
			fmt.Fprint(w, body)
		}
	}
	const none = "the authorization server at 127.0.0.1 did not answer with a token that can be used"
	for name, c := range map[string]struct {
		answer http.HandlerFunc
		fault  delivery.Fault
		want   string
		asked  int32
	}{
		"refused":          {status(401, `{"error": "invalid_client", "error_description": "`+canaryClient+`"}`), delivery.FaultConnect, "the authorization server at 127.0.0.1 answered 401: invalid_client", 2},
		"refused, bare":    {status(403, ""), delivery.FaultConnect, "the authorization server at 127.0.0.1 answered 403", 2},
		"refused with 200": {status(200, `{"error": "invalid_scope"}`), delivery.FaultConnect, "the authorization server at 127.0.0.1 answered 200: invalid_scope", 1},
		"odd code":         {status(400, `{"error": "No luck\u001b[31m, `+canaryClient+`"}`), delivery.FaultConnect, "the authorization server at 127.0.0.1 answered 400", 2},
		"long code":        {status(400, `{"error": "`+strings.Repeat("a", 1000)+`"}`), delivery.FaultConnect, "the authorization server at 127.0.0.1 answered 400", 2},
		"down":             {status(503, "{}"), delivery.FaultConnect, "the authorization server at 127.0.0.1 answered 503", 1},
		"busy":             {status(429, "{}"), delivery.FaultConnect, "the authorization server at 127.0.0.1 answered 429", 1},
		"redirect": {func(w http.ResponseWriter, r *http.Request) {
			http.Redirect(w, r, elsewhere.URL, http.StatusTemporaryRedirect)
		}, delivery.FaultConnect, "the authorization server at 127.0.0.1 answered 307", 1},
		"a page":         {text("text/html", "<p>Hello"), delivery.FaultConnect, none, 1},
		"no token":       {text("application/json", "{}"), delivery.FaultConnect, none, 1},
		"two lines":      {text("application/json", `{"access_token": "a\r\nX-Evil: b"}`), delivery.FaultConnect, none, 1},
		"no ASCII":       {text("application/json", `{"access_token": "é"}`), delivery.FaultConnect, none, 1},
		"large token":    {text("application/json", `{"access_token": "`+strings.Repeat("x", maxToken+1)+`"}`), delivery.FaultConnect, none, 1},
		"endless answer": {endless, delivery.FaultConnect, none, 1},
		"silence": {func(_ http.ResponseWriter, r *http.Request) {
			<-r.Context().Done()
		}, delivery.FaultTimeout, "timed out before 127.0.0.1 answered", 1},
		"hangs up": {func(http.ResponseWriter, *http.Request) { panic(http.ErrAbortHandler) }, delivery.FaultClosed, "127.0.0.1 closed the connection before it answered", 1},
	} {
		t.Run(name, func(t *testing.T) {
			ctx, end := context.WithCancelCause(within(t, time.Minute))
			defer end(nil)
			a := newAuthority(t, func(w http.ResponseWriter, r *http.Request) {
				if c.fault == delivery.FaultTimeout { // the time is over once the server was asked
					end(context.DeadlineExceeded)
				}
				c.answer(w, r)
			})
			s := NewSender(newClient(t), "test")
			ep := newEndpoint(t, receiver, withOAuth2(a.URL+"/token?key="+canaryQuery))
			start := time.Now()
			r := s.Attempt(ctx, given(), ep)
			if r.Fault != c.fault || r.Error != "no access token: "+c.want || r.Status != 0 {
				t.Errorf("%+v\nwant %s: no access token: %s", r, c.fault, c.want)
			}
			for _, g := range s.tokens.grants {
				if g.again.Before(start.Add(minBackoff)) {
					t.Errorf("to be asked again %v after the attempt began, want %v at least", g.again.Sub(start), minBackoff)
				}
				g.again = g.again.Add(time.Hour) // however busy the machine is
			}
			// The next attempt fails without asking.
			if again := s.Attempt(within(t, time.Minute), given(), ep); again.Fault != r.Fault || again.Error != r.Error {
				t.Errorf("then %+v", again)
			}
			if n := a.asked.Load(); n != c.asked {
				t.Errorf("asked %d times, want %d", n, c.asked)
			}
			if v := delivery.Classify(r, nil); v.Outcome != delivery.Retry {
				t.Errorf("outcome %v, want a retry", v)
			}
		})
	}
	if elsewhere.asked.Load() > 0 {
		t.Error("the redirect was followed, with the credentials")
	}
	if len(got) > 0 {
		t.Errorf("the receiver got %q", (<-got).raw)
	}
}

// A server may repeat the secret in the very place of the code that is shown.
func TestTokenErrorsDoNotRepeatTheSecret(t *testing.T) {
	const lower = "only_small_letters"
	for code, want := range map[string]string{"invalid_client": ": invalid_client", lower: "", "small": "", "is_" + lower: ""} {
		a := newAuthority(t, func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("Content-Type", "application/json")
			w.WriteHeader(http.StatusBadRequest)
			fmt.Fprintf(w, `{"error": %q}`, code)
		})
		ep := newEndpoint(t, "https://example.com", withOAuth2(a.URL, func(o *endpoint.OAuth2) { o.ClientSecret = lower }))
		r := NewSender(newClient(t), "test").Attempt(within(t, time.Minute), given(), ep)
		if r.Error != "no access token: the authorization server at 127.0.0.1 answered 400"+want {
			t.Errorf("%s: %s", code, r.Error)
		}
	}
}

func endless(w http.ResponseWriter, r *http.Request) {
	w.Header().Set("Content-Type", "application/json")
	fmt.Fprint(w, `{"access_token": "x", "rest": "`)
	for r.Context().Err() == nil {
		if _, err := w.Write(make([]byte, 32<<10)); err != nil {
			return
		}
	}
}

// The guard judges authorization servers as it judges receivers, and what it
// refuses is as permanent.
func TestTokenFromABlockedAddress(t *testing.T) {
	https := egress.New(egress.Options{Allow: egress.AnyPort(netip.MustParsePrefix("127.0.0.0/8"))})
	t.Cleanup(https.Close)
	for _, c := range []struct {
		client   Client
		tokenURL string
		want     delivery.Fault
	}{
		{newClient(t), "http://10.0.0.1/token", delivery.FaultBlockedAddress},
		{newClient(t), "http://169.254.169.254/token", delivery.FaultBlockedAddress},
		{https, "http://127.0.0.1:1/token", delivery.FaultInvalidRequest},
	} {
		r := NewSender(c.client, "test").Attempt(within(t, time.Minute), given(), newEndpoint(t, "https://127.0.0.1:1", withOAuth2(c.tokenURL)))
		if r.Fault != c.want || !strings.HasPrefix(r.Error, "no access token: ") {
			t.Errorf("%s: %+v, want %s", c.tokenURL, r, c.want)
		}
	}
}
