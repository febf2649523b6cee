package egress

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"sync/atomic"
	"syscall"
)

// dialer connects to judged addresses only, or to the proxy.
type dialer struct {
	net   net.Dialer
	guard *Guard
	proxy *proxy // nil: straight to the target
	// passed, if set, sees each address that the guard let pass and may still
	// refuse it. Tests look here, so that nothing outside is ever contacted.
	passed func(network, address string) error
}

func newDialer(guard *Guard, o Options) *dialer {
	d := &dialer{guard: guard}
	d.net = net.Dialer{Timeout: o.DialTimeout, Resolver: o.Resolver, ControlContext: d.control}
	if o.Proxy != nil {
		d.proxy = newProxy(o, d.direct)
	}
	return d
}

// DialContext connects to address, or opens a tunnel to it, for the exchange in
// ctx. The connection's reads are metered.
func (d *dialer) DialContext(ctx context.Context, network, address string) (net.Conn, error) {
	if err := countDial(ctx); err != nil {
		return nil, err
	}
	if f := followOf(ctx); f != nil {
		f.clocks.dials()
		defer f.clocks.dialed()
	}
	if d.proxy == nil {
		return metered(d.direct(ctx, network, address))
	}
	if err := d.judge(ctx, address); err != nil {
		return nil, err
	}
	return d.proxy.open(ctx, address)
}

// allowedKey is the context key under which a dial notes, in an *atomic.Bool,
// whether any of a name's addresses was allowed.
type allowedKey struct{}

// direct connects like [net.Dialer.DialContext]. It fails with a *[BlockedError]
// only if every address tried was denied: of a name with a
// private and a public address of which the public one is down, the latter is
// the failure, and that one passes.
func (d *dialer) direct(ctx context.Context, network, address string) (net.Conn, error) {
	var allowed atomic.Bool
	conn, err := d.net.DialContext(context.WithValue(ctx, allowedKey{}, &allowed), network, address)
	if err != nil && allowed.Load() {
		if _, ok := errors.AsType[*BlockedError](err); ok {
			return nil, &net.OpError{Op: "dial", Net: network, Err: errors.New("none of the allowed addresses answered")}
		}
	}
	return conn, err
}

// control runs after the name was resolved and before the socket connects, with
// the very address that the socket will connect to.
func (d *dialer) control(ctx context.Context, network, address string, _ syscall.RawConn) error {
	if network != "tcp4" && network != "tcp6" {
		return fmt.Errorf("network %s: %w", network, &BlockedError{})
	}
	if f := followOf(ctx); f != nil {
		f.clocks.resolved()
	}
	// What cannot be parsed is denied: ":80" has no address here, and the
	// system would connect it to the machine itself.
	target, err := netip.ParseAddrPort(address)
	if err != nil {
		return &BlockedError{}
	}
	if err := d.guard.Check(target); err != nil {
		return err
	}
	if allowed, ok := ctx.Value(allowedKey{}).(*atomic.Bool); ok {
		allowed.Store(true)
	}
	if d.passed != nil {
		return d.passed(network, address)
	}
	return nil
}
