package natsconn

import (
	"fmt"
	"net/url"
	"slices"
	"strings"

	"github.com/nats-io/nats.go"
)

// Server returns the URL of the server that nc is connected to, without any
// credentials. The client's own ConnectedUrlRedacted leaves in a token, which
// stands where a user's name does.
func Server(nc *nats.Conn) string { return redact(nc.ConnectedUrl()) }

// redact hides the users and passwords, or the tokens, that the servers' URLs may
// carry: all before the last "@", and so the servers before it. It does not parse:
// what cannot be parsed has secrets, too, and a password may hold anything.
func redact(servers string) string {
	at := strings.LastIndex(servers, "@")
	if at < 0 {
		return servers
	}
	scheme, _ := cutScheme(servers)
	return scheme + "***" + servers[at:]
}

// cutScheme cuts off the scheme, where there is one that NATS knows: anything
// else before "://" may be part of a password.
func cutScheme(server string) (scheme, rest string) {
	scheme, rest, found := strings.Cut(server, "://")
	if !found || !slices.Contains([]string{"nats", "tls", "ws", "wss"}, strings.ToLower(scheme)) {
		return "", server // the client adds nats://
	}
	return scheme + "://", rest
}

// check refuses what the client would read in another way than it is meant: a
// password with a slash in it becomes part of the host, and errors name hosts.
func check(servers string) error {
	for server := range strings.SplitSeq(servers, ",") {
		scheme, rest := cutScheme(strings.TrimSpace(server))
		if scheme == "" {
			scheme = "nats://"
		}
		credentials := rest[:max(strings.LastIndex(rest, "@"), 0)]
		u, err := url.Parse(scheme + rest)
		if err != nil || strings.ContainsAny(credentials, "/?#") || strings.Contains(u.Hostname(), ":") && !strings.Contains(u.Host, "[") {
			return unreadable("NATS_URL")
		}
	}
	return nil
}

// unreadable is the error of an address that is not shown: where it is written in
// another way than it is meant, nobody knows which part of it is the password.
func unreadable(place string) error {
	return fmt.Errorf("cannot read the address of NATS in %s: it must be like nats://127.0.0.1:4222, with what is special in a password percent-encoded", place)
}
