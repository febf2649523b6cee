package egress

import (
	"encoding"
	"net/netip"
	"strings"
	"testing"
)

var _ encoding.TextUnmarshaler = (*Rule)(nil)

func TestParseRule(t *testing.T) {
	for _, tt := range []struct{ text, prefix, again string }{
		{"10.0.0.0/8", "10.0.0.0/8", "10.0.0.0/8"},
		{"10.1.2.3", "10.1.2.3/32", "10.1.2.3"},
		{" 10.1.2.3/32 ", "10.1.2.3/32", "10.1.2.3"},
		{"10.1.2.3/8", "10.0.0.0/8", "10.0.0.0/8"},
		{"10.1.2.3:8443", "10.1.2.3/32", "10.1.2.3:8443"},
		{"10.0.0.0/8:443", "10.0.0.0/8", "10.0.0.0/8:443"},
		{"10.0.0.0/8:1", "10.0.0.0/8", "10.0.0.0/8:1"},
		{"10.0.0.0/8:65535", "10.0.0.0/8", "10.0.0.0/8:65535"},
		{"0.0.0.0/0", "0.0.0.0/0", "0.0.0.0/0"},
		{"fd00::/8", "fd00::/8", "fd00::/8"},
		{"FD00::1", "fd00::1/128", "fd00::1"},
		{"::1", "::1/128", "::1"},
		{"::/0", "::/0", "::/0"},
		{"[::1]", "::1/128", "::1"},
		{"[::1]:8080", "::1/128", "[::1]:8080"},
		{"[fd00::/8]:443", "fd00::/8", "[fd00::/8]:443"},
		{"::ffff:10.0.0.0/104", "10.0.0.0/8", "10.0.0.0/8"},
		{"::ffff:10.0.0.1", "10.0.0.1/32", "10.0.0.1"},
		{"[::ffff:10.0.0.0/104]:22", "10.0.0.0/8", "10.0.0.0/8:22"},
	} {
		r, err := ParseRule(tt.text)
		if err != nil || r.Prefix != netip.MustParsePrefix(tt.prefix) || r.String() != tt.again {
			t.Errorf("%q: %+v written %q, %v; want %s written %q", tt.text, r, r, err, tt.prefix, tt.again)
		}
		var same Rule
		if text, err := r.MarshalText(); err != nil || same.UnmarshalText(text) != nil || same != r {
			t.Errorf("%q comes back as %+v", text, same)
		}
	}
	if r, err := ParseRule("10.0.0.0/8:443"); err != nil || r.Port != 443 {
		t.Errorf("port %d, %v; want 443", r.Port, err)
	}
}

func TestRulesThatAreNone(t *testing.T) {
	for words, texts := range map[string][]string{
		"network such as 10.0.0.0/8": {
			"", " ", ":", ":443", "localhost", "localhost:80", "crm.example.com:443", "10.0.0", "10.0.0.0/33", "10.0.0.0/-1",
			"010.0.0.1", "10.0.0.1/8/8", "fe80::1%eth0", "[fe80::1%eth0]:80", "fd00::/129", "10.0.0.0/8,11.0.0.0/8", "*", strings.Repeat("1", 500),
		},
		"takes brackets": {"[]", "[", "[::1", "[10.0.0.1]:80", "[::1]443", "[::1]x:443"},
		"[fd00::/8]:443": {"fd00::/8:443", "[::1]/128:443"},
		"1 to 65535":     {"10.0.0.1:0", "10.0.0.1:65536", "10.0.0.1:", "10.0.0.1:080", "10.0.0.1:+80", "10.0.0.1:http", "[::1]:", "[::1]:80:80"},
	} {
		for _, text := range texts {
			if r, err := ParseRule(text); err == nil || !strings.Contains(err.Error(), words) || len(err.Error()) > 250 {
				t.Errorf("%q: %v, %v; want it refused with %q", text, r, err, words)
			}
		}
	}
}

func TestTheZeroRuleNamesNothing(t *testing.T) {
	if (Rule{}).matches(netip.MustParseAddrPort("10.0.0.1:80")) || (Rule{}).String() != "" {
		t.Error("the zero rule names something")
	}
}

func FuzzParseRule(f *testing.F) {
	for _, seed := range []string{"10.0.0.0/8:443", "[fd00::/8]:443", "::ffff:10.0.0.0/104", "[::1]:8080", "1.2.3.4", "fe80::1%a", "a:b"} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, text string) {
		r, err := ParseRule(text)
		if err != nil {
			if r != (Rule{}) {
				t.Fatalf("%q: %v beside %v", text, r, err)
			}
			return
		}
		if again, err := ParseRule(r.String()); err != nil || again != r {
			t.Fatalf("%q is %v, which is read as %v, %v", text, r, again, err)
		}
		// A rule that matches not even its own address is a hole in a deny list.
		if own := netip.AddrPortFrom(r.Prefix.Addr().Unmap(), max(r.Port, 1)); !r.matches(own) {
			t.Fatalf("%q does not name %v", text, own)
		}
	})
}
