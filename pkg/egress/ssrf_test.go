package egress

import (
	"context"
	"errors"
	"io"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"net/url"
	"os"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"
)

// errNotContacted ends a dial that the guard let pass.
var errNotContacted = errors.New("judged allowed, not contacted by the test")

// ownAddr is what the clients of these tests take for this machine's address.
var ownAddr = netip.MustParseAddr("93.184.216.99")

// newTestClient makes a client that is closed with the test.
func newTestClient(t testing.TB, o Options) *Client {
	t.Helper()
	o.AllowHTTP = true // whether that is allowed has a test of its own
	c := New(o)
	t.Cleanup(c.Close)
	return c
}

// judgeOnly makes a client that contacts nobody: it says in passed which
// addresses it would have connected to.
func judgeOnly(t testing.TB, o Options) (c *Client, passed func() []string) {
	t.Helper()
	c = newTestClient(t, o)
	c.dialer.guard.own = &ownAddresses{list: func() ([]netip.Addr, error) { return []netip.Addr{ownAddr}, nil }}
	var mu sync.Mutex
	var list []string
	c.dialer.passed = func(_, address string) error {
		mu.Lock()
		defer mu.Unlock()
		list = append(list, address)
		return errNotContacted
	}
	return c, func() []string {
		mu.Lock()
		defer mu.Unlock()
		return slices.Clone(list)
	}
}

// post makes a POST request with a deadline; the URL may be any string that
// net/url parses.
func post(t testing.TB, rawURL, body string, within time.Duration) *http.Request {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), within)
	t.Cleanup(cancel)
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, rawURL, strings.NewReader(body))
	if err != nil {
		t.Fatalf("request: %v", err)
	}
	return req
}

// ssrfRow is a line of testdata/ssrf.tsv. EndsAt says where the URL's way ends:
// "write" (refused by validation, see package endpoint), "dial" (blocked by the
// guard), "redirect" (not followed), or "allow".
type ssrfRow struct {
	url    string
	addrs  []netip.Addr
	endsAt string
}

func ssrfRows(t testing.TB) []ssrfRow {
	t.Helper()
	data, err := os.ReadFile("testdata/ssrf.tsv")
	if err != nil {
		t.Fatal(err)
	}
	var rows []ssrfRow
	for line := range strings.Lines(string(data)) {
		f := strings.Split(strings.TrimSuffix(line, "\n"), "\t")
		if len(f) != 3 {
			t.Fatalf("line %q has %d fields, not 3", line, len(f))
		}
		row := ssrfRow{url: f[0], endsAt: f[2]}
		if f[1] != "-" && f[1] != "NXDOMAIN" && f[1] != "resolves_to" {
			for a := range strings.SplitSeq(f[1], ",") {
				row.addrs = append(row.addrs, netip.MustParseAddr(a))
			}
		}
		rows = append(rows, row)
	}
	return rows[1:]
}

// public says whether any address that the row's host leads to is public: then
// only validation or the refusal to follow stands between it and a request.
func (r ssrfRow) public() bool {
	return slices.ContainsFunc(r.addrs, func(a netip.Addr) bool { return a.String() == "93.184.216.34" })
}

func TestEveryRowAtTheDial(t *testing.T) {
	rows := ssrfRows(t)
	if len(rows) < 140 {
		t.Fatalf("only %d rows", len(rows))
	}
	for _, row := range rows {
		t.Run(row.endsAt+" "+row.url, func(t *testing.T) {
			u, err := url.Parse(row.url)
			if err != nil {
				if row.endsAt != "write" {
					t.Fatalf("parse: %v", err)
				}
				return // no request can be made of it
			}
			host := strings.ToLower(strings.TrimSuffix(u.Hostname(), "."))
			// Only the row's own name is there, so that a name that net/http
			// maps to another one leads nowhere.
			c, passed := judgeOnly(t, Options{Resolver: resolver(t, table(map[string][]netip.Addr{host: row.addrs}))})
			_, err = c.Do(post(t, row.url, "{}", leisure))
			switch {
			case row.endsAt == "allow" || row.endsAt == "redirect":
				if !errors.Is(err, errNotContacted) || len(passed()) == 0 {
					t.Errorf("err = %v, passed %v; want it allowed", err, passed())
				}
				for _, p := range passed() {
					if to := netip.MustParseAddrPort(p).Addr(); !slices.Contains(row.addrs, to) && to.String() != strings.TrimPrefix(host, "::ffff:") {
						t.Errorf("would have connected to %s, which is not the receiver's", p)
					}
				}
			case row.endsAt == "write" && row.public() && u.Port() != "22":
				// The guard has nothing against address and port.
			case len(passed()) != 0:
				t.Errorf("would have connected to %v", passed())
			case row.endsAt == "dial" && Classify(err) != BlockedAddress:
				t.Errorf("failure = %q (%v), want %q", Classify(err), err, BlockedAddress)
			case row.endsAt == "write" && !slices.Contains([]Failure{BlockedAddress, DNS, InvalidRequest}, Classify(err)):
				t.Errorf("failure = %q (%v), want a refusal", Classify(err), err)
			}
		})
	}
}

