package webhook

import (
	"net/http"
	"strings"
	"unicode/utf8"
)

// mostHeaders, mostHeader and mostBody bound what is shown of headers and bodies:
// how many, how many bytes of a value, and of a body.
const (
	mostHeaders = 64
	mostHeader  = 200
	mostBody    = 4 * maxError
)

// shownRequest returns what may be shown of a request's headers: values that are
// known to be harmless, and *** for all others.
func shownRequest(h http.Header) map[string]string {
	shown := make(map[string]string, len(h))
	for name, values := range h {
		if len(values) == 0 || len(shown) == mostHeaders {
			continue // such as one that only tells net/http something
		}
		value := "***"
		switch name {
		case headerID, headerTimestamp, headerType, headerTime, headerAttempt, headerReplay, "Content-Type", "User-Agent", "Traceparent":
			value = values[0]
		}
		shown[strings.ToLower(name)] = value
	}
	return shown
}

// shownResponse returns what may be shown of an answer's headers: what helps to
// find it in the receiver's own logs, or says what to do next, without the
// credentials that were sent.
func shownResponse(h http.Header, sent credentials) (shown map[string]string) {
	for name, values := range h {
		if len(values) == 0 || !isShown(name) {
			continue
		}
		value := values[0]
		if name == "Location" { // without the query, which may hold anything
			value, _, _ = strings.Cut(value, "?")
		}
		more := ""
		if len(value) > mostHeader {
			end := mostHeader
			for end > 0 && !utf8.RuneStart(value[end]) {
				end--
			}
			value, more = value[:end], "…"
		}
		if shown == nil {
			shown = make(map[string]string)
		}
		shown[strings.ToLower(name)] = sent.strike(value) + more
	}
	return shown
}

func isShown(name string) bool {
	switch name {
	case "Content-Type", "Server", "Via", "Retry-After", "Location", "Allow", headerDelivery,
		"X-Request-Id", "Request-Id", "X-Correlation-Id", "X-Trace-Id", "Traceresponse", "Cf-Ray",
		"X-Amzn-Requestid", "X-Amzn-Trace-Id", "X-Cloud-Trace-Context", "X-Vercel-Id", "Fly-Request-Id":
		return true
	}
	return false
}
