package egress

import (
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"net"
	"strings"
	"syscall"
)

// Error is a failed exchange. Its text is short and written for the endpoint's
// owner: it names the host and neither address, path, query string nor anything
// that the receiver sent. Err keeps the cause for those who may see more.
type Error struct {
	Failure Failure
	Host    string // the URL's, without port
	Status  int    // the status that had arrived before the failure, or 0
	Err     error
}

// Unwrap returns the cause, which for [Canceled] is the context's.
func (e *Error) Unwrap() error { return e.Err }

// Error says what happened in one short sentence.
func (e *Error) Error() string {
	switch e.Failure {
	case Timeout:
		return "timed out " + e.moment("before "+e.Host+" answered")
	case DNS:
		return e.dns()
	case Connect:
		return e.connect()
	case TLS:
		return "TLS with " + e.Host + ": " + e.tls()
	case Closed:
		return e.Host + " closed the connection " + e.moment("before it answered")
	case Protocol:
		return e.protocol()
	case BlockedAddress:
		return "address not allowed: " + e.Host + " is not on the public internet or not on a port for the web, or is denied by the operator"
	case InvalidRequest:
		return "the request cannot be sent: " + e.Err.Error()
	case Canceled:
		return "the exchange was canceled"
	}
	return "the exchange failed"
}

// moment says when it happened, if headers had arrived, and otherwise early.
func (e *Error) moment(early string) string {
	if e.Status == 0 {
		return early
	}
	return fmt.Sprintf("in the middle of the response body (status %d)", e.Status)
}

func (e *Error) dns() string {
	if d, ok := errors.AsType[*net.DNSError](e.Err); ok && d.IsNotFound {
		return "DNS knows no host " + e.Host
	}
	return "DNS lookup of " + e.Host + " failed"
}

func (e *Error) connect() string {
	if p, ok := errors.AsType[*proxyError](e.Err); ok {
		return p.Error() + ", on the way to " + e.Host
	}
	switch {
	case errors.Is(e.Err, syscall.ECONNREFUSED):
		return e.Host + " refused the connection"
	case errors.Is(e.Err, syscall.EHOSTUNREACH), errors.Is(e.Err, syscall.ENETUNREACH):
		return e.Host + " is unreachable"
	}
	return "no connection to " + e.Host
}

func (e *Error) tls() string {
	if i, ok := errors.AsType[x509.CertificateInvalidError](e.Err); ok {
		if i.Reason == x509.Expired {
			return "its certificate has expired or is not valid yet"
		}
		return "its certificate is invalid"
	}
	if _, ok := errors.AsType[x509.HostnameError](e.Err); ok {
		return "its certificate is for another host"
	}
	if _, ok := errors.AsType[x509.UnknownAuthorityError](e.Err); ok {
		return "its certificate is signed by an unknown authority"
	}
	if _, ok := errors.AsType[tls.RecordHeaderError](e.Err); ok {
		return "no TLS on that port"
	}
	// Alerts and the package's other errors have texts of their own and no types.
	// What they add behind a colon quotes the receiver's certificate now and then.
	if _, reason, ok := strings.Cut(e.Err.Error(), "tls: "); ok {
		reason, _, _ = strings.Cut(reason, ":")
		return reason[:min(len(reason), 100)]
	}
	return "the handshake failed"
}

func (e *Error) protocol() string {
	switch {
	case errors.Is(e.Err, errSwitched):
		return e.Host + " switched protocols without being asked"
	case errors.Is(e.Err, errFlood):
		return e.Host + " sent far more than its response"
	case e.Err != nil && tooManyHeaders(e.Err.Error()):
		return fmt.Sprintf("%s sent more than %d KiB of response headers", e.Host, maxHeader>>10)
	}
	return e.Host + " did not answer in valid HTTP"
}

func tooManyHeaders(text string) bool {
	return strings.Contains(text, "headers exceeded") || strings.Contains(text, "header list larger") || strings.Contains(text, "header list too large")
}
