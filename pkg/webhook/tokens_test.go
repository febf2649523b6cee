package webhook

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"slices"
	"strconv"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"jethook/pkg/delivery"
	"jethook/pkg/egress"
	"jethook/pkg/endpoint"
)

// issuer is an authorization server that gives t1, t2, … each for as long.
type issuer struct {
	life  time.Duration // 0: it does not say
	delay time.Duration
	down  bool
	asked []time.Duration // when, since it began
	began time.Time
}

var errDown = noToken(delivery.FaultConnect, "down")

func (i *issuer) ask(ctx context.Context, _ *endpoint.OAuth2) (token, error) {
	i.asked = append(i.asked, time.Since(i.began))
	text := "t" + strconv.Itoa(len(i.asked))
	select {
	case <-time.After(i.delay):
	case <-ctx.Done():
		return token{}, late(ctx, credentialsOf("a"))
	}
	switch {
	case i.down:
		return token{}, errDown
	case i.life == 0:
		return token{text: text}, nil
	}
	return token{text, time.Now().Add(i.life)}, nil
}

func credentialsOf(client string) *endpoint.OAuth2 {
	return &endpoint.OAuth2{TokenURL: "https://auth.example.com/token", ClientID: client, ClientSecret: "s"}
}

// over calls do with the tokens of a new issuer, on a clock of their own.
func over(t *testing.T, i *issuer, do func(t *testing.T, ts *tokens)) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		i.began = time.Now()
		do(t, newTokens(i.ask))
	})
}

// gets returns a token or the word of the error.
func gets(ctx context.Context, ts *tokens) string {
	text, err := ts.get(ctx, credentialsOf("a"))
	if e, ok := errors.AsType[*unsent](err); ok {
		return string(e.fault)
	}
	return text
}

// A token is kept until shortly before its end.
func TestTokensAreRenewed(t *testing.T) {
	for name, c := range map[string]struct {
		life, renewed time.Duration
	}{
		"an hour":        {time.Hour, time.Hour - renewBefore},
		"a minute":       {time.Minute, 45 * time.Second},
		"no time said":   {0, maxKept - renewBefore},
		"no time at all": {-time.Second, minKept},
	} {
		t.Run(name, func(t *testing.T) {
			i := &issuer{life: c.life}
			over(t, i, func(t *testing.T, ts *tokens) {
				for _, at := range []struct {
					after time.Duration
					want  string
				}{{0, "t1"}, {c.renewed - 1, "t1"}, {c.renewed, "t2"}, {2*c.renewed - 1, "t2"}, {2 * c.renewed, "t3"}} {
					time.Sleep(at.after - time.Since(i.began))
					if got := gets(t.Context(), ts); got != at.want {
						t.Errorf("after %v got %s, want %s", at.after, got, at.want)
					}
				}
			})
		})
	}
}

// The server's word on how long a token lasts is what counts.
func TestTokensLastAsTheServerSays(t *testing.T) {
	for name, answer := range map[string][2]string{
		"JSON":     {"application/json", `{"access_token": "t", "expires_in": 60}`},
		"in words": {"application/json", `{"access_token": "t", "expires_in": "60"}`},
		"a form":   {"application/x-www-form-urlencoded", `access_token=t&expires_in=60`},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				asked := 0
				s := NewSender(clientFunc(func(r *http.Request) (egress.Response, error) {
					if r.URL.Host == "auth.example.com" {
						asked++
					}
					return egress.Response{Status: 200, Header: http.Header{"Content-Type": {answer[0]}}, Body: []byte(answer[1])}, nil
				}), "test")
				ep := newEndpoint(t, "https://example.com", withOAuth2("https://auth.example.com"))
				for after, want := range []int{1, 1, 2, 2} {
					if r := s.Attempt(t.Context(), given(), ep); r.Status != 200 || asked != want {
						t.Errorf("after %d times 30 s: %+v, asked %d times, want %d", after, r, asked, want)
					}
					time.Sleep(30 * time.Second)
				}
			})
		})
	}
}

