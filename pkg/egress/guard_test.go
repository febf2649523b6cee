package egress

import (
	"errors"
	"net/netip"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"code.dny.dev/ssrf"
)

var loopback = []netip.Prefix{netip.MustParsePrefix("127.0.0.0/8"), netip.MustParsePrefix("::1/128")}

func noOwn() *ownAddresses {
	return &ownAddresses{list: func() ([]netip.Addr, error) { return nil, nil }}
}

func TestOrderOfTheLists(t *testing.T) {
	for _, tt := range []struct {
		name, allow, deny, addr string
		want                    bool
	}{
		{"public", "", "", "8.8.8.8", true},
		{"allow opens loopback", "127.0.0.0/8", "", "127.0.0.1", true},
		{"and nothing else", "127.0.0.0/8", "", "10.0.0.1", false},
		{"allow wins over deny", "10.1.0.0/16", "10.0.0.0/8", "10.1.2.3", true},
		{"deny wins over public", "", "8.8.8.0/24", "8.8.8.8", false},
		{"deny of a mapped prefix", "", "::ffff:8.8.8.0/120", "8.8.8.8", false},
		{"allow of a mapped prefix", "::ffff:10.0.0.0/104", "", "10.0.0.1", true},
		{"mapped address under an IPv4 prefix", "127.0.0.0/8", "", "::ffff:127.0.0.1", true},
		{"zoned address under a prefix", "fe80::/10", "", "fe80::1%eth0", true},
		{"zoned address denied", "", "2606::/16", "2606:4700::1%eth0", false},
		{"all of IPv6 is not IPv4", "::/0", "", "127.0.0.1", false},
		{"allow wins over own", "93.184.216.99/32", "", "93.184.216.99", true},
		{"own, public", "", "", "93.184.216.99", false},
		{"own, mapped", "", "", "::ffff:93.184.216.99", false},
		{"NAT64 not allowed", "", "", "64:ff9b::808:808", false},
		{"NAT64 allowed, public within", "64:ff9b::/96", "", "64:ff9b::808:808", true},
		{"NAT64 allowed, metadata within", "64:ff9b::/96", "", "64:ff9b::a9fe:a9fe", false},
		{"NAT64 allowed, denied within", "64:ff9b::/96", "8.8.8.8/32", "64:ff9b::808:808", false},
	} {
		t.Run(tt.name, func(t *testing.T) {
			g := NewGuard(parse(tt.allow), parse(tt.deny))
			g.own.list = func() ([]netip.Addr, error) { return []netip.Addr{ownAddr}, nil }
			err := g.Check(netip.MustParseAddr(tt.addr))
			if (err == nil) != tt.want {
				t.Errorf("Check(%s) = %v, want allowed %v", tt.addr, err, tt.want)
			}
			if _, ok := errors.AsType[*BlockedError](err); err != nil && !ok {
				t.Errorf("error of type %T, want *BlockedError", err)
			}
		})
	}
}

func parse(prefix string) []netip.Prefix {
	if prefix == "" {
		return nil
	}
	return []netip.Prefix{netip.MustParsePrefix(prefix)}
}

func TestBlockedErrorIsCoarse(t *testing.T) {
	err := NewGuard(nil, nil).Check(netip.MustParseAddr("10.1.2.3"))
	if err == nil || strings.Contains(err.Error(), "10.1.2.3") {
		t.Errorf("error %v, want one that does not name the address", err)
	}
	if err := (&Guard{own: noOwn()}).Check(netip.Addr{}); Classify(err) != BlockedAddress {
		t.Errorf("no address at all: %v, want blocked", err)
	}
}

func TestMachineKnowsItsInterfaces(t *testing.T) {
	own, err := (&ownAddresses{list: interfaceAddrs}).contains(netip.MustParseAddr("127.0.0.1"))
	if err != nil || !own {
		t.Errorf("127.0.0.1 is own: %v, %v; want true", own, err)
	}
}

func TestOwnAddressesAreListedAnew(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		lists, failing := 0, true
		now := netip.MustParseAddr("93.184.216.1")
		o := &ownAddresses{list: func() ([]netip.Addr, error) {
			lists++
			if failing {
				return nil, errors.New("netlink is away")
			}
			return []netip.Addr{now}, nil
		}}
		if err := (&Guard{own: o}).Check(now); err == nil || Classify(err) == BlockedAddress {
			t.Errorf("without a first list: %v, want an error that may pass", err)
		}
		failing = false
		for range 100 {
			if own, err := o.contains(now); !own || err != nil {
				t.Fatalf("own = %v, %v", own, err)
			}
		}
		if lists != 2 {
			t.Errorf("listed %d times, want the failure and once", lists)
		}
		next := netip.MustParseAddr("93.184.216.2")
		<-time.After(ownRefresh)
		failing = true
		if own, err := o.contains(now); !own || err != nil {
			t.Errorf("refresh failed: own = %v, %v; want the last list in force", own, err)
		}
		failing, now = false, next
		if own, _ := o.contains(next); !own {
			t.Error("a new address was not found after the refresh")
		}
	})
}

// Wherever an independent judge denies, this one must.
func FuzzGuard(f *testing.F) {
	for _, row := range ssrfRows(f) {
		for _, a := range row.addrs {
			f.Add(a.AsSlice())
		}
	}
	for _, p := range append(append([]netip.Prefix{nat64, globalIPv6}, specialIPv4...), specialIPv6...) {
		f.Add(p.Addr().AsSlice())
	}
	f.Add([]byte{})
	g := &Guard{own: noOwn()}
	oracle := ssrf.New(ssrf.WithAnyPort())
	f.Fuzz(func(t *testing.T, raw []byte) {
		addr, ok := netip.AddrFromSlice(raw)
		err := g.Check(addr)
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
		}
		denied := oracle.Safe(network, netip.AddrPortFrom(addr, 443).String(), nil)
		if denied != nil && err == nil {
			t.Fatalf("allowed %s, the oracle says %v", addr, denied)
		}
		if zoned := g.Check(addr.WithZone("eth0")); (zoned == nil) != (err == nil) {
			t.Fatalf("%s: %v with a zone, %v without", addr, zoned, err)
		}
		if mapped := g.Check(netip.AddrFrom16(addr.As16())); (mapped == nil) != (err == nil) {
			t.Fatalf("%s: %v mapped, %v plain", addr, mapped, err)
		}
	})
}
