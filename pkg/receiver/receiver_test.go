package receiver

import (
	"context"
	"crypto/hmac"
	"crypto/sha256"
	"encoding/base64"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"reflect"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"jethook/pkg/secret"
	"jethook/pkg/signature"

	"go.uber.org/goleak"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// rawKey is the key inside testSecret.
const rawKey = "0123456789abcdef0123456789abcdef"

func testKey(t *testing.T) signature.Key {
	t.Helper()
	text := "whsec_" + base64.StdEncoding.EncodeToString([]byte(rawKey))
	key, err := signature.ParseKey(secret.Secret(text))
	if err != nil {
		t.Fatal(err)
	}
	return key
}

// newPost returns a webhook with the headers that jethook sends, signed with
// rawKey as Standard Webhooks says, computed here from first principles.
func newPost(ctx context.Context, url, id, body string) *http.Request {
	hr := httptest.NewRequestWithContext(ctx, http.MethodPost, url, strings.NewReader(body))
	hr.RequestURI = "" // so that a client may send it, too
	stamp := fmt.Sprint(time.Now().Unix())
	mac := hmac.New(sha256.New, []byte(rawKey))
	fmt.Fprintf(mac, "%s.%s.%s", id, stamp, body)
	hr.Header.Set("webhook-id", id)
	hr.Header.Set("webhook-timestamp", stamp)
	hr.Header.Set("webhook-signature", "v1,"+base64.StdEncoding.EncodeToString(mac.Sum(nil)))
	return hr
}

// serve passes one request through the receiver and returns its answer.
func serve(r *Receiver, hr *http.Request) *httptest.ResponseRecorder {
	w := httptest.NewRecorder()
	r.ServeHTTP(w, hr)
	return w
}

// recorded returns options that keep every reported request in the slice.
func recorded(o Options) (Options, *[]Request) {
	var got []Request
	o.OnRequest = func(req Request) { got = append(got, req) }
	return o, &got
}

func TestRequestIsReportedAsSent(t *testing.T) {
	o, got := recorded(Options{})
	hr := newPost(t.Context(), "/", "evt_1", `{"n":1}`)
	hr.Header.Set("webhook-event-type", "order.created")
	hr.Header.Set("webhook-event-time", "2026-03-04T05:06:07.5Z")
	hr.Header.Set("webhook-attempt", "3")
	hr.Header.Set("webhook-replay", "true")
	before := time.Now()

	if w := serve(New(o), hr); w.Code != http.StatusOK {
		t.Fatalf("status %d, want 200", w.Code)
	}
	if len(*got) != 1 {
		t.Fatalf("%d requests reported, want 1", len(*got))
	}
	req := (*got)[0]
	if req.At.Before(before) || req.At.After(time.Now()) {
		t.Errorf("At = %v, not while the request was served", req.At)
	}
	req.At = time.Time{}
	want := Request{
		EventID: "evt_1", EventType: "order.created",
		EventTime: time.Date(2026, 3, 4, 5, 6, 7, 500_000_000, time.UTC),
		Attempt:   3, Replay: true, Body: []byte(`{"n":1}`), Header: hr.Header,
		Status: 200, Verified: Unchecked,
	}
	if !reflect.DeepEqual(req, want) {
		t.Errorf("reported\n%+v\nwant\n%+v", req, want)
	}
}

func TestHeadersThatSayNothing(t *testing.T) {
	for _, value := range []string{"", "0", "-1", "two", "99999999999999999999", "1.5"} {
		o, got := recorded(Options{})
		hr := newPost(t.Context(), "/", "evt_1", "")
		hr.Header.Set("webhook-attempt", value)
		hr.Header.Set("webhook-event-time", value)
		hr.Header.Set("webhook-replay", value)
		serve(New(o), hr)
		if req := (*got)[0]; req.Attempt != 0 || !req.EventTime.IsZero() || req.Replay {
			t.Errorf("from %q: attempt %d, time %v, replay %v", value, req.Attempt, req.EventTime, req.Replay)
		}
	}
}

func TestScriptedStatus(t *testing.T) {
	tests := map[string]struct {
		options Options
		random  float64
		want    int
	}{
		"nothing asked":                    {Options{}, 0, 200},
		"a status alone is for all":        {Options{Status: 404}, 0.99, 404},
		"a success may be asked for":       {Options{Status: 204}, 0, 204},
		"below the share":                  {Options{Fail: 0.3}, 0.29, 503},
		"at the share":                     {Options{Fail: 0.3}, 0.3, 200},
		"below the share, with a status":   {Options{Fail: 0.3, Status: 429}, 0, 429},
		"above the share, with a status":   {Options{Fail: 0.3, Status: 429}, 0.9, 200},
		"a share of one is every request":  {Options{Fail: 1, Status: 500}, 0.9999, 500},
		"the smallest share is not nobody": {Options{Fail: 0.0001}, 0, 503},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			tt.options.Random = func() float64 { return tt.random }
			r := New(tt.options)
			if w := serve(r, newPost(t.Context(), "/", "evt_1", "{}")); w.Code != tt.want {
				t.Errorf("status %d, want %d", w.Code, tt.want)
			}
			ok := 0
			if tt.want < 300 {
				ok = 1
			}
			want := Stats{Requests: 1, OK: ok, Failed: 1 - ok, Distinct: ok}
			if got := r.Stats(); got != want {
				t.Errorf("stats %+v, want %+v", got, want)
			}
		})
	}
}

