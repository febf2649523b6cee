package egress

import (
	"fmt"
	"net/netip"
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

// nat64 is the well-known prefix under which a gateway reaches IPv4.
var nat64 = netip.MustParsePrefix("64:ff9b::/96")

// BlockedError says that an address may not be connected to. Its text is coarse
// on purpose: an endpoint's owner reads it, and which internal address a name
// resolved to is nobody's business outside.
type BlockedError struct {
	Addr netip.Addr // the address judged; invalid if there was none to parse
}

// Error says that the address is not allowed, without naming it.
func (e *BlockedError) Error() string {
	return "address not allowed: not on the public internet, or denied by the operator"
}

// Guard judges addresses. It is safe for concurrent use.
type Guard struct {
	allow, deny []netip.Prefix
	own         *ownAddresses
}

// NewGuard makes a guard that allows the public internet and the prefixes in
// allow, but not those in deny, nor this machine's own addresses unless allow
// names them.
func NewGuard(allow, deny []netip.Prefix) *Guard {
	return &Guard{allow: unmapAll(allow), deny: unmapAll(deny), own: &ownAddresses{list: interfaceAddrs}}
}

// Check says whether addr may be connected to: nil, a *[BlockedError], or
// another error if that cannot be told now, which denies as well.
//
// The operator's allow list is looked at first, so that a trial can open
// loopback; then the deny list, the machine's own addresses and the special
// ranges. An address behind the NAT64 prefix, where that is allowed, is judged
// by the IPv4 address within: the gateway would connect to that.
func (g *Guard) Check(addr netip.Addr) error {
	// A prefix contains neither zoned addresses nor, if it is IPv4, mapped ones.
	addr = addr.WithZone("").Unmap()
	blocked := &BlockedError{Addr: addr}
	switch {
	case !addr.IsValid():
		return blocked
	case contains(g.allow, addr):
		if nat64.Contains(addr) {
			raw := addr.As16()
			return g.Check(netip.AddrFrom4([4]byte(raw[12:])))
		}
		return nil
	case contains(g.deny, addr) || special(addr):
		return blocked
	}
	// Own addresses that are public too: the kernel takes a short way to them
	// that passes by the host's firewall.
	own, err := g.own.contains(addr)
	if err != nil {
		return fmt.Errorf("cannot tell this machine's own addresses, so nothing is dialed: %w", err)
	}
	if own {
		return blocked
	}
	return nil
}

// special says whether addr lies outside the public internet.
func special(addr netip.Addr) bool {
	if addr.Is4() {
		return contains(specialIPv4, addr)
	}
	return !globalIPv6.Contains(addr) || contains(specialIPv6, addr)
}

func contains(list []netip.Prefix, addr netip.Addr) bool {
	for _, p := range list {
		if p.Contains(addr) {
			return true
		}
	}
	return false
}

// unmapAll writes IPv4-mapped prefixes as IPv4 ones: addresses are unmapped
// before they are compared, so the mapped form would match nothing, and a deny
// list that matches nothing is a hole.
func unmapAll(list []netip.Prefix) []netip.Prefix {
	out := make([]netip.Prefix, 0, len(list))
	for _, p := range list {
		if a := p.Addr(); a.Is4In6() && p.Bits() >= 96 {
			p = netip.PrefixFrom(a.Unmap(), p.Bits()-96)
		}
		out = append(out, p)
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
