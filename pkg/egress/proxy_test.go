package egress

import (
	"bufio"
	"context"
	"crypto/tls"
	"encoding/base64"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"net/url"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"
)

// tunnels is a proxy that connects to where it is told to, whatever the name
// says, and remembers what it was asked.
type tunnels struct {
	to string // host and port that every tunnel leads to

	mu    sync.Mutex
	asked []*http.Request
}

func (p *tunnels) handle(ctx context.Context, conn net.Conn) {
	req, err := http.ReadRequest(bufio.NewReader(conn))
	if err != nil {
		return
	}
	p.mu.Lock()
	p.asked = append(p.asked, req)
	p.mu.Unlock()
	var d net.Dialer
	target, err := d.DialContext(ctx, "tcp", p.to)
	if err != nil {
		say(conn, "HTTP/1.1 502 Bad Gateway\r\n\r\n")
		return
	}
	say(conn, "HTTP/1.1 200 Connection established\r\nX-Proxy: yes\r\n\r\n")
	var back sync.WaitGroup
	back.Go(func() {
		_, _ = io.Copy(conn, target) // ends when either side closes
		_ = conn.Close()
	})
	_, _ = io.Copy(target, conn)
	_ = target.Close()
	back.Wait()
}

func (p *tunnels) requests() []*http.Request {
	p.mu.Lock()
	defer p.mu.Unlock()
	return slices.Clone(p.asked)
}

// atLoopback allows a proxy at an address of this machine and nothing else there.
func atLoopback(t testing.TB, address string) []Rule {
	t.Helper()
	r, err := ParseRule(address)
	if err != nil {
		t.Fatal(err)
	}
	return []Rule{r}
}

func proxyURL(t testing.TB, raw string) *url.URL {
	t.Helper()
	u, err := ParseProxy(raw)
	if err != nil {
		t.Fatal(err)
	}
	return u
}

// Every exchange goes through the proxy as a tunnel, whatever its protocol; the
// credentials are for the proxy and nobody else.
func TestProxyTunnelsEverything(t *testing.T) {
	for _, secure := range []bool{false, true} {
		for _, tt := range []struct{ scheme, proto string }{{"http", "HTTP/1.1"}, {"https", "HTTP/2.0"}} {
			t.Run(fmt.Sprint(tt.scheme, " through TLS ", secure), func(t *testing.T) {
				srv := httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
					for name := range r.Header {
						if strings.HasPrefix(name, "Proxy-") {
							t.Errorf("the receiver got %s", name)
						}
					}
					_, _ = io.WriteString(w, r.Host+r.RequestURI)
				}))
				srv.EnableHTTP2 = true
				srv.TLS = &tls.Config{Certificates: zooConfig().Certificates, MinVersion: tls.VersionTLS12}
				if srv.Start(); tt.scheme == "https" {
					srv.Close()
					srv = again(srv)
				}
				defer srv.Close()
				p := &tunnels{to: srv.Listener.Addr().String()}
				raw, handle := "http://", p.handle
				if secure {
					raw, handle = "https://", overTLS(p.handle)
				}
				address := serve(t, handle)
				c := newTestClient(t, Options{RootCAs: zooRoots(), Proxy: proxyURL(t, raw+"me:s%20ecret@"+address), Allow: atLoopback(t, address)})
				for range 5 {
					res, err := c.Do(post(t, tt.scheme+"://example.com:8443/in?q=1", "{}", leisure))
					if err != nil || string(res.Body) != "example.com:8443/in?q=1" || res.Proto != tt.proto {
						t.Fatalf("%q over %s, %v (%v)", res.Body, res.Proto, err, cause(err))
					}
				}
				asked := p.requests()
				want := "Basic " + base64.StdEncoding.EncodeToString([]byte("me:s ecret"))
				if len(asked) == 0 || len(asked) > 1+dropped || asked[0].Method != http.MethodConnect || asked[0].Host != "example.com:8443" || asked[0].Header.Get("Proxy-Authorization") != want {
					t.Errorf("the proxy was asked %+v, want one CONNECT to example.com:8443 with credentials", asked)
				}
			})
		}
	}
}

// again starts a server like the one before, with TLS.
func again(old *httptest.Server) *httptest.Server {
	srv := httptest.NewUnstartedServer(old.Config.Handler)
	srv.EnableHTTP2 = true
	srv.StartTLS()
	return srv
}

