package egress

import (
	"bufio"
	"context"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"log"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"
)

var silent = log.New(io.Discard, "", 0)

// dropped is how many of the connections that could be used again may be lost in a few
// requests: net/http drops one of whose write it hears 50 ms late, as on a busy machine.
const dropped = 1

func TestExchangeOverEachProtocol(t *testing.T) {
	for _, tt := range []struct {
		name  string
		start func(*httptest.Server)
		proto string
	}{
		{"plain", (*httptest.Server).Start, "HTTP/1.1"},
		{"TLS", (*httptest.Server).StartTLS, "HTTP/1.1"},
		{"HTTP/2", func(s *httptest.Server) { s.EnableHTTP2 = true; s.StartTLS() }, "HTTP/2.0"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			var conns atomic.Int32
			srv := httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
				body, err := io.ReadAll(r.Body)
				if err != nil || r.Header.Get("Webhook-Id") != "msg_1" || r.Header["Idempotency-Key"] != nil {
					t.Errorf("body error %v, headers %v", err, r.Header)
				}
				w.Header().Set("Retry-After", "7")
				w.WriteHeader(http.StatusTeapot)
				_, _ = fmt.Fprintf(w, "got %s", body)
			}))
			srv.Config.ConnState = func(_ net.Conn, s http.ConnState) {
				if s == http.StateNew {
					conns.Add(1)
				}
			}
			tt.start(srv)
			defer srv.Close()
			c := newTestClient(t, Options{Allow: loopback, RootCAs: roots(srv)})
			for i := range 5 {
				req := post(t, srv.URL, fmt.Sprint("event ", i), leisure)
				req.Header.Set("Webhook-Id", "msg_1")
				res, err := c.Do(req)
				if err != nil {
					t.Fatal(err)
				}
				want := fmt.Sprint("got event ", i)
				if res.Status != http.StatusTeapot || string(res.Body) != want || res.Proto != tt.proto || res.Header.Get("Retry-After") != "7" || res.Truncated {
					t.Errorf("response %+v, want 418 %q over %s", res, want, tt.proto)
				}
			}
			if conns.Load() > 1+dropped {
				t.Errorf("%d connections for 5 requests in a row, want 1", conns.Load())
			}
		})
	}
}

func roots(srv *httptest.Server) *x509.CertPool {
	pool := x509.NewCertPool()
	if cert := srv.Certificate(); cert != nil {
		pool.AddCert(cert)
	}
	return pool
}

// Connections of a burst stay open for the next one.
func TestBurstReusesItsConnections(t *testing.T) {
	const burst = 64
	var conns atomic.Int32
	var gate sync.WaitGroup // holds each round until all of it is there
	srv := httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		gate.Done()
		gate.Wait()
		_, _ = io.WriteString(w, "ok")
	}))
	srv.Config.ConnState = func(_ net.Conn, s http.ConnState) {
		if s == http.StateNew {
			conns.Add(1)
		}
	}
	srv.Start()
	defer srv.Close()
	c := newTestClient(t, Options{Allow: loopback})
	for range 5 {
		gate.Add(burst)
		var round sync.WaitGroup
		for range burst {
			req := post(t, srv.URL, "{}", leisure)
			round.Go(func() {
				if res, err := c.Do(req); err != nil || res.Status != 200 {
					t.Errorf("status %d, err %v", res.Status, err)
				}
			})
		}
		round.Wait()
	}
	if conns.Load() > burst*3/2 { // some may be dropped
		t.Errorf("%d connections for 5 bursts of %d, want %d", conns.Load(), burst, burst)
	}
}

// A receiver may close a connection that it had promised to keep, at any moment
// after its answer. That must not fail the next request, however large.
func TestStaleConnectionsBurnNothing(t *testing.T) {
	for _, size := range []int{2, 256 << 10} {
		t.Run(fmt.Sprint(size, " bytes"), func(t *testing.T) {
			var served atomic.Int32
			addr := serve(t, afterRequest(func(_ context.Context, c net.Conn) {
				served.Add(1)
				say(c, "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok")
			}))
			c := newTestClient(t, Options{Allow: loopback})
			body := strings.Repeat("x", size)
			const requests = 500
			for i := range requests {
				res, err := c.Do(post(t, "http://"+addr, body, leisure))
				if err != nil || string(res.Body) != "ok" {
					t.Fatalf("request %d: %q, %v (%v)", i, res.Body, err, errors.Unwrap(err))
				}
			}
			if served.Load() < requests {
				t.Errorf("%d of %d requests served", served.Load(), requests)
			}
		})
	}
}

// The receiver reads the request off a kept-alive connection, then closes it
// without a word: the request goes out again, on a new connection, once.
func TestRequestLostWithItsConnectionIsRepeated(t *testing.T) {
	var conns, requests int32
	for range 3 { // the connection may be dropped instead
		if conns, requests = loseConnection(t); requests != 2 {
			break
		}
	}
	if conns != 2 || requests != 3 {
		t.Errorf("%d requests on %d connections, want 3 on 2", requests, conns)
	}
}

