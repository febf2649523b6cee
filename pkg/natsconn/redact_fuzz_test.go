package natsconn

import (
	"errors"
	"net/url"
	"strings"
	"testing"

	"github.com/rs/zerolog"
)

// No password or token is shown, whatever is in it and around it. A server that
// cannot be reached or read is told of, and so are its credentials, if redact
// misses them.
func FuzzRedact(f *testing.F) {
	for _, password := range []string{"canary", "can@ary", "can/ary", "can,ary", "can://ary", "c:an", "can%zzary", "can?ary#", "ca nary", "@", "://", "[", "ünï"} {
		f.Add("nats://", "user", password, "127.0.0.1:4222")
		f.Add("", "user", password, "127.0.0.1:4222,nats://b:1")
		f.Add("nats://a:1, tls://", "", password, "[::1]:4222")
	}
	f.Fuzz(func(t *testing.T, before, user, password, after string) {
		// What is not the credentials must not look like them.
		const mark = "Zq7x"
		if strings.Contains(after, "@") || strings.Contains(before+user+after, mark) || before != "" && !strings.HasSuffix(before, "://") {
			return
		}
		// The password begins and ends with what is looked for.
		secret := mark + password + mark
		servers := before + user + ":" + secret + "@" + after
		if shown := redact(servers); strings.Contains(shown, mark) {
			t.Fatalf("redact(%q) = %q", servers, shown)
		}
		err := Options{URL: servers}.explain(&url.Error{Op: "parse", URL: servers, Err: errors.New("net/url: invalid userinfo")})
		if strings.Contains(err.Error(), mark) {
			t.Fatalf("explain: %v", err)
		}
	})
}

// What is refused before any server is asked is told without credentials.
func FuzzConnectRefuses(f *testing.F) {
	f.Add("can%ary")
	f.Add("can ary")
	f.Add("can://ary")
	f.Fuzz(func(t *testing.T, password string) {
		const mark = "Zq7x"
		if strings.Contains(password, "@") { // what follows it may be a host to look up
			return
		}
		// Port 0 cannot be connected to, and the host need not be looked up.
		_, err := Connect(Options{URL: "nats://user:" + mark + password + mark + "@127.0.0.1:0"}, "test", zerolog.Nop())
		if err == nil || strings.Contains(err.Error(), mark) {
			t.Fatalf("%v", err)
		}
	})
}
