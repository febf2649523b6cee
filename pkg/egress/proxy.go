package egress

import (
	"bufio"
	"bytes"
	"cmp"
	"context"
	"crypto/tls"
	"encoding/base64"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/netip"
	"net/url"
	"strconv"
	"strings"
	"time"

	"jethook/pkg/secret"
)

// maxConnect bounds a proxy's answer to CONNECT.
const maxConnect = 8 << 10

// ParseProxy reads the URL of an egress proxy, http or https, which may hold a
// user name and a password and has a port unless that is 80 or 443. Its errors
// don't repeat the URL.
func ParseProxy(raw string) (*url.URL, error) {
	u, err := url.Parse(strings.TrimSpace(raw))
	switch {
	case err != nil || u.Opaque != "" || u.Scheme != "http" && u.Scheme != "https" || u.Hostname() == "":
		return nil, errors.New("is no proxy's URL; write http://proxy.example.com:3128, or https:// and a user name and password before the host where the proxy wants them")
	case u.Path != "" && u.Path != "/" || u.RawQuery != "" || u.Fragment != "":
		return nil, errors.New("must end after host and port: a proxy's URL has neither path nor query")
	}
	if port := u.Port(); port != "" {
		if n, err := strconv.ParseUint(port, 10, 16); err != nil || n == 0 {
			return nil, errors.New("has a port that is not a number from 1 to 65535")
		}
	}
	return u, nil
}

// proxy opens tunnels through the egress proxy.
type proxy struct {
	dial    func(ctx context.Context, network, address string) (net.Conn, error) // judges
	timeout time.Duration
	address string
	tls     *tls.Config // nil: the proxy speaks plain HTTP
	auth    secret.Secret
	invalid error
}

func newProxy(o Options, dial func(ctx context.Context, network, address string) (net.Conn, error)) *proxy {
	u, err := ParseProxy(o.Proxy.String())
	if err != nil {
		return &proxy{invalid: errors.New("the egress proxy's URL " + err.Error())}
	}
	p := &proxy{dial: dial, timeout: o.DialTimeout}
	port := u.Port()
	if u.Scheme == "https" {
		p.tls = &tls.Config{MinVersion: tls.VersionTLS12, RootCAs: o.RootCAs, ServerName: u.Hostname()}
		if port == "" {
			port = "443"
		}
	}
	if port == "" {
		port = "80"
	}
	p.address = net.JoinHostPort(u.Hostname(), port)
	if u.User != nil {
		password, _ := u.User.Password()
		p.auth = secret.Secret(base64.StdEncoding.EncodeToString([]byte(u.User.Username() + ":" + password)))
	}
	return p
}

// proxyError is a failure of the proxy and says nothing about the receiver. Its
// text names neither the proxy's address nor its credentials.
type proxyError struct {
	text string
	err  error
}

func (e *proxyError) Error() string { return "the egress proxy " + e.text }
func (e *proxyError) Unwrap() error { return e.err }

// judge looks at a target before the proxy does. A literal address is judged as
// on a direct connection; what the proxy's resolver could take for one, although
// it is not written as one, is denied, and so is the proxy as a target.
func (d *dialer) judge(ctx context.Context, target string) error {
	host, service, err := net.SplitHostPort(target)
	port, portErr := strconv.ParseUint(service, 10, 16)
	if err != nil || portErr != nil || strings.EqualFold(target, d.proxy.address) {
		return &BlockedError{}
	}
	addr, err := netip.ParseAddr(host)
	switch {
	case err == nil && addr.Zone() == "":
		literal := netip.AddrPortFrom(addr, uint16(port))
		if err := d.guard.Check(literal); err != nil {
			return err
		}
		if own, err := d.isProxy(ctx, literal); err != nil || own {
			return cmp.Or[error](err, &BlockedError{Addr: addr})
		}
	case err == nil || !webPort(uint16(port)) || !plainName(host):
		return &BlockedError{Addr: addr}
	}
	return nil
}

// plainName says whether a host is a name and nothing else: neither a number,
// nor this machine, nor anything that would be more than a host in a request.
func plainName(host string) bool {
	name := strings.ToLower(strings.TrimSuffix(host, "."))
	last := name[strings.LastIndexByte(name, '.')+1:]
	number := strings.Trim(last, "0123456789") == "" || strings.HasPrefix(last, "0x") && strings.Trim(last[2:], "0123456789abcdef") == ""
	return !number && last != "localhost" && strings.Trim(name, "abcdefghijklmnopqrstuvwxyz0123456789-_.") == ""
}

// open connects to the proxy and has it connect to target, all within the dial's
// timeout: net/http lets dials outlive the request that they began for.
func (p *proxy) open(ctx context.Context, target string) (net.Conn, error) {
	if p.invalid != nil {
		return nil, &proxyError{"is not configured well", p.invalid}
	}
	ctx, cancel := context.WithTimeout(ctx, p.timeout)
	defer cancel()
	raw, err := metered(p.dial(ctx, "tcp", p.address))
	if _, denied := errors.AsType[*BlockedError](err); denied {
		return nil, &proxyError{"may not be reached: its address is for JETHOOK_EGRESS_ALLOW to allow", err}
	}
	if err != nil {
		return nil, &proxyError{"cannot be reached", err}
	}
	stop := context.AfterFunc(ctx, func() { _ = raw.SetDeadline(time.Unix(1, 0)) }) // ends reads and writes
	conn, failed := p.tunnel(ctx, raw, target)
	if !stop() {
		failed = &proxyError{"did not answer in time", ctx.Err()}
	}
	if failed != nil {
		_ = raw.Close() // it failed already
		return nil, failed
	}
	return conn, nil
}

func (p *proxy) tunnel(ctx context.Context, conn net.Conn, target string) (net.Conn, *proxyError) {
	if p.tls != nil {
		secure := tls.Client(conn, p.tls)
		if err := secure.HandshakeContext(ctx); err != nil {
			return nil, &proxyError{"could not be reached securely", err}
		}
		conn = secure
	}
	request := "CONNECT " + target + " HTTP/1.1\r\nHost: " + target + "\r\n"
	if p.auth != "" {
		request += "Proxy-Authorization: Basic " + p.auth.Reveal() + "\r\n"
	}
	if _, err := io.WriteString(conn, request+"\r\n"); err != nil {
		return nil, &proxyError{"closed the connection", err}
	}
	status, err := connected(conn)
	if err != nil {
		return nil, &proxyError{"did not answer in valid HTTP", err}
	}
	if status < 200 || status > 299 {
		return nil, &proxyError{fmt.Sprintf("refused to connect (status %d)", status), nil}
	}
	return conn, nil
}

// connected reads the proxy's answer byte by byte: what is behind it comes from
// the receiver, and is none of the proxy's.
func connected(conn net.Conn) (status int, err error) {
	head := make([]byte, 0, 512)
	for !bytes.HasSuffix(head, []byte("\n\r\n")) && !bytes.HasSuffix(head, []byte("\n\n")) {
		if len(head) == maxConnect {
			return 0, errFlood
		}
		head = append(head, 0)
		if _, err := io.ReadFull(conn, head[len(head)-1:]); err != nil {
			return 0, err
		}
	}
	res, err := http.ReadResponse(bufio.NewReader(bytes.NewReader(head)), &http.Request{Method: http.MethodConnect})
	if err != nil {
		return 0, err
	}
	defer func() { _ = res.Body.Close() }() // it has none: that would be the tunnel
	return res.StatusCode, nil
}