func loseConnection(t *testing.T) (_, _ int32) {
	t.Helper()
	var conns, requests atomic.Int32
	addr := serve(t, func(_ context.Context, c net.Conn) {
		conns.Add(1)
		r := bufio.NewReader(c)
		if readRequest(r) != nil {
			return
		}
		requests.Add(1)
		say(c, "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok")
		if readRequest(r) == nil {
			requests.Add(1)
		}
	})
	c := newTestClient(t, Options{Allow: loopback})
	for i := range 2 {
		if res, err := c.Do(post(t, "http://"+addr, "{}", leisure)); err != nil || string(res.Body) != "ok" {
			t.Fatalf("request %d: %q, %v (%v)", i, res.Body, err, errors.Unwrap(err))
		}
	}
	return conns.Load(), requests.Load()
}

func TestHTTP2ConnectionShutDown(t *testing.T) {
	srv := httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Connection", "close") // makes the server send GOAWAY
		if r.URL.Path == "/abort" {
			panic(http.ErrAbortHandler)
		}
		_, _ = io.WriteString(w, "ok")
	}))
	srv.EnableHTTP2 = true
	srv.Config.ErrorLog = silent
	srv.StartTLS()
	defer srv.Close()
	c := newTestClient(t, Options{Allow: loopback, RootCAs: roots(srv)})
	for range 20 {
		if res, err := c.Do(post(t, srv.URL, "{}", leisure)); err != nil || string(res.Body) != "ok" {
			t.Fatalf("%q, %v; want no trace of GOAWAY", res.Body, err)
		}
	}
	if _, err := c.Do(post(t, srv.URL+"/abort", "{}", leisure)); Classify(err) != Closed {
		t.Errorf("stream reset: %v, want %s", err, Closed)
	}
}

func TestHTTP2IsBounded(t *testing.T) {
	stop := make(chan struct{})
	srv := httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		switch r.URL.Path {
		case "/endless":
			for r.Context().Err() == nil {
				if _, err := io.WriteString(w, strings.Repeat("x", 4096)); err != nil {
					return
				}
			}
		case "/hang":
			w.WriteHeader(http.StatusOK)
			_ = http.NewResponseController(w).Flush()
			select {
			case <-r.Context().Done():
			case <-stop:
			}
		case "/headers":
			for i := range 80 {
				w.Header().Set(fmt.Sprint("X-Flood-", i), strings.Repeat("x", 1024))
			}
		}
	}))
	srv.EnableHTTP2 = true
	srv.Config.ErrorLog = silent
	srv.StartTLS()
	defer srv.Close()
	defer close(stop)
	c := newTestClient(t, Options{Allow: loopback, RootCAs: roots(srv)})
	if res, err := c.Do(post(t, srv.URL+"/endless", "{}", leisure)); err != nil || len(res.Body) != MaxBody || !res.Truncated {
		t.Errorf("endless: %d bytes, truncated %v, err %v", len(res.Body), res.Truncated, err)
	}
	var res Response
	var err error
	patiently(func(within time.Duration) (tooSoon bool) {
		res, err = c.Do(post(t, srv.URL+"/hang", "{}", within))
		return Classify(err) == Timeout && res.Status == 0
	})
	if Classify(err) != Timeout || res.Status != 200 {
		t.Errorf("hang: status %d, err %v; want a timeout after 200", res.Status, err)
	}
	if _, err := c.Do(post(t, srv.URL+"/headers", "{}", leisure)); Classify(err) != Protocol {
		t.Errorf("headers: %v (%v), want %s", err, errors.Unwrap(err), Protocol)
	}
}

