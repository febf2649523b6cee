package egress

import (
	"fmt"
	"net/netip"
	"strconv"
	"strings"
)

// Rule names addresses that the operator allows or denies, on one port or on
// every port. It is written as [ParseRule] reads it. The zero value names
// nothing.
type Rule struct {
	Prefix netip.Prefix
	Port   uint16 // 0 is every port
}

// AnyPort makes rules of prefixes, each for every port.
func AnyPort(list ...netip.Prefix) []Rule {
	rules := make([]Rule, len(list))
	for i, p := range list {
		rules[i].Prefix = p
	}
	return rules
}

// ParseRule reads an address or a network in CIDR notation, with a port behind it
// if that alone is meant: 10.1.2.3, 10.0.0.0/8, 10.1.2.3:8443, 10.0.0.0/8:443,
// fd00::/8, [::1]:8080, [fd00::/8]:443. A network may be given by any address in
// it, and an IPv4-mapped one is the IPv4 one.
func ParseRule(s string) (Rule, error) {
	s = strings.TrimSpace(s)
	address, port, hasPort, ok := cutPort(s)
	if !ok {
		return Rule{}, fmt.Errorf("%.80q is not an address or a network such as 10.0.0.0/8; IPv6 with a port takes brackets, as in [fd00::/8]:443", s)
	}
	prefix, ok := parsePrefix(address)
	if !ok {
		return Rule{}, fmt.Errorf("%.80q is not an address or a network such as 10.0.0.0/8; with a port it is 10.1.2.3:8443 or [fd00::/8]:443", s)
	}
	if !hasPort {
		return Rule{Prefix: prefix}, nil
	}
	n, err := strconv.ParseUint(port, 10, 16)
	if err != nil || n == 0 || strconv.FormatUint(n, 10) != port {
		return Rule{}, fmt.Errorf("the port in %.80q must be a plain number from 1 to 65535; leave it and its colon away to mean every port", s)
	}
	return Rule{Prefix: prefix, Port: uint16(n)}, nil
}

// cutPort separates the port from what is before it. IPv6 has colons of its own,
// so that its port is one behind brackets.
func cutPort(s string) (address, port string, hasPort, ok bool) {
	if inner, found := strings.CutPrefix(s, "["); found {
		inner, rest, closed := strings.Cut(inner, "]")
		port, hasPort = strings.CutPrefix(rest, ":")
		return inner, port, hasPort, closed && strings.Contains(inner, ":") && (hasPort || rest == "")
	}
	if strings.Count(s, ":") == 1 {
		address, port, hasPort = strings.Cut(s, ":")
		return address, port, hasPort, true
	}
	return s, "", false, true
}

func parsePrefix(s string) (netip.Prefix, bool) {
	if addr, err := netip.ParseAddr(s); err == nil {
		addr = addr.Unmap()
		return netip.PrefixFrom(addr, addr.BitLen()), addr.Zone() == ""
	}
	prefix, err := netip.ParsePrefix(s)
	return unmapPrefix(prefix), err == nil
}

// unmapPrefix writes an IPv4-mapped prefix as the IPv4 one: addresses are
// unmapped before they are compared, so the mapped form would match nothing, and
// a deny list that matches nothing is a hole.
func unmapPrefix(p netip.Prefix) netip.Prefix {
	if a := p.Addr(); a.Is4In6() && p.Bits() >= 96 {
		p = netip.PrefixFrom(a.Unmap(), p.Bits()-96)
	}
	return p.Masked()
}

// UnmarshalText reads what [ParseRule] reads.
func (r *Rule) UnmarshalText(text []byte) (err error) {
	*r, err = ParseRule(string(text))
	return err
}

// MarshalText writes what UnmarshalText reads.
func (r Rule) MarshalText() ([]byte, error) { return []byte(r.String()), nil }

// String returns the rule as ParseRule reads it, a single address without its
// length.
func (r Rule) String() string {
	if !r.Prefix.IsValid() {
		return ""
	}
	text := r.Prefix.String()
	if r.Prefix.IsSingleIP() {
		text = r.Prefix.Addr().String()
	}
	switch {
	case r.Port == 0:
		return text
	case r.Prefix.Addr().Is4():
		return fmt.Sprintf("%s:%d", text, r.Port)
	}
	return fmt.Sprintf("[%s]:%d", text, r.Port)
}

// matches says whether the rule names target, whose address is unmapped and has
// no zone.
func (r Rule) matches(target netip.AddrPort) bool {
	return (r.Port == 0 || r.Port == target.Port()) && r.Prefix.Contains(target.Addr())
}

func matchAny(rules []Rule, target netip.AddrPort) bool {
	for _, r := range rules {
		if r.matches(target) {
			return true
		}
	}
	return false
}
