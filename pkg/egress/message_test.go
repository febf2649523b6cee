package egress

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"strings"
	"syscall"
	"testing"
)

func dialError(err error) error {
	return &net.OpError{Op: "dial", Net: "tcp", Addr: &net.TCPAddr{IP: net.IPv4(93, 184, 216, 34), Port: 1}, Err: err}
}

// Each failure that is told apart, with the words that the endpoint's owner reads.
func TestClassifyAndSay(t *testing.T) {
	for _, tt := range []struct {
		err     error
		failure Failure
		words   string
	}{
		{context.DeadlineExceeded, Timeout, "timed out before host answered"},
		{os.ErrDeadlineExceeded, Timeout, "timed out before host answered"},
		{dialError(syscall.ETIMEDOUT), Timeout, "timed out before host answered"},
		{context.Canceled, Canceled, "the exchange was canceled"},
		{dialError(&net.DNSError{Name: "host", IsNotFound: true}), DNS, "DNS knows no host host"},
		{dialError(&net.DNSError{Name: "host", IsTimeout: true}), DNS, "DNS lookup of host failed"},
		{dialError(syscall.ECONNREFUSED), Connect, "host refused the connection"},
		{dialError(syscall.EHOSTUNREACH), Connect, "host is unreachable"},
		{dialError(syscall.ENETUNREACH), Connect, "host is unreachable"},
		{dialError(errors.New("no more sockets")), Connect, "no connection to host"},
		{dialError(&BlockedError{}), BlockedAddress, "address not allowed: host is not on the public internet or not on a port for the web, or is denied by the operator"},
		{&tls.CertificateVerificationError{Err: x509.CertificateInvalidError{Reason: x509.Expired}}, TLS, "TLS with host: its certificate has expired or is not valid yet"},
		{&tls.CertificateVerificationError{Err: x509.CertificateInvalidError{Reason: x509.NotAuthorizedToSign}}, TLS, "TLS with host: its certificate is invalid"},
		{&tls.CertificateVerificationError{Err: x509.HostnameError{Certificate: &x509.Certificate{}, Host: "host"}}, TLS, "TLS with host: its certificate is for another host"},
		{x509.UnknownAuthorityError{}, TLS, "TLS with host: its certificate is signed by an unknown authority"},
		{tls.RecordHeaderError{Msg: "first record"}, TLS, "TLS with host: no TLS on that port"},
		{&net.OpError{Op: "remote error", Err: errors.New("tls: handshake failure")}, TLS, "TLS with host: handshake failure"},
		{errors.New(`tls: failed to parse certificate from server: x509: cannot parse URI "https://canary/": tls: canary`), TLS, "TLS with host: failed to parse certificate from server"},
		{&tls.CertificateVerificationError{Err: errors.New("x509: canary")}, TLS, "TLS with host: failed to verify certificate"},
		{io.EOF, Closed, "host closed the connection before it answered"},
		{io.ErrUnexpectedEOF, Closed, "host closed the connection before it answered"},
		{&net.OpError{Op: "read", Err: syscall.ECONNRESET}, Closed, "host closed the connection before it answered"},
		{&net.OpError{Op: "write", Err: syscall.EPIPE}, Closed, "host closed the connection before it answered"},
		{errors.New("http: server closed idle connection"), Closed, "host closed the connection before it answered"},
		{errors.New("http2: server sent GOAWAY and closed the connection; LastStreamID=1"), Closed, "host closed the connection before it answered"},
		{errors.New("stream error: stream ID 1; INTERNAL_ERROR; received from peer"), Closed, "host closed the connection before it answered"},
		{errors.New(`stream error: stream ID 1; PROTOCOL_ERROR; invalid header field name "net/http: invalid"`), Protocol, "host did not answer in valid HTTP"},
		{errors.New("stream error: stream ID 1; PROTOCOL_ERROR; header list too large"), Protocol, "host sent more than 64 KiB of response headers"},
		{errors.New("http2: Transport received GOAWAY from server ErrCode:ENHANCE_YOUR_CALM"), Closed, "host closed the connection before it answered"},
		{errFlood, Protocol, "host sent far more than its response"},
		{errRedials, Closed, "host closed the connection before it answered"},
		{errors.New(`malformed HTTP response "server sent GOAWAY"`), Protocol, "host did not answer in valid HTTP"},
		{errors.New("net/http: server response headers exceeded 65536 bytes; aborted"), Protocol, "host sent more than 64 KiB of response headers"},
		{errSwitched, Protocol, "host switched protocols without being asked"},
		{errors.New("something new"), Protocol, "host did not answer in valid HTTP"},
		{errors.New(`net/http: invalid method "A B"`), InvalidRequest, `the request cannot be sent: net/http: invalid method "A B"`},
	} {
		for _, err := range []error{tt.err, fmt.Errorf("wrapped: %w", tt.err), &Error{Failure: tt.failure, Err: tt.err}} {
			if got := Classify(err); got != tt.failure {
				t.Errorf("Classify(%v) = %q, want %q", err, got, tt.failure)
			}
		}
		e := &Error{Failure: tt.failure, Host: "host", Err: tt.err}
		if e.Error() != tt.words || !errors.Is(e, tt.err) {
			t.Errorf("%v: says %q, want %q", tt.err, e, tt.words)
		}
	}
	if got := Classify(nil); got != "" {
		t.Errorf("Classify(nil) = %q", got)
	}
}

func TestErrorNamesTheMoment(t *testing.T) {
	for _, f := range []Failure{Timeout, Closed} {
		e := &Error{Failure: f, Host: "host", Status: 207, Err: io.EOF}
		if !strings.HasSuffix(e.Error(), "in the middle of the response body (status 207)") {
			t.Errorf("%s: says %q", f, e)
		}
	}
}
