package natsconn

import "strings"

// redact hides the user and password, or the token, that a server's URL may
// carry. It does not parse: what cannot be parsed has secrets, too.
func redact(servers string) string {
	parts := strings.Split(servers, ",")
	begin := 0 // of the URL that the part belongs to
	for i, p := range parts {
		p = strings.TrimSpace(p)
		scheme, rest, found := strings.Cut(p, "://")
		if found {
			begin, scheme = i, scheme+"://"
		} else {
			scheme, rest = "", p // the client adds nats://
		}
		at := strings.LastIndex(rest, "@")
		if at < 0 {
			continue
		}
		parts[i] = scheme + "***@" + rest[at+1:]
		for j := begin; j < i; j++ {
			parts[j] = "***" // the password may hold a comma
		}
		begin = i + 1
	}
	return strings.Join(parts, ",")
}
