package egress

import (
	"errors"
	"fmt"
	"net/netip"
	"slices"
)

// specialIPv4 holds every range of the IANA registry of special-purpose IPv4
// addresses, multicast, and one address that looks public and is not.
var specialIPv4 = prefixes(
	"0.0.0.0/8",        // this network; 0.0.0.0 reaches the machine itself
	"10.0.0.0/8",       // private
	"100.64.0.0/10",    // carrier-grade NAT, a cloud's metadata among it
	"127.0.0.0/8",      // loopback
	"168.63.129.16/32", // Azure's host agent
	"169.254.0.0/16",   // link-local, most clouds' metadata
	"172.16.0.0/12",    // private
	"192.0.0.0/24",     // protocol assignments
	"192.0.2.0/24",     // documentation
	"192.31.196.0/24",  // AS112
	"192.52.193.0/24",  // AMT
	"192.88.99.0/24",   // 6to4 relays, deprecated
	"192.168.0.0/16",   // private
	"192.175.48.0/24",  // AS112
	"198.18.0.0/15",    // benchmarking
	"198.51.100.0/24",  // documentation
	"203.0.113.0/24",   // documentation
	"224.0.0.0/4",      // multicast
	"240.0.0.0/4",      // reserved, broadcast among it
)

// globalIPv6 is all that IANA hands out for the public internet. IPv6 is judged
// by what is allowed, because its special ranges keep growing outside of it.
var globalIPv6 = netip.MustParsePrefix("2000::/3")

// specialIPv6 holds the special ranges inside globalIPv6.
var specialIPv6 = prefixes(
	"2001::/23",         // protocol assignments: Teredo, ORCHID, benchmarking
	"2001:db8::/32",     // documentation
	"2002::/16",         // 6to4, which embeds an IPv4 address
	"2620:4f:8000::/48", // AS112
	"3fff::/20",         // documentation
)

// BlockedError says that an address may not be connected to. Its text is coarse
// on purpose: an endpoint's owner reads it, and which internal address a name
// resolved to is nobody's business outside.
type BlockedError struct {
	Addr netip.Addr // the address judged; invalid if there was none to parse
}

// Error says that the address is not allowed, without naming it.
func (e *BlockedError) Error() string {
	return "address not allowed: not on the public internet or not on a port for the web, or denied by the operator"
}

// Guard judges addresses and their ports. It is safe for concurrent use.
type Guard struct {
	allow, deny []Rule
	own         *ownAddresses
}

// NewGuard makes a guard that allows the public internet and what allow names,
// but not what deny names, nor this machine's own addresses unless allow names
// them.
func NewGuard(allow, deny []Rule) *Guard {
	return &Guard{allow: unmapAll(allow), deny: unmapAll(deny), own: &ownAddresses{list: interfaceAddrs}}
}

// Check says whether target may be connected to: nil, a *[BlockedError], or
// another error if that cannot be told now, which denies as well.
//
// The port must be one that web servers use, 80, 443 or from 1024, unless an
// allow rule names that very port: what listens below might take a request for
// something else. Of the address, the operator's allow list is looked at first,
// so that a trial can open loopback; then the deny list, the special ranges and
// the machine's own addresses. An address that embeds an IPv4 one, where a rule
// allows it, is judged by that one: a gateway would connect to it.
func (g *Guard) Check(target netip.AddrPort) error {
	// A prefix contains neither zoned addresses nor, if it is IPv4, mapped ones.
	target = netip.AddrPortFrom(target.Addr().WithZone("").Unmap(), target.Port())
	if !target.IsValid() || !g.port(target) {
		return &BlockedError{Addr: target.Addr()}
	}
	return g.address(target)
}

func (g *Guard) port(target netip.AddrPort) bool {
	port := target.Port()
	return webPort(port) || port != 0 && slices.ContainsFunc(g.allow, func(r Rule) bool {
		return r.Port == port && r.matches(target)
	})
}

// webPort says whether web servers are to be expected on a port.
func webPort(port uint16) bool { return port == 80 || port == 443 || port >= 1024 }

func (g *Guard) address(target netip.AddrPort) error {
	addr := target.Addr()
	for _, r := range g.allow {
		if !r.matches(target) {
			continue
		}
		err := g.embedded(target, r)
		if _, blocked := errors.AsType[*BlockedError](err); !blocked {
			return err
		}
	}
	if matchAny(g.deny, target) || special(addr) {
		return &BlockedError{Addr: addr}
	}
	// Own addresses that are public too: the kernel takes a short way to them
	// that passes by the host's firewall.
	own, err := g.own.contains(addr)
	if err != nil {
		return fmt.Errorf("cannot tell this machine's own addresses, so nothing is dialed: %w", err)
	}
	if own {
		return &BlockedError{Addr: addr}
	}
	return nil
}

// embedded judges the IPv4 addresses inside of one that the rule names.
func (g *Guard) embedded(target netip.AddrPort, r Rule) error {
	for _, inner := range embeddedIPv4(target.Addr(), r.Prefix.Bits()) {
		if err := g.address(netip.AddrPortFrom(inner, target.Port())); err != nil {
			return err
		}
	}
	return nil
}

// special says whether addr lies outside the public internet.
func special(addr netip.Addr) bool {
	if addr.Is4() {
		return contains(specialIPv4, addr)
	}
	return !globalIPv6.Contains(addr) || contains(specialIPv6, addr) || isISATAP(addr.As16())
}

func contains(list []netip.Prefix, addr netip.Addr) bool {
	for _, p := range list {
		if p.Contains(addr) {
			return true
		}
	}
	return false
}

func unmapAll(rules []Rule) []Rule {
	out := make([]Rule, len(rules))
	for i, r := range rules {
		out[i] = Rule{Prefix: unmapPrefix(r.Prefix), Port: r.Port}
	}
	return out
}

func prefixes(list ...string) []netip.Prefix {
	out := make([]netip.Prefix, len(list))
	for i, s := range list {
		out[i] = netip.MustParsePrefix(s)
	}
	return out
}