// While a token is renewed, or cannot be, the old one serves until its end.
func TestTokensServeUntilTheirEnd(t *testing.T) {
	i := &issuer{life: time.Hour}
	over(t, i, func(t *testing.T, ts *tokens) {
		gets(t.Context(), ts)
		time.Sleep(time.Hour - renewBefore)
		i.delay, i.down = 5*time.Second, true
		asked := make(chan string)
		go func() { asked <- gets(t.Context(), ts) }()
		synctest.Wait()
		if got := gets(t.Context(), ts); got != "t1" || time.Since(i.began) != time.Hour-renewBefore {
			t.Errorf("during the renewal got %s", got)
		}
		if got := <-asked; got != "t1" {
			t.Errorf("who renewed got %s", got)
		}
		if got := gets(t.Context(), ts); got != "t1" || len(i.asked) != 2 {
			t.Errorf("after the renewal failed got %s, asked %d times", got, len(i.asked))
		}
		time.Sleep(renewBefore)
		if got := gets(t.Context(), ts); got != string(delivery.FaultConnect) {
			t.Errorf("after its end got %s", got)
		}
	})
}

// A server that gives nothing is asked less and less often, however many want a
// token, and at once as usual when it is back.
func TestTokensBackOff(t *testing.T) {
	i := &issuer{life: time.Hour, down: true}
	over(t, i, func(t *testing.T, ts *tokens) {
		for time.Since(i.began) < 2*time.Minute {
			if got := gets(t.Context(), ts); got != string(delivery.FaultConnect) {
				t.Fatalf("got %s", got)
			}
			time.Sleep(100 * time.Millisecond)
		}
		want := []time.Duration{0, 1, 3, 7, 15, 31, 61, 91}
		for n := range want {
			want[n] *= time.Second
		}
		if !slices.Equal(i.asked, want) {
			t.Errorf("asked at %v, want %v", i.asked, want)
		}
		i.down = false
		time.Sleep(maxBackoff)
		if got := gets(t.Context(), ts); got != "t9" {
			t.Errorf("got %s when it was back", got)
		}
		i.down = true
		time.Sleep(time.Hour)
		gets(t.Context(), ts)
		time.Sleep(minBackoff)
		gets(t.Context(), ts)
		if n := len(i.asked); n != 11 {
			t.Errorf("asked %d times, want 11: a new outage begins anew", n)
		}
	})
}

// A stop is not the server's failure, and who waited asks again.
func TestTokensOutliveWhoAsked(t *testing.T) {
	i := &issuer{life: time.Hour, delay: time.Second}
	over(t, i, func(t *testing.T, ts *tokens) {
		ctx, cancel := context.WithCancel(t.Context())
		first, second := make(chan string), make(chan string)
		go func() { first <- gets(ctx, ts) }()
		synctest.Wait()
		go func() { second <- gets(t.Context(), ts) }()
		synctest.Wait()
		cancel()
		if got := <-first; got != string(delivery.FaultInterrupted) {
			t.Errorf("who was canceled got %s", got)
		}
		if got := <-second; got != "t2" {
			t.Errorf("who waited got %s", got)
		}
	})
}

// Nobody waits longer than he has time, for somebody else's request either.
func TestTokensHaveDeadlines(t *testing.T) {
	i := &issuer{life: time.Hour, delay: 10 * time.Second}
	over(t, i, func(t *testing.T, ts *tokens) {
		first := make(chan string)
		go func() { first <- gets(t.Context(), ts) }()
		synctest.Wait()
		ctx, cancel := context.WithTimeout(t.Context(), 3*time.Second)
		defer cancel()
		if got := gets(ctx, ts); got != string(delivery.FaultTimeout) || time.Since(i.began) != 3*time.Second {
			t.Errorf("got %s after %v", got, time.Since(i.began))
		}
		stopped, stop := context.WithCancel(t.Context())
		stop()
		if got := gets(stopped, ts); got != string(delivery.FaultInterrupted) {
			t.Errorf("got %s after a stop", got)
		}
		if got := <-first; got != "t1" {
			t.Errorf("who asked got %s", got)
		}
	})
}

