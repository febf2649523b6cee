package egress

import (
	"net/netip"
	"testing"
)

// What leads to IPv4 is denied, wherever it leads; where the operator allows the
// form, what it leads to is judged, and never opened by that.
func TestEmbeddedForms(t *testing.T) {
	closed := NewGuard(nil, nil)
	open := NewGuard(rules(t, "::/0"), rules(t, "8.8.4.4"))
	both := NewGuard(rules(t, "::/0", "10.0.0.0/8"), nil)
	for _, g := range []*Guard{closed, open, both} {
		g.own = &ownAddresses{list: func() ([]netip.Addr, error) { return []netip.Addr{ownAddr}, nil }}
	}
	public, private := netip.MustParseAddr("8.8.8.8"), netip.MustParseAddr("10.0.0.1")
	for form, addr := range embeddings(public) {
		if form != "mapped" && closed.Check(https(addr)) == nil {
			t.Errorf("%s: %s is allowed by default", form, addr)
		}
		if err := open.Check(https(addr)); err != nil && form[:5] != "local" {
			t.Errorf("%s: %s, public and allowed, is denied: %v", form, addr, err)
		}
	}
	denied := []string{"10.0.0.1", "127.0.0.1", "169.254.169.254", "168.63.129.16", "0.0.0.0", "8.8.4.4", ownAddr.String()}
	for _, within := range denied {
		for form, addr := range embeddings(netip.MustParseAddr(within)) {
			if open.Check(https(addr)) == nil {
				t.Errorf("%s: the allow of %s opens %s behind it", form, addr, within)
			}
		}
	}
	for form, addr := range embeddings(private) {
		if err := both.Check(https(addr)); err != nil && form[:5] != "local" {
			t.Errorf("%s: %s, both allowed, is denied: %v", form, addr, err)
		}
	}
}

// Behind a network's own NAT64 prefix, the rule's length says where the IPv4
// address is; what stands elsewhere is chosen by whoever wrote the address.
func TestLocalNAT64(t *testing.T) {
	for _, tt := range []struct {
		rule, addr string
		want       bool
	}{
		{"64:ff9b:1:fffe::/96", "64:ff9b:1:fffe::808:808", true},
		{"64:ff9b:1:fffe::/96", "64:ff9b:1:fffe::a00:1", false},
		{"64:ff9b:1:fffe::/64", "64:ff9b:1:fffe:8:808:800:0", true},
		{"64:ff9b:1:fffe::/64", "64:ff9b:1:fffe:a:0:108:808", false},
		{"64:ff9b:1:800::/56", "64:ff9b:1:808:8:808::", true},
		{"64:ff9b:1:800::/56", "64:ff9b:1:80a:0:1:808:808", false},
		{"64:ff9b:1::/48", "64:ff9b:1:808:8:800::", true},
		{"64:ff9b:1::/48", "64:ff9b:1:a00:0:100:808:808", false},
		{"64:ff9b:1::/50", "64:ff9b:1::808:808", false}, // no length that says a place
	} {
		err := NewGuard(rules(t, tt.rule), nil).Check(https(netip.MustParseAddr(tt.addr)))
		if (err == nil) != tt.want {
			t.Errorf("allow %s: Check(%s) = %v, want allowed %v", tt.rule, tt.addr, err, tt.want)
		}
	}
}

// The loopback address has the form of an embedded 0.0.0.1, but means itself.
func TestLoopbackEmbedsNothing(t *testing.T) {
	if err := NewGuard(loopback, nil).Check(netip.MustParseAddrPort("[::1]:8080")); err != nil {
		t.Errorf("::1, allowed, is denied: %v", err)
	}
	if NewGuard(rules(t, "::/96"), nil).Check(https(netip.MustParseAddr("::127.0.0.1"))) == nil {
		t.Error("IPv4-compatible loopback is opened by an allow of the form")
	}
}