// What is judged without a proxy because it is known, is judged with one.
func TestProxyIsNotAskedForWhatIsDenied(t *testing.T) {
	p := &tunnels{to: "127.0.0.1:1"}
	proxy := serve(t, p.handle)
	for _, row := range ssrfRows(t) {
		u, err := url.Parse(row.url)
		if err != nil {
			continue // no request can be made of it
		}
		host := strings.TrimSuffix(u.Hostname(), ".")
		name := strings.ContainsAny(host, "ghijklmnopqrstuvwyz") && !strings.HasSuffix(host, "localhost") && !strings.Contains(host, ":")
		if name && u.Port() == "" && strings.HasPrefix(u.Scheme, "http") || u.Port() == "6667" || u.Port() == "8222" {
			continue // what a name leads to is the proxy's to judge
		}
		denied := row.endsAt != "allow"
		t.Run(row.endsAt+" "+row.url, func(t *testing.T) {
			c := newTestClient(t, Options{Proxy: proxyURL(t, "http://"+proxy), Allow: atLoopback(t, proxy)})
			before := len(p.requests())
			_, err := c.Do(post(t, row.url, "{}", leisure))
			asked := len(p.requests()) > before
			if asked == denied {
				t.Errorf("asked the proxy: %v, %v (%v); want denied %v", asked, err, cause(err), denied)
			}
			if denied && Classify(err) != BlockedAddress && Classify(err) != InvalidRequest && Classify(err) != DNS {
				t.Errorf("failure %q (%v), want a refusal", Classify(err), err)
			}
		})
	}
}

// The proxy's own address is open for reaching the proxy and for nothing else.
func TestProxyIsNoTarget(t *testing.T) {
	p := &tunnels{to: "127.0.0.1:1"}
	address := serve(t, p.handle)
	_, port, _ := net.SplitHostPort(address)
	c := newTestClient(t, Options{
		Proxy:    proxyURL(t, "http://proxy.example.com:"+port),
		Allow:    atLoopback(t, address),
		Resolver: resolver(t, table(map[string][]netip.Addr{"proxy.example.com": {netip.MustParseAddr("127.0.0.1")}})),
	})
	for _, target := range []string{"http://" + address + "/", "http://proxy.example.com:" + port + "/", "http://PROXY.example.com:" + port + "/"} {
		if _, err := c.Do(post(t, target, "{}", leisure)); Classify(err) != BlockedAddress {
			t.Errorf("%s: %v, want it blocked", target, err)
		}
	}
	for _, target := range []string{"http://localhost/", "http://a.localhost:9000/", "http://2130706433/", "http://0x7f.1/", "http://127.1/", "http://8.8.8.8:22/", "http://crm.example.com:22/", "http://[2001:4860::1%25eth0]/"} {
		if _, err := c.Do(post(t, target, "{}", leisure)); Classify(err) != BlockedAddress {
			t.Errorf("%s: %v, want it blocked", target, err)
		}
	}
	if got := p.requests(); len(got) != 0 {
		t.Errorf("the proxy was asked for %d of them", len(got))
	}
	if _, err := c.Do(post(t, "http://crm.example.com/", "{}", leisure)); Classify(err) != Connect || len(p.requests()) != 1 {
		t.Errorf("%v, want the proxy asked and failing", err)
	}
}

// A proxy that fails or misbehaves costs what a receiver would, is never taken
// for one, and stays unnamed.
func TestHostileProxies(t *testing.T) {
	for _, tt := range []struct {
		name, scheme string
		handle       func(context.Context, net.Conn)
		words        string
	}{
		{"refuses", "http", answers("HTTP/1.1 403 Forbidden\r\nContent-Length: 6\r\n\r\ncanary"), "refused to connect (status 403)"},
		{"wants credentials", "http", answers("HTTP/1.1 407 canary\r\n\r\n"), "refused to connect (status 407)"},
		{"redirects", "http", answers("HTTP/1.1 302 Found\r\nLocation: http://canary/\r\n\r\n"), "refused to connect (status 302)"},
		{"informs", "http", floods("", "HTTP/1.1 100 Continue\r\n\r\n"), "refused to connect (status 100)"},
		{"switches protocols", "http", answers("HTTP/1.1 101 Switching Protocols\r\n\r\n"), "refused to connect (status 101)"},
		{"speaks no HTTP", "http", answersAndCloses("SSH-2.0-canary\r\n"), "valid HTTP"},
		{"floods with headers", "http", floods("HTTP/1.1 200 OK\r\n", "X-Flood: "+kib+"\r\n"), "valid HTTP"},
		{"floods with no HTTP", "http", floods("", "x"), "valid HTTP"},
		{"hangs up", "http", answersAndCloses(""), "valid HTTP"},
		{"is silent", "http", answers(), "in time"},
		{"drips", "http", drips("HTTP/1.1 200 OK\r\nX-A: ", "x"), "in time"},
		{"speaks no TLS", "https", answersAndCloses("HTTP/1.1 400 Bad Request\r\n\r\n"), "securely"},
		{"hangs in TLS", "https", func(ctx context.Context, _ net.Conn) { <-ctx.Done() }, "in time"},
		{"hangs up in TLS", "https", handshake(60, func(context.Context, net.Conn) {}), "securely"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			address := serve(t, tt.handle)
			var err error
			try := func(within time.Duration) (tooSoon bool) {
				c := newTestClient(t, Options{Proxy: proxyURL(t, tt.scheme+"://canary:canary@"+address), Allow: atLoopback(t, address), DialTimeout: within})
				_, err = c.Do(post(t, "https://crm.example.com/in?canary", "{}", 2*leisure))
				return strings.Contains(fmt.Sprint(err), "cannot be reached")
			}
			if tt.words == "in time" {
				patiently(try)
			} else {
				try(leisure)
			}
			text := fmt.Sprint(err)
			if Classify(err) != Connect || !strings.Contains(text, tt.words) || !strings.HasPrefix(text, "the egress proxy ") {
				t.Errorf("failure %q (%v; %v), want %q with %q", Classify(err), err, cause(err), Connect, tt.words)
			}
			secret := base64.StdEncoding.EncodeToString([]byte("canary:canary"))
			if all := fmt.Sprint(text, " ", cause(err), errors.Unwrap(cause(err))); strings.Contains(text, address) || strings.Contains(all, "canary:") || strings.Contains(all, secret) {
				t.Errorf("%q names the proxy or its credentials", all)
			}
			checkError(t, err, 0)
		})
	}
}