func TestSignatures(t *testing.T) {
	tests := map[string]struct {
		spoil func(*http.Request)
		want  Verified
	}{
		"as signed":             {func(*http.Request) {}, Yes},
		"one good among others": {func(hr *http.Request) { prefix(hr, "v1a,AAAA v1,AAAA ") }, Yes},
		"another id":            {func(hr *http.Request) { hr.Header.Set("webhook-id", "evt_2") }, No},
		"another body":          {func(hr *http.Request) { hr.Body = io.NopCloser(strings.NewReader("{ }")) }, No},
		"no signature":          {func(hr *http.Request) { hr.Header.Del("webhook-signature") }, No},
		"no timestamp":          {func(hr *http.Request) { hr.Header.Del("webhook-timestamp") }, No},
		"too old":               {func(*http.Request) { <-time.After(signature.Tolerance + 2*time.Second) }, No},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				o, got := recorded(Options{Keys: []signature.Key{testKey(t)}})
				r := New(o)
				hr := newPost(t.Context(), "/", "evt_1", "{}")
				tt.spoil(hr)
				w := serve(r, hr)

				wantStatus, bad := http.StatusOK, 0
				if tt.want == No {
					wantStatus, bad = http.StatusUnauthorized, 1
				}
				req := (*got)[0]
				if w.Code != wantStatus || req.Status != wantStatus || req.Verified != tt.want {
					t.Errorf("answered %d, reported %d %q, want %d %q", w.Code, req.Status, req.Verified, wantStatus, tt.want)
				}
				if (req.VerifyError != "") != (tt.want == No) {
					t.Errorf("verify error %q with verdict %q", req.VerifyError, req.Verified)
				}
				if stats := r.Stats(); stats.BadSignatures != bad || stats.Failed != bad {
					t.Errorf("stats %+v, want %d bad signatures", stats, bad)
				}
			})
		})
	}
}

func prefix(hr *http.Request, with string) {
	hr.Header.Set("webhook-signature", with+hr.Header.Get("webhook-signature"))
}

func TestBadSignatureIsRefusedWhateverIsScripted(t *testing.T) {
	r := New(Options{Keys: []signature.Key{testKey(t)}, Fail: 1, Status: 500})
	hr := newPost(t.Context(), "/", "evt_1", "{}")
	hr.Header.Del("webhook-signature")
	if w := serve(r, hr); w.Code != http.StatusUnauthorized {
		t.Errorf("status %d, want 401", w.Code)
	}
}

func TestDuplicates(t *testing.T) {
	o, got := recorded(Options{Keys: []signature.Key{testKey(t)}, Fail: 0.5})
	random := 0.0 // fails
	o.Random = func() float64 { return random }
	r := New(o)
	send := func(id string, signed bool) {
		hr := newPost(t.Context(), "/", id, "{}")
		if !signed {
			hr.Header.Set("webhook-signature", "v1,AAAA")
		}
		serve(r, hr)
	}
	send("a", true) // refused with 503: the event has not arrived
	random = 1
	send("a", false) // forged: has not arrived either
	send("a", true)
	send("a", true)
	send("b", true)
	send("a", false)
	random = 0
	send("a", true) // a copy that is answered with 503 is a copy still

	var duplicates []bool
	for _, req := range *got {
		duplicates = append(duplicates, req.Duplicate)
	}
	if want := []bool{false, false, false, true, false, false, true}; !reflect.DeepEqual(duplicates, want) {
		t.Errorf("duplicates %v, want %v", duplicates, want)
	}
	want := Stats{Requests: 7, OK: 3, Failed: 4, Distinct: 2, Duplicates: 2, BadSignatures: 2}
	if got := r.Stats(); got != want {
		t.Errorf("stats %+v, want %+v", got, want)
	}
}