func TestRequestsThatCannotBeSent(t *testing.T) {
	var calls atomic.Int32
	srv := httptest.NewServer(http.HandlerFunc(func(http.ResponseWriter, *http.Request) { calls.Add(1) }))
	defer srv.Close()
	c := newTestClient(t, Options{Allow: loopback})
	for _, tt := range []struct {
		name  string
		spoil func(*http.Request)
	}{
		{"line feed in a value", func(r *http.Request) { r.Header["X-A"] = []string{"a\nX-B: b"} }},
		{"null in a value", func(r *http.Request) { r.Header["X-A"] = []string{"ok", "a\x00"} }},
		{"delete in a value", func(r *http.Request) { r.Header["X-A"] = []string{"a\x7f"} }},
		{"space in a name", func(r *http.Request) { r.Header["X A"] = []string{"a"} }},
		{"umlaut in a name", func(r *http.Request) { r.Header["Ü"] = []string{"a"} }},
		{"empty name", func(r *http.Request) { r.Header[""] = []string{"a"} }},
		{"method", func(r *http.Request) { r.Method = "PO ST" }},
		{"scheme", func(r *http.Request) { r.URL.Scheme = "ftp" }},
		{"no scheme", func(r *http.Request) { r.URL.Scheme = "" }},
		{"no host", func(r *http.Request) { r.URL.Host = "" }},
		{"port only", func(r *http.Request) { r.URL.Host = ":80" }},
		{"no URL", func(r *http.Request) { r.URL = nil }},
		{"length beyond the body", func(r *http.Request) { r.ContentLength = 99 }},
	} {
		t.Run(tt.name, func(t *testing.T) {
			req := post(t, srv.URL, "{}", leisure)
			tt.spoil(req)
			if _, err := c.Do(req); Classify(err) != InvalidRequest || !strings.Contains(err.Error(), "cannot be sent") {
				t.Errorf("failure %q (%v), want %q", Classify(err), err, InvalidRequest)
			}
		})
	}
	req := post(t, srv.URL, "{}", leisure)
	req.Header = http.Header{"X-Tab-And-Utf8": {"a\tgrün"}}
	if _, err := c.Do(req); err != nil {
		t.Errorf("sound request: %v", err)
	}
	req = post(t, srv.URL, "{}", leisure)
	req.Header = nil
	if _, err := c.Do(req); err != nil {
		t.Errorf("request without headers: %v", err)
	}
	if calls.Load() != 2 {
		t.Errorf("%d requests arrived, want the two sound ones", calls.Load())
	}
}

func TestStopIsNotATimeout(t *testing.T) {
	errStop := errors.New("the replica stops")
	for _, tt := range []struct {
		name  string
		cause error
		want  Failure
	}{
		{"stop", errStop, Canceled},
		{"plain cancel", nil, Canceled},
		{"a deadline kept by the caller", context.DeadlineExceeded, Timeout},
	} {
		for _, when := range []string{"before headers", "in the body"} {
			t.Run(tt.name+" "+when, func(t *testing.T) {
				arrived := make(chan struct{})
				addr := serve(t, afterRequest(func(ctx context.Context, c net.Conn) {
					if when == "in the body" {
						say(c, "HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nhalf")
					}
					close(arrived)
					<-ctx.Done()
				}))
				ctx, cancel := context.WithCancelCause(t.Context())
				defer cancel(nil)
				context.AfterFunc(t.Context(), func() { cancel(nil) })
				go func() { <-arrived; cancel(tt.cause) }()
				c := newTestClient(t, Options{Allow: loopback})
				_, err := c.Do(post(t, "http://"+addr, "{}", leisure).WithContext(ctx))
				if Classify(err) != tt.want {
					t.Errorf("failure %q (%v), want %q", Classify(err), err, tt.want)
				}
				if tt.cause != nil && !errors.Is(err, tt.cause) {
					t.Errorf("%v does not lead to the cause %v", errors.Unwrap(err), tt.cause)
				}
			})
		}
	}
}

// nobody returns an address at which nobody listens, nor can begin to during the
// test: the near end of a connection.
func nobody(t *testing.T) string {
	t.Helper()
	var d net.Dialer
	conn, err := d.DialContext(t.Context(), "tcp", serve(t, func(ctx context.Context, _ net.Conn) { <-ctx.Done() }))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = conn.Close() })
	return conn.LocalAddr().String()
}

func TestNobodyThere(t *testing.T) {
	c := newTestClient(t, Options{Allow: loopback, Resolver: resolver(t, table(nil))})
	_, err := c.Do(post(t, "http://"+nobody(t), "{}", leisure))
	if Classify(err) != Connect || err.Error() != "127.0.0.1 refused the connection" {
		t.Errorf("refused: %q, %v", Classify(err), err)
	}
	_, err = c.Do(post(t, "http://nobody.example.com/?q=canary", "{}", leisure))
	if Classify(err) != DNS || err.Error() != "DNS knows no host nobody.example.com" {
		t.Errorf("no such name: %q, %v", Classify(err), err)
	}
}

// net/http reads the proxy variables once per process, so a test cannot see them
// being ignored; it can see that nobody looks.
func TestZeroOptionsAreSafe(t *testing.T) {
	c := newTestClient(t, Options{})
	tr, r := c.transport, c.dialer.net.Resolver
	if tr.Proxy != nil || !tr.DisableCompression || tr.TLSClientConfig.InsecureSkipVerify {
		t.Error("a proxy, decompression or unverified certificates by default")
	}
	if r == nil || !r.PreferGo {
		t.Error("the system's resolver by default")
	}
	if tr.MaxIdleConns <= 0 || tr.MaxIdleConnsPerHost < 64 || tr.IdleConnTimeout <= 0 ||
		tr.TLSHandshakeTimeout <= 0 || c.dialer.net.Timeout <= 0 || tr.MaxResponseHeaderBytes != maxHeader {
		t.Errorf("a bound is missing: %+v", tr)
	}
}