// An answer without end is read no further than a proxy has need to go.
func TestConnectAnswersAreBounded(t *testing.T) {
	conn := &counted{Conn: zeros{}}
	if _, err := connected(conn); !errors.Is(err, errFlood) || conn.read > maxConnect {
		t.Errorf("%v after %d bytes", err, conn.read)
	}
}

// counted counts what is read from a connection.
type counted struct {
	net.Conn
	read int
}

func (c *counted) Read(p []byte) (int, error) {
	n, err := c.Conn.Read(p)
	if c.read += n; c.read > 1<<20 {
		return 0, io.EOF
	}
	return n, err
}

func TestProxyThatIsAway(t *testing.T) {
	address := nobody(t)
	for _, proxy := range []string{"http://" + address, "http://nobody.example.com:3128"} {
		c := newTestClient(t, Options{Proxy: proxyURL(t, proxy), Allow: atLoopback(t, address), Resolver: resolver(t, table(nil))})
		_, err := c.Do(post(t, "https://crm.example.com/", "{}", leisure))
		if Classify(err) != Connect || err.Error() != "the egress proxy cannot be reached, on the way to crm.example.com" {
			t.Errorf("%q: %v", Classify(err), err)
		}
	}
	c := newTestClient(t, Options{Proxy: &url.URL{Scheme: "socks5", Host: address}})
	if _, err := c.Do(post(t, "https://crm.example.com/", "{}", leisure)); Classify(err) != Connect || !strings.Contains(err.Error(), "not configured well") {
		t.Errorf("a proxy of another kind: %v", err)
	}
}

// The receiver's own failures stay its own behind a proxy.
func TestReceiverFailsBehindTheProxy(t *testing.T) {
	var calls atomic.Int32
	p := &tunnels{to: serve(t, func(_ context.Context, c net.Conn) { calls.Add(1); say(c, "HTTP/1.1 400 Bad Request\r\n\r\n") })}
	address := serve(t, p.handle)
	c := newTestClient(t, Options{Proxy: proxyURL(t, "http://"+address), Allow: atLoopback(t, address)})
	if _, err := c.Do(post(t, "https://crm.example.com/", "{}", leisure)); Classify(err) != TLS || calls.Load() != 1 {
		t.Errorf("%v after %d calls, want the receiver's TLS to blame", err, calls.Load())
	}
	silent := &tunnels{to: serve(t, answers())}
	address = serve(t, silent.handle)
	c = newTestClient(t, Options{Proxy: proxyURL(t, "http://"+address), Allow: atLoopback(t, address)})
	if _, err := c.Do(post(t, "http://crm.example.com/", "{}", hasty)); Classify(err) != Timeout {
		t.Errorf("%v, want a timeout", err)
	}
}

func TestParseProxy(t *testing.T) {
	for _, raw := range []string{"http://proxy.example.com:3128", "https://me:pass@10.0.0.1", "http://[fd00::1]:3128/", " http://proxy "} {
		if _, err := ParseProxy(raw); err != nil {
			t.Errorf("%q: %v", raw, err)
		}
	}
	for raw, words := range map[string]string{
		"": "write http://", "canary:3128": "write http://", "socks5://me:canary@proxy": "write http://", "http://": "write http://",
		"http://:3128": "write http://", "http:canary": "write http://", "http://me:canary@proxy:port": "write http://", "http://\x7fcanary": "write http://",
		"http://proxy/canary": "neither path", "http://proxy?canary": "neither path", "http://proxy#canary": "neither path", "http://proxy:0": "1 to 65535", "http://proxy:65536": "1 to 65535",
	} {
		if _, err := ParseProxy(raw); err == nil || !strings.Contains(err.Error(), words) || strings.Contains(err.Error(), "canary") {
			t.Errorf("%q: %v, want it refused with %q", raw, err, words)
		}
	}
}
