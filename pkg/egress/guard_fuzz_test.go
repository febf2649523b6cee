package egress

import (
	"net/netip"
	"testing"

	"code.dny.dev/ssrf"
)

// Wherever an independent judge denies, this one must. What it denies without a
// zone or unmapped, it denies with, and an allow of every IPv6 address opens no
// IPv4 address behind one.
func FuzzGuard(f *testing.F) {
	for _, row := range ssrfRows(f) {
		for _, a := range row.addrs {
			f.Add(a.AsSlice(), uint16(443))
		}
	}
	for _, p := range append(append([]netip.Prefix{nat64, nat64Local, teredo, globalIPv6}, specialIPv4...), specialIPv6...) {
		f.Add(p.Addr().AsSlice(), uint16(8080))
	}
	f.Add([]byte{}, uint16(80))
	f.Add([]byte{8, 8, 8, 8}, uint16(22))
	f.Add(netip.MustParseAddr("2001:4860::200:5efe:a00:1").AsSlice(), uint16(443))
	g := &Guard{own: noOwn()}
	open := NewGuard(rules(f, "::/0"), nil)
	open.own = noOwn()
	oracle := ssrf.New(ssrf.WithPorts(webPorts()...))
	f.Fuzz(func(t *testing.T, raw []byte, port uint16) {
		addr, ok := netip.AddrFromSlice(raw)
		target := netip.AddrPortFrom(addr, port)
		err := g.Check(target)
		if !ok {
			if err == nil {
				t.Fatalf("allowed the invalid address %x", raw)
			}
			return
		}
		// The oracle denies mapped addresses as such, although the socket that
		// would be opened is the IPv4 one.
		addr = addr.Unmap()
		network := "tcp6"
		if addr.Is4() {
			network = "tcp4"
			noWayAround(t, open, addr, port, err)
		}
		denied := oracle.Safe(network, netip.AddrPortFrom(addr, port).String(), nil)
		if denied != nil && err == nil {
			t.Fatalf("allowed %s, the oracle says %v", target, denied)
		}
		if zoned := g.Check(netip.AddrPortFrom(addr.WithZone("eth0"), port)); (zoned == nil) != (err == nil) {
			t.Fatalf("%s: %v with a zone, %v without", target, zoned, err)
		}
		if mapped := g.Check(netip.AddrPortFrom(netip.AddrFrom16(addr.As16()), port)); (mapped == nil) != (err == nil) {
			t.Fatalf("%s: %v mapped, %v plain", target, mapped, err)
		}
	})
}

func webPorts() (list []uint16) {
	for port := 1; port <= 65535; port++ {
		if port == 80 || port == 443 || port >= 1024 {
			list = append(list, uint16(port))
		}
	}
	return list
}

// noWayAround fails if a guard that allows all of IPv6 lets an address pass that
// leads to a denied IPv4 address.
func noWayAround(t testing.TB, open *Guard, v4 netip.Addr, port uint16, plain error) {
	t.Helper()
	for form, addr := range embeddings(v4) {
		if err := open.Check(netip.AddrPortFrom(addr, port)); err == nil && plain != nil {
			t.Fatalf("%s: %s is allowed, although %s is denied", form, addr, v4)
		}
	}
}

// embeddings writes an IPv4 address in every form that leads to it, what can be
// chosen beside it chosen well.
func embeddings(v4 netip.Addr) map[string]netip.Addr {
	b := v4.As4()
	at := func(prefix string, places ...int) netip.Addr {
		a := netip.MustParseAddr(prefix).As16()
		for i, place := range places {
			a[place] = b[i]
		}
		return netip.AddrFrom16(a)
	}
	flipped := at("2001:0:808:808::", 12, 13, 14, 15).As16()
	for i := 12; i < 16; i++ {
		flipped[i] = ^flipped[i]
	}
	return map[string]netip.Addr{
		"mapped":                     at("::ffff:0:0", 12, 13, 14, 15),
		"IPv4-translated":            at("::ffff:0:0:0", 12, 13, 14, 15),
		"NAT64":                      at("64:ff9b::", 12, 13, 14, 15),
		"local NAT64, 96 bits":       at("64:ff9b:1:808:808:808::", 12, 13, 14, 15),
		"local NAT64, 64 bits":       at("64:ff9b:1:808:8:808:808:808", 9, 10, 11, 12),
		"local NAT64, 56 bits":       at("64:ff9b:1:808:8:808:808:808", 7, 9, 10, 11),
		"local NAT64, 48 bits":       at("64:ff9b:1:808:8:808:808:808", 6, 7, 9, 10),
		"6to4":                       at("2002::808:808", 2, 3, 4, 5),
		"Teredo client":              netip.AddrFrom16(flipped),
		"Teredo server":              at("2001::f7f7:f7f7", 4, 5, 6, 7),
		"ISATAP":                     at("2001:4860::5efe:0:0", 12, 13, 14, 15),
		"ISATAP, global, link-local": at("fe80::200:5efe:0:0", 12, 13, 14, 15),
	}
}
