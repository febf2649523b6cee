package egress

import (
	"bufio"
	"context"
	"crypto/tls"
	"crypto/x509"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"
)

// beast is a receiver that misbehaves in one way, and how the exchange with it
// ends. The README's table of them is made of these.
type beast struct {
	name    string
	handle  func(ctx context.Context, conn net.Conn)
	failure Failure
	status  int
}

// hasty is the deadline of exchanges that end with it, and leisure that of all
// others, which must not come near.
const (
	hasty   = 300 * time.Millisecond
	leisure = 30 * time.Second
)

// late is how much later than its deadline an exchange may be over: what a busy
// machine takes to say so.
const late = 8 * time.Second

func (b beast) deadline() time.Duration {
	if b.failure == Timeout {
		return hasty
	}
	return leisure
}

// patiently tries with a hasty deadline, and with longer ones while that was over too
// soon: on a busy machine it may pass before what is to come first.
func patiently(try func(within time.Duration) (tooSoon bool)) {
	for within := hasty; try(within) && within < leisure; within *= 10 {
	}
}

// house is a part of the zoo: its beasts speak the same protocol.
type house struct {
	name   string
	scheme string
	beasts []beast
}

func zoo() []house {
	return []house{
		{"HTTP1", "http", http1Beasts()},
		{"headers", "http", headerBeasts()},
		{"bodies", "http", bodyBeasts()},
		{"TLS", "https", tlsBeasts()},
		{"HTTP2", "https", http2Beasts()},
		{"HTTP2 floods", "https", http2Floods()},
	}
}

// Every beast ends as its row says, in time, with an error fit for an owner.
func TestZoo(t *testing.T) {
	for _, h := range zoo() {
		t.Run(h.name, func(t *testing.T) {
			t.Parallel()
			var waiting sync.WaitGroup // for deadlines, which need no processor
			defer waiting.Wait()
			for _, b := range h.beasts {
				c := newTestClient(t, Options{Allow: loopback, RootCAs: zooRoots()})
				url := h.scheme + "://" + serve(t, b.handle)
				if b.failure == Timeout {
					waiting.Go(func() { meet(t, c, b, url) })
					continue
				}
				meet(t, c, b, url)
			}
		})
	}
}

// meet makes one exchange with a beast.
func meet(t *testing.T, c *Client, b beast, url string) {
	t.Helper()
	var res Response
	var err error
	try := func(within time.Duration) (tooSoon bool) {
		c.Close() // a script answers the first request on a connection
		start := time.Now()
		res, err = c.Do(post(t, url+"/in?token=canary", strings.Repeat("x", 512), within))
		if took := time.Since(start); took > within+late {
			t.Errorf("%s: took %v with a deadline of %v", b.name, took, within)
		}
		return Classify(err) == Timeout && res.Status == 0
	}
	if b.failure == Timeout && b.status != 0 {
		patiently(try)
	} else {
		try(b.deadline())
	}
	if Classify(err) != b.failure || res.Status != b.status {
		t.Errorf("%s: failure %q, status %d (%v; %v); want %q, %d", b.name, Classify(err), res.Status, err, cause(err), b.failure, b.status)
	}
	if len(res.Body) > MaxBody {
		t.Errorf("%s: %d bytes of body", b.name, len(res.Body))
	}
	checkError(t, err, b.status)
}

func cause(err error) error {
	if e, ok := err.(*Error); ok { //nolint:errorlint // Do returns nothing else
		return e.Err
	}
	return nil
}

// zooCert and zooRoots are the certificate of every receiver here that has one.
var zooTLS = sync.OnceValue(func() *httptest.Server {
	srv := httptest.NewTLSServer(http.NotFoundHandler())
	srv.Close()
	return srv
})

func zooRoots() *x509.CertPool { return roots(zooTLS()) }

func zooConfig(protocols ...string) *tls.Config {
	return &tls.Config{Certificates: zooTLS().TLS.Certificates, NextProtos: protocols, MinVersion: tls.VersionTLS12}
}

// answers reads one request, writes the parts, and holds the connection until
// the other side lets go.
func answers(parts ...string) func(context.Context, net.Conn) {
	return afterRequest(func(_ context.Context, c net.Conn) {
		for _, p := range parts {
			tell(c, p)
		}
		untilClosed(c)
	})
}

// answersAndCloses is answers without the holding.
func answersAndCloses(text string) func(context.Context, net.Conn) {
	return afterRequest(func(_ context.Context, c net.Conn) { say(c, "%s", text) })
}

// floods reads one request, writes the head once and the chunk for ever.
func floods(head, chunk string) func(context.Context, net.Conn) {
	chunk = strings.Repeat(chunk, max(1, 8192/len(chunk)))
	return afterRequest(func(_ context.Context, c net.Conn) {
		say(c, "%s", head)
		flood(c, chunk)
	})
}

// drips reads one request, writes the head once and the chunk at leisure.
func drips(head, chunk string) func(context.Context, net.Conn) {
	return afterRequest(func(ctx context.Context, c net.Conn) {
		say(c, "%s", head)
		drip(ctx, c, 20*time.Millisecond, chunk)
	})
}

// tell writes a text in pieces, so that a long one is not copied as a whole.
func tell(c net.Conn, text string) {
	for len(text) > 0 {
		n, err := io.WriteString(c, text[:min(len(text), 8<<10)])
		if err != nil {
			return // nobody listens any more
		}
		text = text[n:]
	}
}

func untilClosed(c net.Conn) { _, _ = io.Copy(io.Discard, c) }

// resets reads one request, writes the text and resets the connection once it
// has arrived.
func resets(text string) func(context.Context, net.Conn) {
	return func(_ context.Context, c net.Conn) {
		if readRequest(bufio.NewReader(c)) != nil {
			return
		}
		say(c, "%s", text)
		reset(c)
	}
}

// The README shows each beast by its name.
func TestBeastsHaveNamesOfTheirOwn(t *testing.T) {
	var names []string
	for _, h := range zoo() {
		for _, b := range h.beasts {
			names = append(names, b.name)
		}
	}
	slices.Sort(names)
	if all := len(names); len(slices.Compact(names)) != all || all < 100 {
		t.Errorf("%d beasts, %d names", all, len(slices.Compact(names)))
	}
}
