package egress

import (
	"bufio"
	"bytes"
	"compress/gzip"
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/asn1"
	"errors"
	"fmt"
	"io"
	"math/big"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"
	"time"
)

// serve hands each connection to handle, which has until ctx ends, and waits for
// all of them when the test is over. It returns host and port.
func serve(t testing.TB, handle func(ctx context.Context, conn net.Conn)) string {
	t.Helper()
	var lc net.ListenConfig
	l, err := lc.Listen(t.Context(), "tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	var wg sync.WaitGroup
	wg.Go(func() {
		for {
			conn, err := l.Accept()
			if err != nil {
				return
			}
			wg.Go(func() {
				stop := context.AfterFunc(ctx, func() { _ = conn.Close() })
				defer stop()
				defer func() { _ = conn.Close() }()
				handle(ctx, conn)
			})
		}
	})
	t.Cleanup(func() {
		cancel()
		_ = l.Close()
		wg.Wait()
	})
	return l.Addr().String()
}

// afterRequest reads one request, then writes what write says.
func afterRequest(write func(ctx context.Context, conn net.Conn)) func(context.Context, net.Conn) {
	return func(ctx context.Context, conn net.Conn) {
		if readRequest(bufio.NewReader(conn)) == nil {
			write(ctx, conn)
		}
	}
}

func readRequest(r *bufio.Reader) error {
	req, err := http.ReadRequest(r)
	if err != nil {
		return err
	}
	_, err = io.Copy(io.Discard, req.Body)
	return err
}

// say writes what a test receiver has to say; that nobody listens any more is
// part of the game.
func say(conn net.Conn, format string, args ...any) {
	_, _ = fmt.Fprintf(conn, format, args...)
}

// drip repeats chunk at an interval until the connection or the test is over.
func drip(ctx context.Context, conn net.Conn, every time.Duration, chunk string) {
	tick := time.NewTicker(every)
	defer tick.Stop()
	for {
		if _, err := io.WriteString(conn, chunk); err != nil {
			return
		}
		select {
		case <-tick.C:
		case <-ctx.Done():
			return
		}
	}
}

func flood(conn net.Conn, chunk string) {
	for {
		if _, err := io.WriteString(conn, chunk); err != nil {
			return
		}
	}
}

func reset(conn net.Conn) {
	if tcp, ok := conn.(*net.TCPConn); ok {
		_ = tcp.SetLinger(0)
	}
}

// checkError looks at what holds for every error of Do.
func checkError(t *testing.T, err error, status int) {
	t.Helper()
	if err == nil {
		return
	}
	e, ok := errors.AsType[*Error](err)
	if !ok || e.Status != status || e.Err == nil {
		t.Errorf("error %#v, want *Error with status %d and a cause", err, status)
	}
	if text := err.Error(); len(text) > 200 || strings.Contains(text, "canary") || strings.Contains(text, ":1") {
		t.Errorf("error text %q: too long, or it names the query string or an address's port", text)
	}
}

// Whatever comes after the first 64 KiB is neither read nor waited for.
func TestLongBodiesAreCut(t *testing.T) {
	kib := strings.Repeat("x", 1024)
	for _, tt := range []struct {
		name      string
		write     func(conn net.Conn)
		want      int
		truncated bool
	}{
		{"endless, chunked", func(c net.Conn) {
			say(c, "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n")
			flood(c, "400\r\n"+kib+"\r\n")
		}, MaxBody, true},
		{"endless, until the connection closes", func(c net.Conn) {
			say(c, "HTTP/1.0 200 OK\r\n\r\n")
			flood(c, kib)
		}, MaxBody, true},
		{"a little too long", func(c net.Conn) {
			say(c, "HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n%s", MaxBody+2, strings.Repeat("x", MaxBody+2))
		}, MaxBody, true},
		{"just right", func(c net.Conn) {
			say(c, "HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n%s", MaxBody, strings.Repeat("x", MaxBody))
		}, MaxBody, false},
		{"just right, chunked", func(c net.Conn) {
			say(c, "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n10000\r\n%s\r\n0\r\n\r\n", strings.Repeat("x", MaxBody))
		}, MaxBody, false},
		{"a byte short", func(c net.Conn) {
			say(c, "HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n%s", MaxBody-1, strings.Repeat("x", MaxBody-1))
		}, MaxBody - 1, false},
		{"empty, chunked", func(c net.Conn) {
			say(c, "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n")
		}, 0, false},
		{"empty", func(c net.Conn) { say(c, "HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n") }, 0, false},
	} {
		t.Run(tt.name, func(t *testing.T) {
			closed := make(chan struct{})
			addr := serve(t, afterRequest(func(_ context.Context, c net.Conn) {
				tt.write(c)
				_, _ = c.Read(make([]byte, 1)) // ends when the client closes
				close(closed)
			}))
			c := newTestClient(t, Options{Allow: loopback})
			res, err := c.Do(post(t, "http://"+addr, "{}", leisure))
			if err != nil || len(res.Body) != tt.want || res.Truncated != tt.truncated || strings.Trim(string(res.Body), "x") != "" {
				t.Errorf("%d bytes, truncated %v, err %v; want %d, %v", len(res.Body), res.Truncated, err, tt.want, tt.truncated)
			}
			if tt.truncated {
				<-closed // the rest is refused by closing the connection
			}
		})
	}
}

func TestNothingIsDecompressed(t *testing.T) {
	var bomb bytes.Buffer
	w := gzip.NewWriter(&bomb)
	if _, err := w.Write(make([]byte, 20<<20)); err != nil {
		t.Fatal(err)
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	asked := make(chan string, 1)
	srv := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		asked <- r.Header.Get("Accept-Encoding")
		w.Header().Set("Content-Encoding", "gzip")
		_, _ = w.Write(bomb.Bytes())
	}))
	defer srv.Close()
	c := newTestClient(t, Options{Allow: loopback})
	req := post(t, srv.URL, "{}", leisure)
	req.Header.Set("Accept-Encoding", "gzip")
	res, err := c.Do(req)
	if err != nil || !bytes.Equal(res.Body, bomb.Bytes()) {
		t.Errorf("got %d bytes, err %v; want the %d compressed ones", len(res.Body), err, bomb.Len())
	}
	if got := <-asked; got != "identity" {
		t.Errorf("Accept-Encoding %q, want identity", got)
	}
}