// Only what is the same in everything shares a token.
func TestTokensAreOfTheirCredentials(t *testing.T) {
	all := []*endpoint.OAuth2{
		{TokenURL: "u", ClientID: "c", ClientSecret: "s"},
		{TokenURL: "v", ClientID: "c", ClientSecret: "s"},
		{TokenURL: "u", ClientID: "d", ClientSecret: "s"},
		{TokenURL: "u", ClientID: "c", ClientSecret: "t"},
		{TokenURL: "uc", ClientSecret: "s"},
		{TokenURL: "u", ClientID: "c", ClientSecret: "s", Audience: "a"},
		{TokenURL: "u", ClientID: "c", ClientSecret: "s", Scopes: []string{"a"}},
		{TokenURL: "u", ClientID: "c", ClientSecret: "s", Scopes: []string{"a", "b"}},
		{TokenURL: "u", ClientID: "c", ClientSecret: "s", Scopes: []string{"ab"}},
	}
	seen := map[grantKey]int{}
	for n, o := range all {
		same := *o
		if keyOf(o) != keyOf(&same) {
			t.Errorf("%d is not itself", n)
		}
		if other, found := seen[keyOf(o)]; found {
			t.Errorf("%d shares a token with %d", n, other)
		}
		seen[keyOf(o)] = n
	}
}

// What is kept is bounded, and what nobody asks for is dropped.
func TestTokensAreBounded(t *testing.T) {
	over(t, &issuer{life: 24 * time.Hour}, func(t *testing.T, ts *tokens) {
		get := func(client string) {
			if _, err := ts.get(t.Context(), credentialsOf(client)); err != nil {
				t.Fatal(err)
			}
		}
		get("idle")
		time.Sleep(idleToken / 2)
		get("busy")
		time.Sleep(idleToken/2 + time.Second)
		get("busy")
		if ts.grants[keyOf(credentialsOf("idle"))] != nil || ts.grants[keyOf(credentialsOf("busy"))] == nil {
			t.Error("kept the wrong one")
		}
		for n := range maxTokens + 100 {
			get(fmt.Sprint(n))
			if n%100 == 0 {
				time.Sleep(time.Millisecond)
				get("busy")
			}
		}
		if len(ts.grants) != maxTokens {
			t.Errorf("%d are kept, want %d", len(ts.grants), maxTokens)
		}
		if ts.grants[keyOf(credentialsOf("busy"))] == nil {
			t.Error("dropped the one in use")
		}
	})
}

// refuser is a receiver that takes certain tokens, and the authorization server
// that gives t1, t2 and so on.
type refuser struct {
	takes  string // the token; empty: none
	got    []string
	issued int
}

func (f *refuser) DoAs(r *http.Request, _ egress.Identity) (egress.Response, error) { return f.Do(r) }

func (f *refuser) Do(r *http.Request) (egress.Response, error) {
	if r.URL.Host == "auth.example.com" {
		f.issued++
		return egress.Response{Status: 200, Header: http.Header{"Content-Type": {"application/json"}},
			Body: fmt.Appendf(nil, `{"access_token": "t%d", "expires_in": 3600}`, f.issued)}, nil
	}
	text := r.Header.Get("Authorization")[len(bearer):]
	f.got = append(f.got, text)
	if text != f.takes {
		return egress.Response{Status: http.StatusUnauthorized}, nil
	}
	return egress.Response{Status: http.StatusOK}, nil
}

