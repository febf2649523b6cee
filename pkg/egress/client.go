package egress

import (
	"crypto/tls"
	"crypto/x509"
	"net"
	"net/http"
	"net/url"
	"time"
)

// maxHeader bounds the response headers of one exchange, informational
// responses included.
const maxHeader = 64 << 10

// Options configures a [Client]. Its zero value allows the public internet only
// and is right for production.
type Options struct {
	// Allow names what may be reached beyond the public internet, such as
	// 127.0.0.0/8 in a trial, and ports below 1024 that may be reached beside 80
	// and 443. It is looked at before Deny.
	Allow []Rule
	// Deny names what may not be reached although it is public. A network's own
	// NAT64 prefix belongs here: nothing tells it from any other public one.
	Deny []Rule
	// AllowHTTP also sends requests without TLS.
	AllowHTTP bool

	// MaxIdleConns bounds the connections kept open and unused over all hosts,
	// 8192 by default.
	MaxIdleConns int
	// MaxIdleConnsPerHost bounds them for one host, 1024 by default: with fewer
	// than there are requests at a time, each surplus one dials anew.
	MaxIdleConnsPerHost int
	// IdleTimeout closes connections that were not used for that long, 90 s by
	// default.
	IdleTimeout time.Duration

	// DialTimeout bounds a dial, and then the TLS handshake on its own, 10 s
	// each by default. The request's deadline ends the exchange before, but
	// net/http lets the dial go on for the next request's sake; this is what
	// keeps dials to a host that never answers from piling up.
	DialTimeout time.Duration

	// Proxy, an http or https URL, takes every exchange through a proxy by way of
	// CONNECT, those without TLS too; see [ParseProxy]. Its user and password are
	// for it alone. Its own address is judged like any other, so that a private one
	// takes a rule in Allow, and it may be no target; see [CheckProxy]. Literal addresses in URLs are judged as without it,
	// but names are resolved by the proxy, which must judge what comes of that.
	Proxy *url.URL

	// Resolver looks names up; Go's own by default, never the system's, which
	// takes things such as 0x7f.1 for addresses.
	Resolver *net.Resolver
	// RootCAs verifies receivers whose identity names no other authorities, and
	// the proxy; the system's by default.
	RootCAs *x509.CertPool

	// Warn, if set, hears that an [Identity]'s changed files cannot be used and
	// that what was read before stays in force, once for each reason. It must not
	// block.
	Warn func(error)
}

func (o Options) withDefaults() Options {
	o.MaxIdleConns = positive(o.MaxIdleConns, 8192)
	o.MaxIdleConnsPerHost = positive(o.MaxIdleConnsPerHost, 1024)
	o.IdleTimeout = positive(o.IdleTimeout, 90*time.Second)
	o.DialTimeout = positive(o.DialTimeout, 10*time.Second)
	if o.Resolver == nil {
		o.Resolver = &net.Resolver{PreferGo: true}
	}
	return o
}

func positive[T int | time.Duration](v, otherwise T) T {
	if v > 0 {
		return v
	}
	return otherwise
}

// Client sends requests to receivers that nobody vouches for. One client, with
// its pools of connections, serves a whole replica; it is safe for concurrent
// use.
type Client struct {
	transport  *http.Transport // of exchanges without an identity
	identities identities
	dialer     *dialer
	allowHTTP  bool
}

// New makes a client.
func New(o Options) *Client {
	o = o.withDefaults()
	c := &Client{dialer: newDialer(NewGuard(o.Allow, o.Deny), o), allowHTTP: o.AllowHTTP}
	// Spares hosts that hear from us seldom the full handshake.
	c.transport = newTransport(c.dialer, o, &tls.Config{
		MinVersion: tls.VersionTLS12, RootCAs: o.RootCAs,
		ClientSessionCache: tls.NewLRUClientSessionCache(o.MaxIdleConnsPerHost),
	})
	c.identities = identities{roots: o.RootCAs, warn: o.Warn, transport: func(config *tls.Config) *http.Transport {
		return newTransport(c.dialer, o, config)
	}}
	return c
}

func newTransport(d *dialer, o Options, config *tls.Config) *http.Transport {
	return &http.Transport{
		Proxy:                  nil, // an environment variable must not reroute deliveries
		DialContext:            d.DialContext,
		TLSClientConfig:        config,
		TLSHandshakeTimeout:    o.DialTimeout,
		DisableCompression:     true,
		MaxIdleConns:           o.MaxIdleConns,
		MaxIdleConnsPerHost:    o.MaxIdleConnsPerHost,
		IdleConnTimeout:        o.IdleTimeout,
		MaxResponseHeaderBytes: maxHeader,
		ForceAttemptHTTP2:      true, // a DialContext of one's own turns it off otherwise
		HTTP2: &http.HTTP2Config{
			// The windows bound what a receiver can make us hold unread; the
			// defaults are 4 MiB a stream and 1 GiB a connection.
			MaxReceiveBufferPerStream:     2 * MaxBody,
			MaxReceiveBufferPerConnection: window - (64<<10 - 1), // beyond what HTTP/2 begins with
			// All requests to a host share one connection: if it died in
			// silence, each would time out until TCP gives up, minutes later.
			SendPingTimeout:  15 * time.Second,
			PingTimeout:      5 * time.Second,
			WriteByteTimeout: 15 * time.Second,
		},
	}
}

// Close closes the connections that are idle. Exchanges under way go on.
func (c *Client) Close() {
	c.transport.CloseIdleConnections()
	c.identities.close()
}