func TestIDsThatAreNotRemembered(t *testing.T) {
	for _, id := range []string{"", strings.Repeat("x", maxID+1)} {
		r := New(Options{})
		serve(r, newPost(t.Context(), "/", id, ""))
		serve(r, newPost(t.Context(), "/", id, ""))
		if got, want := r.Stats(), (Stats{Requests: 2, OK: 2}); got != want {
			t.Errorf("with an id of %d bytes: stats %+v, want %+v", len(id), got, want)
		}
	}
}

// endless is a body without an end, which counts what is taken of it.
type endless struct{ read int }

func (e *endless) Read(p []byte) (int, error) {
	e.read += len(p)
	return len(p), nil
}

func TestRefusals(t *testing.T) {
	flood := &endless{}
	tests := map[string]struct {
		method string
		body   io.Reader
		want   int
	}{
		"not a POST":     {http.MethodGet, nil, 405},
		"endless body":   {http.MethodPost, flood, 413},
		"body cut short": {http.MethodPost, io.MultiReader(strings.NewReader("{"), brokenBody{}), 400},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			o, got := recorded(Options{})
			w := serve(New(o), httptest.NewRequestWithContext(t.Context(), tt.method, "/", tt.body))
			if w.Code != tt.want || (*got)[0].Status != tt.want {
				t.Errorf("answered %d, reported %d, want %d", w.Code, (*got)[0].Status, tt.want)
			}
		})
	}
	if flood.read > 2*maxBody {
		t.Errorf("read %d bytes of an endless body", flood.read)
	}
}

type brokenBody struct{}

func (brokenBody) Read([]byte) (int, error) { return 0, errors.New("connection reset") }

func TestLatencyPassesBeforeTheAnswer(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := New(Options{Latency: 3 * time.Second})
		start := time.Now()
		if w := serve(r, newPost(t.Context(), "/", "evt_1", "{}")); w.Code != http.StatusOK {
			t.Errorf("status %d, want 200", w.Code)
		}
		if took := time.Since(start); took != 3*time.Second {
			t.Errorf("answered after %v, want 3s", took)
		}
	})
}

// serveAborted expects the handler to end without an answer.
func serveAborted(t *testing.T, r *Receiver, hr *http.Request) {
	t.Helper()
	defer func() {
		if err, _ := recover().(error); !errors.Is(err, http.ErrAbortHandler) {
			t.Errorf("handler ended with %v, want http.ErrAbortHandler", err)
		}
	}()
	serve(r, hr)
}

func TestSenderThatGivesUpHasReceivedNothing(t *testing.T) {
	for name, o := range map[string]Options{
		"while the latency passes": {Latency: time.Minute},
		"while it hangs":           {Hang: true},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				o, got := recorded(o)
				r := New(o)
				ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
				defer cancel()
				start := time.Now()
				serveAborted(t, r, newPost(ctx, "/", "evt_1", "{}"))
				if took := time.Since(start); took != 10*time.Second {
					t.Errorf("ended after %v, want 10s", took)
				}
				if want := (Stats{Requests: 1, Failed: 1}); r.Stats() != want {
					t.Errorf("stats %+v, want %+v", r.Stats(), want)
				}
				if (*got)[0].Status != 0 {
					t.Errorf("reported status %d, want 0", (*got)[0].Status)
				}
			})
		})
	}
}

func TestRequestsAreReportedSerially(t *testing.T) {
	const requests = 200
	inside, most, calls := 0, 0, 0
	var r *Receiver
	r = New(Options{Fail: 0.5, OnRequest: func(Request) {
		inside++ // unguarded on purpose: the race detector looks on
		most = max(most, inside)
		calls++
		if got := r.Stats().Requests; got != calls {
			t.Errorf("%d requests counted in call %d", got, calls)
		}
		inside--
	}})
	var all sync.WaitGroup
	for i := range requests {
		all.Go(func() { serve(r, newPost(t.Context(), "/", fmt.Sprint(i), "{}")) })
	}
	all.Wait()
	if most != 1 || calls != requests {
		t.Errorf("%d calls, up to %d at a time; want %d, one at a time", calls, most, requests)
	}
}
