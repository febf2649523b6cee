package egress

import (
	"crypto/tls"
	"crypto/x509"
	"net"
	"net/http"
	"net/netip"
	"time"
)

// maxHeader bounds the response headers of one exchange, informational
// responses included.
const maxHeader = 64 << 10

// Options configures a [Client]. Its zero value allows the public internet only
// and is right for production.
type Options struct {
	// Allow names what may be reached beyond the public internet, such as
	// 127.0.0.0/8 in a trial. It is looked at before anything else.
	Allow []netip.Prefix
	// Deny names what may not be reached although it is public.
	Deny []netip.Prefix
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

	// Resolver looks names up; Go's own by default, never the system's, which
	// takes things such as 0x7f.1 for addresses.
	Resolver *net.Resolver
	// RootCAs verifies receivers; the system's by default.
	RootCAs *x509.CertPool
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
// its pool of connections, serves a whole replica; it is safe for concurrent
// use.
type Client struct {
	transport *http.Transport
	dialer    *dialer
	allowHTTP bool
}

// New makes a client.
func New(o Options) *Client {
	o = o.withDefaults()
	d := newDialer(NewGuard(o.Allow, o.Deny), o)
	return &Client{dialer: d, allowHTTP: o.AllowHTTP, transport: &http.Transport{
		Proxy:                  nil, // an environment variable must not reroute deliveries
		DialContext:            d.DialContext,
		TLSHandshakeTimeout:    o.DialTimeout,
		DisableCompression:     true,
		MaxIdleConns:           o.MaxIdleConns,
		MaxIdleConnsPerHost:    o.MaxIdleConnsPerHost,
		IdleConnTimeout:        o.IdleTimeout,
		MaxResponseHeaderBytes: maxHeader,
		ForceAttemptHTTP2:      true, // a DialContext of one's own turns it off otherwise
		TLSClientConfig: &tls.Config{
			MinVersion: tls.VersionTLS12,
			RootCAs:    o.RootCAs,
			// Spares hosts that hear from us seldom the full handshake.
			ClientSessionCache: tls.NewLRUClientSessionCache(o.MaxIdleConnsPerHost),
		},
		HTTP2: &http.HTTP2Config{
			// The windows bound what a receiver can make us hold unread; the
			// defaults are 4 MiB a stream and 1 GiB a connection.
			MaxReceiveBufferPerStream:     2 * MaxBody,
			MaxReceiveBufferPerConnection: 1 << 20,
			// All requests to a host share one connection: if it died in
			// silence, each would time out until TCP gives up, minutes later.
			SendPingTimeout:  15 * time.Second,
			PingTimeout:      5 * time.Second,
			WriteByteTimeout: 15 * time.Second,
		},
	}}
}

// Close closes the connections that are idle. Exchanges under way go on.
func (c *Client) Close() { c.transport.CloseIdleConnections() }
