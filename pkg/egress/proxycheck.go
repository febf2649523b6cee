package egress

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"strconv"
)

// CheckProxy returns an error if the egress proxy may not be reached under these
// options, because each of its addresses is denied: then no exchange could take
// place. What its name leads to can change, so that every connection to it is judged
// again; a name that cannot be resolved now is no error here.
func CheckProxy(ctx context.Context, o Options) error {
	if o.Proxy == nil {
		return nil
	}
	d := newDialer(NewGuard(o.Allow, o.Deny), o.withDefaults())
	if d.proxy.invalid != nil {
		return d.proxy.invalid
	}
	addresses, err := d.proxyAddresses(ctx)
	if err != nil {
		return nil //nolint:nilerr // DNS may work again when it is needed
	}
	var denied error
	for _, address := range addresses {
		if denied = d.guard.Check(address); denied == nil {
			return nil
		}
	}
	if _, ok := errors.AsType[*BlockedError](denied); ok {
		denied = fmt.Errorf("the egress proxy's address %s is not on the public internet or not on a port for the web, or is denied: "+
			"allow it with JETHOOK_EGRESS_ALLOW=%s", addresses[0].Addr(), Rule{netip.PrefixFrom(addresses[0].Addr(), addresses[0].Addr().BitLen()), addresses[0].Port()})
	}
	return denied
}

// proxyAddresses resolves the proxy's name.
func (d *dialer) proxyAddresses(ctx context.Context) ([]netip.AddrPort, error) {
	host, service, err := net.SplitHostPort(d.proxy.address)
	if err != nil {
		return nil, err
	}
	port, err := strconv.ParseUint(service, 10, 16)
	if err != nil {
		return nil, err
	}
	ctx, cancel := context.WithTimeout(ctx, d.net.Timeout)
	defer cancel()
	addrs, err := d.net.Resolver.LookupNetIP(ctx, "ip", host)
	if err != nil {
		return nil, err
	}
	all := make([]netip.AddrPort, len(addrs))
	for i, addr := range addrs {
		all[i] = netip.AddrPortFrom(addr.WithZone("").Unmap(), uint16(port))
	}
	return all, nil
}

// isProxy says whether a literal target is the proxy itself: who lets us reach a
// private proxy does not mean receivers. Only a target on its port costs a lookup.
func (d *dialer) isProxy(ctx context.Context, target netip.AddrPort) (bool, error) {
	if _, port, _ := net.SplitHostPort(d.proxy.address); port != strconv.Itoa(int(target.Port())) {
		return false, nil
	}
	addresses, err := d.proxyAddresses(ctx)
	if err != nil {
		return false, &proxyError{"cannot be found", err}
	}
	for _, address := range addresses {
		if address == netip.AddrPortFrom(target.Addr().WithZone("").Unmap(), target.Port()) {
			return true, nil
		}
	}
	return false, nil
}
