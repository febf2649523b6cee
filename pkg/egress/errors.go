package egress

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"io"
	"net"
	"os"
	"strings"
	"syscall"
)

// Failure says in one word why an exchange did not end with an answer.
type Failure string

// The failures. [BlockedAddress] and [InvalidRequest] are permanent: the same
// request would fail again. [Canceled] is a stop on our side and says nothing
// about the receiver. All others may pass.
const (
	Timeout        Failure = "timeout"         // the deadline passed first
	DNS            Failure = "dns"             // the name could not be resolved
	Connect        Failure = "connect"         // refused, or no way there
	TLS            Failure = "tls"             // no secure connection, a bad certificate for one
	Closed         Failure = "closed"          // the receiver hung up
	Protocol       Failure = "protocol"        // what came is not sound HTTP, or too much of it
	BlockedAddress Failure = "blocked_address" // the guard denied every address
	InvalidRequest Failure = "invalid_request" // the request cannot be sent as it is
	Canceled       Failure = "canceled"        // the context was canceled, not timed out
)

var (
	errSwitched = errors.New("the receiver switched protocols without being asked")
	errNoStatus = errors.New("the receiver answered with a status below 100") // which net/http lets pass
)

// Classify finds the failure in an error of this package or of net/http. It is
// empty for nil, and Protocol for what it does not know, since net/http's errors
// about malformed responses have no type.
func Classify(err error) Failure {
	if err == nil {
		return ""
	}
	if e, ok := errors.AsType[*Error](err); ok {
		return e.Failure
	}
	if _, ok := errors.AsType[*proxyError](err); ok {
		return Connect // a proxy whose address is denied is no fault of the receiver's
	}
	if _, ok := errors.AsType[*BlockedError](err); ok {
		return BlockedAddress
	}
	if errors.Is(err, errFlood) {
		return Protocol
	}
	if errors.Is(err, errRedials) {
		return Closed
	}
	if errors.Is(err, context.Canceled) {
		return Canceled
	}
	if _, ok := errors.AsType[*net.DNSError](err); ok {
		return DNS
	}
	if timedOut(err) {
		return Timeout
	}
	if isTLS(err) {
		return TLS
	}
	if op, ok := errors.AsType[*net.OpError](err); ok && op.Op == "dial" {
		return Connect
	}
	if hungUp(err) {
		return Closed
	}
	return byText(err)
}

func timedOut(err error) bool {
	if errors.Is(err, context.DeadlineExceeded) || errors.Is(err, os.ErrDeadlineExceeded) {
		return true
	}
	t, ok := errors.AsType[net.Error](err)
	return ok && t.Timeout()
}

func isTLS(err error) bool {
	if _, ok := errors.AsType[*tls.CertificateVerificationError](err); ok {
		return true
	}
	if _, ok := errors.AsType[tls.RecordHeaderError](err); ok {
		return true
	}
	if _, ok := errors.AsType[x509.UnknownAuthorityError](err); ok {
		return true
	}
	return strings.Contains(err.Error(), "tls: ")
}

func hungUp(err error) bool {
	for _, target := range []error{
		io.EOF, io.ErrUnexpectedEOF, net.ErrClosed, syscall.ECONNRESET, syscall.EPIPE, syscall.ECONNABORTED,
	} {
		if errors.Is(err, target) {
			return true
		}
	}
	return false
}

// phrases tell the errors of net/http apart that have neither type nor name. The
// first line comes first because those errors quote the receiver, who might
// quote one of the others.
var phrases = []struct {
	text    string
	failure Failure
}{
	{"malformed", Protocol},
	{"; received from peer", Closed},
	{"stream error: stream ID", Protocol}, // found here, not said by the peer
	{"server closed idle connection", Closed},
	{"persistConn.readLoop exiting", Closed},
	{"server sent GOAWAY", Closed},
	{"received GOAWAY from server", Closed},
	{"graceful shutdown GOAWAY", Closed},
	{"http2: client connection lost", Closed},
	{"http2: client conn", Closed}, // closed, not usable, force closed
	{"http: invalid Host header", InvalidRequest},
	{"http: ContentLength=", InvalidRequest},
	{"http2: request body larger than", InvalidRequest},
	{"net/http: invalid", InvalidRequest}, // method, header, trailer
}

func byText(err error) Failure {
	text := err.Error()
	for _, p := range phrases {
		if strings.Contains(text, p.text) {
			return p.failure
		}
	}
	return Protocol
}

// writeFailed says whether the connection broke while the request was written.
func writeFailed(err error) bool {
	// "readfrom" is how a body that goes out without being buffered fails.
	op, ok := errors.AsType[*net.OpError](err)
	return ok && (op.Op == "write" || op.Op == "readfrom") && !op.Timeout()
}
