package endpoint

import (
	"errors"
	"fmt"
	"net/netip"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"unicode/utf8"
)

// maxURL bounds the length of an endpoint's URL.
const maxURL = 2048

// badPorts are the unprivileged ports that browsers refuse as well, because what
// listens there would take a request for a command of its own protocol.
var badPorts = []int{
	1719, 1720, 1723, 2049, 3659, 4045, 4190, 5060, 5061, 6000, 6566,
	6665, 6666, 6667, 6668, 6669, 6679, 6697, 10080,
}

// CheckURL says whether raw may be an endpoint's URL, and if not, what to write
// instead. Plain http takes allowHTTP.
//
// It is there for people: it refuses what cannot work and what is not written
// plainly. It does not judge addresses, neither literal ones nor those that names
// resolve to; that happens on connecting, when they are known. Its errors never
// repeat the URL, whose query string may hold a secret.
func CheckURL(raw string, allowHTTP bool) error {
	switch {
	case raw == "":
		return errors.New("is missing; write one such as https://crm.example.com/hooks")
	case len(raw) > maxURL:
		return fmt.Errorf("has %d bytes; at most %d are allowed", len(raw), maxURL)
	case !utf8.ValidString(raw) || strings.ContainsFunc(raw, unprintable):
		return errors.New(`has a space, a control character or a backslash; percent-encode it in the path or query`)
	}
	u, err := url.Parse(raw)
	if err != nil {
		return errors.New("is no valid URL; check its host, port and percent-encoding")
	}
	if err := checkURLForm(u, raw, allowHTTP); err != nil {
		return err
	}
	if err := checkURLPort(u); err != nil {
		return err
	}
	if strings.HasPrefix(u.Host, "[") {
		return checkIPv6Literal(u.Hostname())
	}
	return checkURLHost(u.Hostname())
}

// unprintable finds what no URL holds as it is. Browsers read a backslash as a
// slash, others don't; with it, two readers see two hosts.
func unprintable(r rune) bool {
	return r <= ' ' || r == '\\' || 0x7f <= r && r <= 0xa0 || r == '\u2028' || r == '\u2029'
}

func checkURLForm(u *url.URL, raw string, allowHTTP bool) error {
	switch {
	case u.Scheme == "http" && !allowHTTP:
		return errors.New("must begin with https://; plain http takes JETHOOK_ALLOW_HTTP=true")
	case u.Scheme != "https" && u.Scheme != "http":
		return errors.New("must begin with https://")
	case u.Opaque != "":
		return errors.New("must have two slashes before the host, as in https://crm.example.com/hooks")
	case u.User != nil:
		return errors.New("must not hold a user name or password; use a header of the endpoint for credentials")
	case strings.Contains(raw, "#"):
		return errors.New("must not have a fragment (#…), which is never sent")
	case u.Hostname() == "":
		return errors.New("has no host")
	}
	return nil
}

func checkURLPort(u *url.URL) error {
	port := u.Port()
	if port == "" {
		if strings.HasSuffix(u.Host, ":") {
			return errors.New("has a colon after the host but no port")
		}
		return nil
	}
	n, err := strconv.Atoi(port)
	switch {
	case err != nil || n < 1 || n > 65535 || strconv.Itoa(n) != port:
		return errors.New("has a port that is not a plain number from 1 to 65535")
	case n < 1024 && n != 80 && n != 443:
		return fmt.Errorf("has port %d; allowed are 80, 443 and those from 1024", n)
	case slices.Contains(badPorts, n):
		return fmt.Errorf("has port %d, which belongs to another protocol; choose one that browsers accept too", n)
	}
	return nil
}

func checkIPv6Literal(host string) error {
	addr, err := netip.ParseAddr(host)
	switch {
	case err != nil || !addr.Is6():
		return errors.New("has brackets around something that is no IPv6 address")
	case addr.Zone() != "":
		return errors.New("must not have a zone in its address")
	}
	return nil
}

// checkURLHost judges an IPv4 literal or a name, in any case, with or without the
// dot of the root at its end.
func checkURLHost(host string) error {
	host = strings.ToLower(host)
	name := strings.TrimSuffix(host, ".")
	labels := strings.Split(name, ".")
	last := labels[len(labels)-1]
	if numeric(last) {
		// Resolvers read 0x7f.1 or 2130706433 as addresses, but not all of
		// them, and not all as the same one.
		if addr, err := netip.ParseAddr(host); err != nil || !addr.Is4() {
			return errors.New("has a host that ends in a number but is no IPv4 address; write that as four decimal numbers without leading zeros")
		}
		return nil
	}
	if len(name) > 253 {
		return errors.New("has a host name of more than 253 characters")
	}
	for _, l := range labels {
		if err := checkLabel(l); err != nil {
			return err
		}
	}
	switch last {
	case "localhost":
		return errors.New("must not name localhost; write 127.0.0.1 (reached only where JETHOOK_EGRESS_ALLOW holds it, as in a trial)")
	case "local", "internal":
		return fmt.Errorf("must not name a host under .%s, which exists only inside a network", last)
	}
	return nil
}

// numeric says whether a last label makes a host an IPv4 address, in the eyes of
// browsers: all digits, or hexadecimal.
func numeric(label string) bool {
	if hex, ok := strings.CutPrefix(label, "0x"); ok {
		return strings.Trim(hex, "0123456789abcdef") == ""
	}
	return label != "" && strings.Trim(label, "0123456789") == ""
}

func checkLabel(label string) error {
	switch {
	case label == "":
		return errors.New("has a host name with an empty part: two dots in a row, or one at the start")
	case len(label) > 63:
		return errors.New("has a host name with a part of more than 63 characters")
	case label[0] == '-' || label[len(label)-1] == '-':
		return errors.New("has a host name with a part that begins or ends in a hyphen")
	}
	for _, r := range label {
		switch {
		case r >= utf8.RuneSelf:
			return errors.New("has a host name beyond ASCII; write it in its xn-- form (punycode)")
		case 'a' <= r && r <= 'z', '0' <= r && r <= '9', r == '-', r == '_':
		default:
			return fmt.Errorf("has %q in its host name; allowed are letters, digits, hyphens and dots", r)
		}
	}
	return nil
}
