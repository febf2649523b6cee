package egress

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strings"
	"time"
)

// MaxBody is how much of a response body is read and kept.
const MaxBody = 64 << 10

// firstRead is the most that is allocated for a body before any of it came: a
// receiver that announces much and sends nothing shall not hold memory.
const firstRead = 4 << 10

// maxRepeats is how often a request is sent again because the connection had
// been closed under it. Each repeat consumes a dead idle connection, so it
// seldom takes more than one.
const maxRepeats = 2

// Response is what the receiver answered.
type Response struct {
	Status    int
	Header    http.Header
	Body      []byte // at most MaxBody
	Truncated bool   // there was more, which was not read
	Proto     string // such as HTTP/1.1
	Timing    Timing // of the parts that there were, also where the exchange failed
}

// Timing says how long parts of an exchange took. Those that there were not are
// 0: on a connection that was kept alive there is only FirstByte.
type Timing struct {
	DNS       time.Duration // to look the name up
	Connect   time.Duration // to the first address that answered, or through the proxy
	TLS       time.Duration // handshake
	FirstByte time.Duration // from the request being written to the first byte of the answer
}

// identity is shared by all requests; net/http only reads it.
var identity = []string{"identity"}

// Do sends req and reads the answer, both within the deadline of req's context;
// a context without one leaves the exchange unbounded. Every error is an
// *[Error]. Any status is an answer and not an error; redirects are not
// followed.
//
// If the headers arrived but the body did not, Do returns the response so far,
// its Status set, together with the error, and the caller decides what that is
// worth.
//
// Do owns req: it sets Accept-Encoding, and it lets the request be repeated on
// another connection if the receiver closed a kept-alive one just as the request
// was written. A webhook's id makes such a copy harmless, whereas the failure
// would cost the delivery an attempt. Repeating takes a body that can be read
// again: req.GetBody, which [http.NewRequestWithContext] sets for in-memory
// readers.
func (c *Client) Do(req *http.Request) (Response, error) {
	return c.do(req, c.transport)
}

// DoAs is Do under an identity, with connections that no other identity shares.
// Under an identity that cannot be used the request is an [InvalidRequest], unless
// what the identity's files held before could be.
func (c *Client) DoAs(req *http.Request, id Identity) (Response, error) {
	if id == (Identity{}) {
		return c.Do(req)
	}
	transport, release, err := c.identities.acquire(id)
	if err != nil {
		return unsent(req, err)
	}
	defer release()
	return c.do(req, transport)
}

func (c *Client) do(req *http.Request, transport *http.Transport) (Response, error) {
	if err := c.checkTarget(req); err != nil {
		return unsent(req, err)
	}
	prepare(req)
	follow, req := withFollow(req)
	defer follow.end()
	res, err := roundTrip(transport, req)
	if err != nil {
		return Response{Timing: follow.timing()}, failure(req, 0, err)
	}
	out, err := receive(req, res)
	out.Timing = follow.timing()
	return out, err
}

func unsent(req *http.Request, err error) (Response, error) {
	if req.Body != nil {
		_ = req.Body.Close() // never sent, so nothing was lost with it
	}
	return Response{}, &Error{Failure: InvalidRequest, Err: err}
}

// checkTarget refuses what is no HTTP request at all, and plain HTTP unless that
// is allowed: an address is judged when it is written, but that may have been
// under other rules.
func (c *Client) checkTarget(req *http.Request) error {
	switch {
	case req.URL == nil || req.URL.Hostname() == "":
		return errors.New("the URL has no host")
	case req.URL.Scheme != "http" && req.URL.Scheme != "https":
		return fmt.Errorf("unsupported scheme %.20q", req.URL.Scheme)
	case req.URL.Scheme == "http" && !c.allowHTTP:
		return errors.New("plain http is not allowed here")
	}
	return nil
}

func prepare(req *http.Request) {
	if req.Header == nil {
		req.Header = make(http.Header, 2)
	}
	req.Header["Accept-Encoding"] = identity
	// The key's presence tells net/http that the request may be repeated; an
	// empty value is not sent.
	if _, set := req.Header["Idempotency-Key"]; !set {
		req.Header["Idempotency-Key"] = nil
	}
}

