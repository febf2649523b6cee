package egress

import (
	"context"
	"net"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"strings"
	"testing"
)

// The proxy's own address is judged when it is connected to, like any other; a proxy
// that may not be reached is the operator's mistake and no receiver's.
func TestTheProxyIsJudged(t *testing.T) {
	p := &tunnels{to: "127.0.0.1:1"}
	address := serve(t, p.handle)
	_, port, _ := net.SplitHostPort(address)
	names := table(map[string][]netip.Addr{"proxy.example.com": {netip.MustParseAddr("127.0.0.1")}})
	for _, proxy := range []string{address, "proxy.example.com:" + port} {
		o := Options{Proxy: proxyURL(t, "http://"+proxy), Resolver: resolver(t, names)}
		_, err := newTestClient(t, o).Do(post(t, "http://crm.example.com/", "{}", leisure))
		if Classify(err) != Connect || len(p.requests()) != 0 || !strings.Contains(err.Error(), "JETHOOK_EGRESS_ALLOW") || strings.Contains(err.Error(), "127.0.0.1") {
			t.Errorf("%s: %q (%v), asked %d times", proxy, Classify(err), err, len(p.requests()))
		}
		if err := CheckProxy(t.Context(), o); err == nil || !strings.Contains(err.Error(), "JETHOOK_EGRESS_ALLOW="+address) {
			t.Errorf("%s: at the start: %v", proxy, err)
		}
		o.Allow = atLoopback(t, address)
		if err := CheckProxy(t.Context(), o); err != nil {
			t.Errorf("%s: allowed: %v", proxy, err)
		}
	}
}

// At the start only what is certain is an error.
func TestCheckProxy(t *testing.T) {
	public := netip.MustParseAddr("8.8.8.8")
	names := resolver(t, table(map[string][]netip.Addr{"public.example.com": {public}, "both.example.com": {netip.MustParseAddr("10.0.0.1"), public}}))
	for proxy, ok := range map[string]bool{
		"": true, "http://8.8.8.8:3128": true, "http://public.example.com": true, "https://both.example.com:8443": true, "http://nobody.example.com:3128": true,
		"http://10.0.0.1:3128": false, "http://public.example.com:25": false, "http://[::1]:3128": false,
	} {
		o := Options{Resolver: names}
		if proxy != "" {
			o.Proxy = proxyURL(t, proxy)
		}
		if err := CheckProxy(t.Context(), o); (err == nil) != ok {
			t.Errorf("%s: %v, want it allowed: %v", proxy, err, ok)
		}
		o.Deny = AnyPort(netip.MustParsePrefix("0.0.0.0/0"))
		if err := CheckProxy(t.Context(), o); proxy != "" && !strings.Contains(proxy, "nobody") && err == nil {
			t.Errorf("%s: denied, and yet it may be reached", proxy)
		}
	}
}

// A target is not compared with the proxy by its text alone: what its name leads to
// counts, and where that cannot be told now, the attempt is made later.
func TestATargetOnTheProxysPort(t *testing.T) {
	proxy := httptest.NewServer(http.NotFoundHandler())
	t.Cleanup(proxy.Close)
	address := proxy.Listener.Addr().String()
	_, port, _ := net.SplitHostPort(address)
	o := Options{Proxy: proxyURL(t, "http://proxy.example.com:"+port), Allow: AnyPort(netip.MustParsePrefix("127.0.0.0/8")), Resolver: resolver(t, table(nil))}
	d := newTestClient(t, o).dialer
	for target, want := range map[string]Failure{address: Connect, "127.0.0.1:9": BlockedAddress, "127.0.0.1:9000": "", "8.8.8.8:" + port: Connect} {
		if got := Classify(d.judge(context.Background(), target)); got != want {
			t.Errorf("%s: %q, want %q", target, got, want)
		}
	}
}
