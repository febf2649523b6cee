package endpoint

import (
	"fmt"
	"net/url"
	"os"
	"strings"
	"testing"
)

// The table is shared with package egress, whose tests take the rows that pass
// here on to the dial.
func TestCheckURLOnTheSharedTable(t *testing.T) {
	data, err := os.ReadFile("../egress/testdata/ssrf.tsv")
	if err != nil {
		t.Fatal(err)
	}
	rows := strings.Split(strings.TrimSuffix(string(data), "\n"), "\n")[1:]
	if len(rows) < 140 {
		t.Fatalf("only %d rows", len(rows))
	}
	for _, row := range rows {
		f := strings.Split(row, "\t")
		refused := CheckURL(f[0], true)
		if want := f[2] == "write"; (refused != nil) != want {
			t.Errorf("%q: %v, want refused %v", f[0], refused, want)
		}
	}
}

func TestCheckURLAccepts(t *testing.T) {
	for _, raw := range []string{
		"https://crm.example.com/hooks",
		"HTTPS://CRM.Example.COM",
		"https://crm.example.com:443/a/b?c=d&e=%20f",
		"https://crm.example.com:80/",
		"https://crm.example.com:1024/",
		"https://crm.example.com:65535/",
		"https://xn--mnchen-3ya.de/größe",
		"https://under_score.example.com/",
		"https://receiver/",
		"https://1.example.com/",
		"https://127.0.0.1:9000/in",
		"https://[::1]:9000/in",
		"https://" + strings.Repeat("a", 63) + ".example.com/",
		"https://crm.example.com/" + strings.Repeat("a", maxURL-24),
	} {
		if err := CheckURL(raw, false); err != nil {
			t.Errorf("%.80q: %v", raw, err)
		}
	}
}

func TestCheckURLSaysWhatIsWrong(t *testing.T) {
	for _, tt := range []struct{ raw, words string }{
		{"", "missing"},
		{"https://crm.example.com/" + strings.Repeat("a", maxURL-23), "2049 bytes"},
		{" https://crm.example.com", "space"},
		{"https://crm.example.com/a b", "space"},
		{"https://crm.example.com/\x00", "control"},
		{"https://crm.example.com/\u0085", "control"},
		{"https://crm.example.com/\xff", "control"},
		{`https://crm.example.com\evil`, "backslash"},
		{"http://crm.example.com/", "JETHOOK_ALLOW_HTTP"},
		{"crm.example.com/hooks", "https://"},
		{"crm.example.com:443", "https://"},
		{"wss://crm.example.com", "https://"},
		{"https:crm.example.com", "two slashes"},
		{"https:///hooks", "no host"},
		{"https://:443/hooks", "no host"},
		{"https://user@crm.example.com", "user name"},
		{"https://@crm.example.com", "user name"},
		{"https://crm.example.com/#", "fragment"},
		{"https://crm.example.com:/", "no port"},
		{"https://crm.example.com:0/", "1 to 65535"},
		{"https://crm.example.com:0443/", "1 to 65535"},
		{"https://crm.example.com:65536/", "1 to 65535"},
		{"https://crm.example.com:99999999999999999999/", "1 to 65535"},
		{"https://crm.example.com:22/", "port 22"},
		{"https://crm.example.com:1023/", "port 1023"},
		{"https://crm.example.com:+443/", "valid URL"},
		{"https://[::1/", "valid URL"},
		{"https://[fe80::1%25eth0]/", "zone"},
		{"https://256.0.0.1/", "IPv4"},
		{"https://01.2.3.4/", "IPv4"},
		{"https://8.8.8.8./", "IPv4"},
		{"https://host.0x1f/", "IPv4"},
		{"https://host.0x/", "IPv4"},
		{"https://münchen.de/", "punycode"},
		{"https://%e3%80%82/", "punycode"},
		{"https://a..example.com/", "two dots"},
		{"https://.example.com/", "two dots"},
		{"https://./", "two dots"},
		{"https://example.com../", "two dots"},
		{"https://-a.example.com/", "hyphen"},
		{"https://a-.example.com/", "hyphen"},
		{"https://a*b.example.com/", "allowed are letters"},
		{"https://" + strings.Repeat("a", 64) + ".example.com/", "63"},
		{"https://" + strings.Repeat("abcdefg.", 32) + "com/", "253"},
		{"https://localhost:9000/", "127.0.0.1"},
		{"https://LOCALHOST/", "127.0.0.1"},
		{"https://a.localhost./", "127.0.0.1"},
		{"https://printer.local/", ".local"},
		{"https://metadata.google.internal/", ".internal"},
	} {
		err := CheckURL(tt.raw, false)
		if err == nil || !strings.Contains(err.Error(), tt.words) {
			t.Errorf("%.80q: %v, want it refused with %q", tt.raw, err, tt.words)
		}
	}
	for _, port := range badPorts {
		if CheckURL(fmt.Sprintf("https://crm.example.com:%d/", port), false) == nil {
			t.Errorf("port %d is accepted", port)
		}
	}
}

// Whatever is wrong, the URL's parts that may be secret stay out of the error.
func TestCheckURLKeepsSecrets(t *testing.T) {
	for _, raw := range []string{
		"https://crm.example.com:22/canary?token=canary",
		"https://user:canary@crm.example.com/",
		"https://user:canary/x@crm.example.com/",
		"https://crm.example.com/?token=canary\x7f",
		"https://crm.example.com/%zz?token=canary",
		"gopher://x/canary",
		"canary",
	} {
		if err := CheckURL(raw, true); err == nil || strings.Contains(err.Error(), "canary") {
			t.Errorf("%q: %v", raw, err)
		}
	}
}

func FuzzCheckURL(f *testing.F) {
	for _, seed := range []string{
		"https://crm.example.com:8443/hooks?a=b", "http://[::ffff:8.8.8.8]/", "https://127.0.0.1:9000", "https://1.2.3.4.5",
		"http://xn--a.example./%2e", "https://a_b-c.d:80?x", "https://user@h", "http://h:6667", "//x", "https://%e3%80%82",
	} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, raw string) {
		if CheckURL(raw, true) != nil {
			if CheckURL(raw, false) == nil {
				t.Fatalf("%q is accepted only without plain http", raw)
			}
			return
		}
		u, err := url.Parse(raw)
		if err != nil {
			t.Fatalf("accepted %q: %v", raw, err)
		}
		for _, c := range []byte(u.Host) {
			if c <= ' ' || c >= 0x7f || strings.IndexByte(`@\/?#%`, c) >= 0 {
				t.Fatalf("accepted host %q", u.Host)
			}
		}
		again, err := url.Parse(u.String())
		if err != nil || again.Host != u.Host || again.Scheme != u.Scheme || again.Path != u.Path || again.RawQuery != u.RawQuery {
			t.Fatalf("%q comes back as %v, %v", raw, again, err)
		}
	})
}
