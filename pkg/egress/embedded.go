package egress

import "net/netip"

// The forms of IPv6 address behind which a gateway or a tunnel reaches IPv4. None
// is on the public internet as the guard sees it; an operator may allow one, and
// then the address within is judged.
var (
	// nat64 is the well-known prefix of RFC 6052, and nat64Local what RFC 8215
	// reserves for a network's own prefixes of the lengths in nat64Layouts.
	nat64        = netip.MustParsePrefix("64:ff9b::/96")
	nat64Local   = netip.MustParsePrefix("64:ff9b:1::/48")
	nat64Layouts = [...]int{48, 56, 64, 96}

	sixToFour  = netip.MustParsePrefix("2002::/16")
	teredo     = netip.MustParsePrefix("2001::/32")
	compatible = netip.MustParsePrefix("::/96")
	translated = netip.MustParsePrefix("::ffff:0:0:0/96")
)

// embeddedIPv4 returns the IPv4 addresses that addr, an IPv6 one, embeds. bits is
// the length of the rule that allows addr: behind a network's own NAT64 prefix,
// it says where the IPv4 address is. If it doesn't, every place is looked at,
// because whoever wrote addr could fill the others at will.
func embeddedIPv4(addr netip.Addr, bits int) []netip.Addr {
	if !addr.Is6() {
		return nil
	}
	a := addr.As16()
	switch {
	case nat64.Contains(addr), translated.Contains(addr), isISATAP(a),
		compatible.Contains(addr) && addr != netip.IPv6Loopback():
		return []netip.Addr{ipv4At(a, 96)}
	case nat64Local.Contains(addr):
		var all []netip.Addr
		for _, layout := range nat64Layouts {
			if bits == layout {
				return []netip.Addr{ipv4At(a, layout)}
			}
			all = append(all, ipv4At(a, layout))
		}
		return all
	case sixToFour.Contains(addr):
		return []netip.Addr{netip.AddrFrom4([4]byte(a[2:6]))}
	case teredo.Contains(addr):
		server, client := [4]byte(a[4:8]), [4]byte(a[12:])
		for i := range client {
			client[i] = ^client[i]
		}
		return []netip.Addr{netip.AddrFrom4(server), netip.AddrFrom4(client)}
	}
	return nil
}

// ipv4At reads the IPv4 address behind a prefix of that many bits, which leaves
// out the ninth byte (RFC 6052, section 2.2).
func ipv4At(a [16]byte, bits int) netip.Addr {
	var v4 [4]byte
	next := bits / 8
	for i := range v4 {
		if next == 8 {
			next++
		}
		v4[i] = a[next]
		next++
	}
	return netip.AddrFrom4(v4)
}

// isISATAP says whether the lower half of an address is one of RFC 5214: behind
// any prefix, a tunnel's IPv4 end.
func isISATAP(a [16]byte) bool {
	return a[8]&^2 == 0 && a[9] == 0 && a[10] == 0x5e && a[11] == 0xfe
}
