package endpoint

import (
	"fmt"
	"maps"
	"net/http"
	"slices"
	"strings"

	"jethook/pkg/secret"
)

const (
	maxHeaders           = 32
	maxHeaderNameLength  = 128
	maxHeaderValueLength = 4096
)

// ownHeaders are set by jethook or by the connection. A document that could
// replace them could smuggle requests, forge signatures or break framing.
var ownHeaders = map[string]bool{
	"Host": true, "Content-Length": true, "Transfer-Encoding": true, "Te": true, "Trailer": true,
	"Connection": true, "Keep-Alive": true, "Upgrade": true, "Expect": true,
	"Content-Type": true, "User-Agent": true, "Accept-Encoding": true,
}

// ownHeaderPrefixes are families of such headers.
var ownHeaderPrefixes = []string{"Proxy-", "Webhook-", "Nats-"}

// checkHeaders reports names in alphabetical order, so that the same document
// always gives the same problems.
func checkHeaders(headers map[string]string, report func(field, message string)) {
	if len(headers) > maxHeaders {
		report("headers", fmt.Sprintf("must be at most %d headers, not %d", maxHeaders, len(headers)))
		return
	}
	seen := make(map[string]string, len(headers))
	for _, name := range slices.Sorted(maps.Keys(headers)) {
		field := headerField(name)
		if message := headerNameProblem(name); message != "" {
			report(field, message)
			continue
		}
		canonical := http.CanonicalHeaderKey(name)
		if other, found := seen[canonical]; found {
			report(field, "is the same header as "+other+": names differ in more than upper and lower case")
		}
		seen[canonical] = name
		if secret.Secret(headers[name]).Sealed() {
			continue // whoever sealed it saw to it, and it is longer than it was
		}
		if message := headerValueProblem(headers[name]); message != "" {
			report(field, message)
		}
	}
}

func headerField(name string) string { return "headers." + name }

func headerNameProblem(name string) string {
	if len(name) > maxHeaderNameLength || !isHeaderToken(name) {
		return fmt.Sprintf("header name %s must be 1 to %d letters, digits and hyphens", quote(name), maxHeaderNameLength)
	}
	canonical := http.CanonicalHeaderKey(name)
	own := ownHeaders[canonical] || slices.ContainsFunc(ownHeaderPrefixes, func(prefix string) bool {
		return strings.HasPrefix(canonical, prefix)
	})
	if own {
		return "header " + name + " is set by jethook or by the connection and cannot be replaced"
	}
	return ""
}

// headerValueProblem does not repeat the value, which may be a credential.
func headerValueProblem(value string) string {
	switch {
	case len(value) > maxHeaderValueLength:
		return fmt.Sprintf("value must be at most %d bytes long, not %d", maxHeaderValueLength, len(value))
	case strings.ContainsFunc(value, isControl):
		return "value must be one line without control characters"
	}
	return ""
}

// isHeaderToken says whether s is a token as RFC 9110 has it, the form of a
// header's name.
func isHeaderToken(s string) bool {
	for i := range len(s) {
		if !isAlphanumeric(s[i]|0x20) && !strings.ContainsRune("!#$%&'*+-.^_`|~", rune(s[i])) {
			return false
		}
	}
	return s != ""
}

// isControl is true for what would end or garble a header line. A tab would not.
func isControl(c rune) bool { return c < ' ' && c != '\t' || c == 0x7f }