// A token that was revoked costs no delivery: the same attempt goes on with a new
// one. A receiver that refuses those too gets no flood of either.
func TestRefusedTokens(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := &refuser{takes: "t1"}
		s := NewSender(f, "test")
		ep := newEndpoint(t, "https://example.com", withOAuth2("https://auth.example.com"))
		expect := func(what string, status int, got ...string) {
			t.Helper()
			f.got = nil
			r := s.Attempt(t.Context(), given(), ep)
			if r.Status != status || !slices.Equal(f.got, got) {
				t.Errorf("%s: %+v with %v, want %d with %v", what, r, f.got, status, got)
			}
		}
		expect("a new token", 200, "t1")
		time.Sleep(time.Minute)
		f.takes = "t2"
		expect("a revoked token", 200, "t1", "t2")
		f.takes = ""
		expect("a young token", 401, "t2")
		time.Sleep(minRefused)
		expect("every token", 401, "t2", "t3")
		f.issued = 100
		for range 100 {
			time.Sleep(time.Second)
			s.Attempt(t.Context(), given(), ep)
		}
		if n := f.issued - 100; n < 9 || n > 11 {
			t.Errorf("asked %d times in 100 s", n)
		}
		if v := delivery.Classify(s.Attempt(t.Context(), given(), ep), nil); v.Reason != delivery.Rejected {
			t.Errorf("verdict %+v", v)
		}
	})
}

// Attempts that are refused at the same time go on with the same new token.
func TestRefusedTogether(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := &refuser{takes: "t2"}
		var mu sync.Mutex
		s := NewSender(clientFunc(func(r *http.Request) (egress.Response, error) {
			time.Sleep(time.Second) // all are under way before one is refused
			mu.Lock()
			defer mu.Unlock()
			return f.Do(r)
		}), "test")
		ep := newEndpoint(t, "https://example.com", withOAuth2("https://auth.example.com"))
		s.Attempt(t.Context(), given(), ep)
		time.Sleep(time.Minute)
		var all sync.WaitGroup
		for range 10 {
			all.Go(func() {
				if r := s.Attempt(t.Context(), given(), ep); r.Status != 200 {
					t.Errorf("%+v", r)
				}
			})
		}
		all.Wait()
		if f.issued != 2 {
			t.Errorf("asked %d times, want 2", f.issued)
		}
	})
}

// An attempt is made anew once, even if nothing is known any more of its tokens.
func TestRefusedTwice(t *testing.T) {
	f := &refuser{}
	var s *Sender
	s = NewSender(clientFunc(func(r *http.Request) (egress.Response, error) {
		if len(f.got) < 10 { // or for ever
			clear(s.tokens.grants)
		}
		return f.Do(r)
	}), "test")
	s.Attempt(t.Context(), given(), newEndpoint(t, "https://example.com", withOAuth2("https://auth.example.com")))
	if !slices.Equal(f.got, []string{"t1", "t2"}) {
		t.Errorf("sent %v", f.got)
	}
}

// Other answers and other kinds of authorization are taken as they are.
func TestOnlyTokensAreTriedAnew(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		for status, change := range map[int]func(*endpoint.Document){
			401: withBearer("fixed"), 403: withOAuth2("https://auth.example.com"), 500: withOAuth2("https://auth.example.com"),
		} {
			f, posts := &refuser{}, 0
			s := NewSender(clientFunc(func(r *http.Request) (egress.Response, error) {
				if r.URL.Host == "auth.example.com" {
					return f.Do(r)
				}
				posts++
				return egress.Response{Status: status}, nil
			}), "test")
			ep := newEndpoint(t, "https://example.com", change)
			s.Attempt(t.Context(), given(), ep)
			time.Sleep(time.Minute)
			if r := s.Attempt(t.Context(), given(), ep); r.Status != status || posts != 2 || f.issued > 1 {
				t.Errorf("%+v after %d posts and %d tokens, want %d", r, posts, f.issued, status)
			}
		}
	})
}
