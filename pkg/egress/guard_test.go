package egress

import (
	"errors"
	"net/netip"
	"strings"
	"testing"
	"testing/synctest"
	"time"
)

var loopback = AnyPort(netip.MustParsePrefix("127.0.0.0/8"), netip.MustParsePrefix("::1/128"))

// https makes a target of an address.
func https(addr netip.Addr) netip.AddrPort { return netip.AddrPortFrom(addr, 443) }

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
		{"a port that is not allowed", "10.0.0.0/8:443", "", "10.1.2.3:8443", false},
		{"a port that is allowed", "10.0.0.0/8:8443", "", "10.1.2.3:8443", true},
		{"an IPv6 port that is allowed", "[fd00::/8]:8443", "", "[fd00::1]:8443", true},
		{"an allowed port beside a denied network", "10.1.2.3:8443", "10.0.0.0/8", "10.1.2.3:8443", true},
		{"another port of a denied network", "10.1.2.3:8443", "10.0.0.0/8", "10.1.2.3:8444", false},
		{"deny of a port", "", "8.8.8.0/24:8443", "8.8.8.8:8443", false},
		{"and of no other", "", "8.8.8.0/24:8443", "8.8.8.8:443", true},
		{"privileged port", "", "", "8.8.8.8:22", false},
		{"the last privileged port", "", "", "8.8.8.8:1023", false},
		{"the first other port", "", "", "8.8.8.8:1024", true},
		{"the last port", "", "", "8.8.8.8:65535", true},
		{"plain port", "", "", "8.8.8.8:80", true},
		{"no port", "", "", "8.8.8.8:0", false},
		{"no port, allowed", "8.8.8.8", "", "8.8.8.8:0", false},
		{"privileged port of an allowed network", "10.0.0.0/8", "", "10.1.2.3:22", false},
		{"privileged port that a rule names", "10.0.0.0/8:22", "", "10.1.2.3:22", true},
		{"privileged port that a rule names for others", "10.0.0.0/8:22", "", "8.8.8.8:22", false},
		{"privileged port, public, that a rule names", "8.8.8.8:25", "", "8.8.8.8:25", true},
		{"privileged port, mapped, that a rule names", "10.0.0.0/8:22", "", "[::ffff:10.1.2.3]:22", true},
	} {
		t.Run(tt.name, func(t *testing.T) {
			g := NewGuard(rules(t, tt.allow), rules(t, tt.deny))
			g.own.list = func() ([]netip.Addr, error) { return []netip.Addr{ownAddr}, nil }
			target, err := netip.ParseAddrPort(tt.addr)
			if err != nil {
				target = https(netip.MustParseAddr(tt.addr))
			}
			err = g.Check(target)
			if (err == nil) != tt.want {
				t.Errorf("Check(%s) = %v, want allowed %v", tt.addr, err, tt.want)
			}
			if _, ok := errors.AsType[*BlockedError](err); err != nil && !ok {
				t.Errorf("error of type %T, want *BlockedError", err)
			}
		})
	}
}

func rules(t testing.TB, list ...string) (out []Rule) {
	t.Helper()
	for _, text := range list {
		if text == "" {
			continue
		}
		r, err := ParseRule(text)
		if err != nil {
			t.Fatal(err)
		}
		out = append(out, r)
	}
	return out
}

func TestBlockedErrorIsCoarse(t *testing.T) {
	err := NewGuard(nil, nil).Check(netip.MustParseAddrPort("10.1.2.3:80"))
	if err == nil || strings.Contains(err.Error(), "10.1.2.3") {
		t.Errorf("error %v, want one that does not name the address", err)
	}
	if err := (&Guard{own: noOwn()}).Check(https(netip.Addr{})); Classify(err) != BlockedAddress {
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
		if err := (&Guard{own: o}).Check(https(now)); err == nil || Classify(err) == BlockedAddress {
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