func TestTLSFailures(t *testing.T) {
	own := httptest.NewTLSServer(http.NotFoundHandler())
	defer own.Close()
	old := httptest.NewUnstartedServer(http.NotFoundHandler())
	old.TLS = &tls.Config{MaxVersion: tls.VersionTLS11, MinVersion: tls.VersionTLS10} // too old on purpose
	old.Config.ErrorLog = silent
	own.Config.ErrorLog = silent
	old.StartTLS()
	defer old.Close()
	for _, tt := range []struct {
		name, addr string
		failure    Failure
		words      string
	}{
		{"hangs in the handshake", serve(t, func(ctx context.Context, _ net.Conn) { <-ctx.Done() }), Timeout, "timed out"},
		{"speaks plain HTTP", serve(t, func(_ context.Context, c net.Conn) { say(c, "HTTP/1.1 400 Bad Request\r\n\r\n") }), TLS, "no TLS on that port"},
		{"hangs up in the handshake", serve(t, func(context.Context, net.Conn) {}), Closed, "closed the connection"},
		{"unknown authority", strings.TrimPrefix(own.URL, "https://"), TLS, "unknown authority"},
		{"too old", strings.TrimPrefix(old.URL, "https://"), TLS, "protocol version"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			within := leisure
			if tt.failure == Timeout {
				within = hasty
			}
			c := newTestClient(t, Options{Allow: loopback})
			_, err := c.Do(post(t, "https://"+tt.addr, "{}", within))
			if Classify(err) != tt.failure || !strings.Contains(fmt.Sprint(err), tt.words) {
				t.Errorf("failure %q (%v), want %q with %q", Classify(err), err, tt.failure, tt.words)
			}
			checkError(t, err, 0)
		})
	}
}

// What a certificate says that cannot be read is quoted by crypto/x509, and by
// nothing that the endpoint's owner reads.
func TestCertificatesAreNotQuoted(t *testing.T) {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	const uri = "https://canary:port/"
	names := append([]byte{0x30, byte(len(uri)) + 2, 0x86, byte(len(uri))}, uri...) // one uniformResourceIdentifier
	template := &x509.Certificate{SerialNumber: big.NewInt(1), NotAfter: time.Now().Add(time.Hour),
		ExtraExtensions: []pkix.Extension{{Id: asn1.ObjectIdentifier{2, 5, 29, 17}, Value: names}}}
	der, err := x509.CreateCertificate(rand.Reader, template, template, &key.PublicKey, key)
	if err != nil {
		t.Fatal(err)
	}
	address := serve(t, func(ctx context.Context, c net.Conn) {
		config := &tls.Config{Certificates: []tls.Certificate{{Certificate: [][]byte{der}, PrivateKey: key}}, MinVersion: tls.VersionTLS12}
		_ = tls.Server(c, config).HandshakeContext(ctx) // the client hangs up
	})
	c := newTestClient(t, Options{Allow: loopback})
	_, err = c.Do(post(t, "https://"+address, "{}", leisure))
	if Classify(err) != TLS || !strings.Contains(fmt.Sprint(cause(err)), "canary") {
		t.Errorf("failure %q (%v; %v), want %q that quotes the certificate", Classify(err), err, cause(err), TLS)
	}
	checkError(t, err, 0)
}

// A dial that its request did not wait for ends on its own.
func TestAbandonedHandshakesEnd(t *testing.T) {
	came, ended := make(chan struct{}), make(chan struct{})
	addr := serve(t, func(_ context.Context, c net.Conn) {
		close(came)
		_, _ = io.Copy(io.Discard, c)
		close(ended)
	})
	c := newTestClient(t, Options{Allow: loopback, DialTimeout: 150 * time.Millisecond})
	c.dialer.net.Timeout = leisure // the handshake alone has little time, for without a connection nothing ends
	ctx, cancel := context.WithCancelCause(t.Context())
	defer cancel(nil)
	go func() { <-came; cancel(context.DeadlineExceeded) }()
	if _, err := c.Do(post(t, "https://"+addr, "{}", leisure).WithContext(ctx)); Classify(err) != Timeout {
		t.Errorf("err = %v, want a timeout", err)
	}
	<-ended
}