func TestRedirectsAreAnswersNotOrders(t *testing.T) {
	for _, target := range []string{"http://169.254.169.254/latest", "/again", "//127.0.0.1/", "file:///etc/passwd", "https://hooks.example.com/other"} {
		for _, status := range []int{301, 302, 303, 307, 308} {
			var calls atomic.Int32
			srv := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
				calls.Add(1)
				w.Header().Set("Location", target)
				w.WriteHeader(status)
			}))
			c := newTestClient(t, Options{Allow: loopback})
			var dials atomic.Int32
			c.dialer.passed = func(string, string) error { dials.Add(1); return nil }
			res, err := c.Do(post(t, srv.URL, "{}", leisure))
			if err != nil || res.Status != status || res.Header.Get("Location") != target {
				t.Errorf("%d to %s: status %d, Location %q, err %v", status, target, res.Status, res.Header.Get("Location"), err)
			}
			if calls.Load() != 1 || dials.Load() != 1 {
				t.Errorf("%d to %s: %d requests over %d connections, want 1 over 1", status, target, calls.Load(), dials.Load())
			}
			c.Close()
			srv.Close()
		}
	}
}

func TestRebindingNameIsJudgedOnEachConnect(t *testing.T) {
	var calls atomic.Int32
	srv := httptest.NewServer(http.HandlerFunc(func(http.ResponseWriter, *http.Request) { calls.Add(1) }))
	defer srv.Close()
	_, port, _ := strings.Cut(strings.TrimPrefix(srv.URL, "http://"), ":")

	var bound atomic.Bool
	c, passed := judgeOnly(t, Options{Resolver: resolver(t, func(string) []netip.Addr {
		if bound.Load() {
			return []netip.Addr{netip.MustParseAddr("127.0.0.1")}
		}
		return []netip.Addr{netip.MustParseAddr("93.184.216.34")}
	})})
	target := "http://rebind.example.com:" + port + "/"
	if _, err := c.Do(post(t, target, "{}", leisure)); !errors.Is(err, errNotContacted) {
		t.Fatalf("while public: %v", err)
	}
	bound.Store(true)
	c.dialer.passed = nil // from here on it would really connect
	if _, err := c.Do(post(t, target, "{}", leisure)); Classify(err) != BlockedAddress {
		t.Errorf("after rebinding: %v, want %s", err, BlockedAddress)
	}
	if got := passed(); len(got) != 1 || got[0] != "93.184.216.34:"+port || calls.Load() != 0 {
		t.Errorf("passed %v, %d requests; want only the public address to pass", got, calls.Load())
	}
}

func TestUnparsableTargetsAreBlocked(t *testing.T) {
	d := New(Options{Allow: loopback}).dialer
	for _, tt := range []struct{ network, address string }{
		{"tcp4", ":80"}, {"tcp6", ":80"}, {"tcp4", ""}, {"tcp4", "localhost:80"}, {"tcp4", "127.0.0.1"},
		{"tcp", "127.0.0.1:80"}, {"udp4", "127.0.0.1:80"}, {"unix", "/run/docker.sock"},
	} {
		if err := d.control(t.Context(), tt.network, tt.address, nil); Classify(err) != BlockedAddress {
			t.Errorf("control(%s, %q) = %v, want blocked", tt.network, tt.address, err)
		}
	}
	if err := d.control(t.Context(), "tcp4", "127.0.0.1:80", nil); err != nil {
		t.Errorf("allowed address: %v", err)
	}
}

// A private address beside a public one must not turn the public one's outage
// into a permanent failure.
func TestBlockedOnlyIfEveryAddressIs(t *testing.T) {
	c, _ := judgeOnly(t, Options{Resolver: resolver(t, table(map[string][]netip.Addr{
		"mixed.example.com": {netip.MustParseAddr("10.0.0.1"), netip.MustParseAddr("93.184.216.34")},
	}))})
	c.dialer.passed = func(string, string) error { return io.EOF }
	_, err := c.Do(post(t, "http://mixed.example.com/", "{}", leisure))
	if Classify(err) != Connect {
		t.Errorf("failure = %q (%v), want %q", Classify(err), err, Connect)
	}
}

// Plain HTTP is refused before anything is contacted, as the permanent failure
// that it is.
func TestPlainHTTPIsRefusedUnlessAllowed(t *testing.T) {
	contacted := false
	srv := httptest.NewServer(http.HandlerFunc(func(http.ResponseWriter, *http.Request) { contacted = true }))
	defer srv.Close()
	c := New(Options{Allow: loopback})
	defer c.Close()
	req, err := http.NewRequestWithContext(t.Context(), http.MethodPost, srv.URL, nil)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := c.Do(req); Classify(err) != InvalidRequest {
		t.Errorf("got %v, want %s", err, InvalidRequest)
	}
	if contacted {
		t.Error("the receiver was contacted")
	}
}