// roundTrip repeats what net/http does not: a request whose later writes failed
// because the idle connection it was given had just been closed.
func roundTrip(transport *http.Transport, req *http.Request) (*http.Response, error) {
	res, err := transport.RoundTrip(req)
	for repeat := 0; err != nil && repeat < maxRepeats; repeat++ {
		if !writeFailed(err) || req.GetBody == nil || req.Context().Err() != nil {
			break
		}
		body, bodyErr := req.GetBody()
		if bodyErr != nil {
			break
		}
		req.Body = body
		res, err = transport.RoundTrip(req)
	}
	return res, err
}

// receive reads the body and lets go of the connection: back to the pool if the
// body ended, closed (HTTP/1) or reset (HTTP/2) otherwise.
func receive(req *http.Request, res *http.Response) (Response, error) {
	out := Response{Status: res.StatusCode, Header: res.Header, Proto: res.Proto}
	if res.StatusCode < 100 {
		_ = res.Body.Close() // nothing in it matters
		return Response{}, failure(req, 0, errNoStatus)
	}
	if res.Body == http.NoBody {
		return out, nil
	}
	defer func() { _ = res.Body.Close() }() // all of it that matters was read
	if res.StatusCode == http.StatusSwitchingProtocols {
		// The body would be the bare connection, which heeds no deadline.
		return out, failure(req, res.StatusCode, errSwitched)
	}
	var err error
	out.Body, out.Truncated, err = readBody(res.Body, res.ContentLength)
	if err != nil {
		return out, failure(req, res.StatusCode, err)
	}
	return out, nil
}

// readBody reads up to MaxBody bytes, and one more to see whether there are any.
// announced is the length that the receiver gave, or -1.
func readBody(r io.Reader, announced int64) (body []byte, truncated bool, err error) {
	size := int64(512)
	if announced >= 0 {
		size = min(announced, firstRead)
	}
	body = make([]byte, 0, size)
	for {
		if len(body) == MaxBody {
			more, err := endless(r)
			return body, more, err
		}
		if len(body) == cap(body) {
			body = append(body, 0)[:len(body)] // grow as append sees fit
		}
		n, err := r.Read(body[len(body):min(cap(body), MaxBody)])
		body = body[:len(body)+n]
		if errors.Is(err, io.EOF) {
			return body, false, nil
		}
		if err != nil {
			return body, false, err
		}
	}
}

// endless says whether r has another byte.
func endless(r io.Reader) (bool, error) {
	var one [1]byte
	_, err := io.ReadFull(r, one[:])
	if errors.Is(err, io.EOF) {
		return false, nil
	}
	return err == nil, err
}

// failure makes the error that Do returns. It alone looks at the context: once
// that is done, whatever the transport says is only the echo.
func failure(req *http.Request, status int, err error) *Error {
	e := &Error{Failure: Classify(err), Host: req.URL.Hostname(), Status: status, Err: err}
	ctx := req.Context()
	switch refused := refusedHeader(req.Header); {
	case refused != nil:
		// net/http refused it before doing anything, with an untyped error.
		// Looking only now keeps the check off the way of sound requests.
		e.Failure, e.Err = InvalidRequest, refused
	case e.Failure == BlockedAddress || ctx.Err() == nil:
	default:
		e.Failure, e.Err = Canceled, context.Cause(ctx)
		if errors.Is(ctx.Err(), context.DeadlineExceeded) || errors.Is(e.Err, context.DeadlineExceeded) {
			e.Failure = Timeout
		}
	}
	return e
}

// refusedHeader finds a header that net/http would not send.
func refusedHeader(h http.Header) error {
	for name, values := range h {
		if name == "" || strings.ContainsFunc(name, notToken) {
			return fmt.Errorf("header name %.40q is not allowed in HTTP", name)
		}
		for _, v := range values {
			if i := strings.IndexFunc(v, isControl); i >= 0 {
				return fmt.Errorf("the value of header %s has a control character at byte %d", name, i)
			}
		}
	}
	return nil
}

func isControl(r rune) bool { return r < ' ' && r != '\t' || r == 0x7f }

func notToken(r rune) bool {
	alnum := '0' <= r && r <= '9' || 'A' <= r && r <= 'Z' || 'a' <= r && r <= 'z'
	return !alnum && !strings.ContainsRune("!#$%&'*+-.^_`|~", r)
}
