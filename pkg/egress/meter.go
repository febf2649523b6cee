package egress

import (
	"context"
	"crypto/tls"
	"errors"
	"net"
	"net/http"
	"net/http/httptrace"
	"sync"
	"sync/atomic"
)

// allowance is what may be read from a connection for each exchange on it,
// whatever it is: as much as the bounds on header, body and windows leave room
// for. Those alone would let a receiver keep us busy with what belongs to no
// response, such as HTTP/2 pings, for as long as the connection lasts.
const allowance = 256 << 10

// spare is what may be read beyond the allowances of the exchanges under way: a
// handshake, and the bodies that were still being sent as exchanges ended, which
// HTTP/2's window for the connection bounds, in their frames and TLS records.
const spare = 512 << 10

// window is HTTP/2's window for the connection. What spare has beyond it holds the
// handshake, the frames' headers and TLS's, unless the receiver sends tiny frames.
const window = spare - 64<<10

// maxDials is how many connections one exchange may open. It takes one, and
// another for each that was closed under it; net/http itself would go on for as
// long as an HTTP/2 receiver keeps saying that it is about to close.
const maxDials = 5

var (
	errFlood   = errors.New("more was sent than any response takes")
	errRedials = errors.New("each connection was closed before it was of use")
)

// meter is a connection that breaks when more than its allowance was read.
type meter struct {
	net.Conn

	mu        sync.Mutex
	left      int
	exchanges int
}

// metered wraps a new connection.
func metered(conn net.Conn, err error) (net.Conn, error) {
	if err != nil {
		return nil, err
	}
	return &meter{Conn: conn, left: spare}, nil
}

// Read fails for good once the allowance is used up.
func (m *meter) Read(p []byte) (int, error) {
	n, err := m.Conn.Read(p)
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.left -= n; m.left < 0 {
		return 0, errFlood
	}
	return n, err
}

func (m *meter) begin() {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.exchanges++
	m.left += allowance
}

// end takes back what the exchange left of its allowance, so that nothing adds
// up.
func (m *meter) end() {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.exchanges--
	m.left = min(m.left, spare+m.exchanges*allowance)
}

// follow knows the connection that an exchange is on, counts its dials, and
// notes how long its parts take.
type follow struct {
	dials  atomic.Int32
	on     *meter
	trace  httptrace.ClientTrace
	clocks clocks
}

// followKey is the context key of an exchange's *follow.
type followKey struct{}

func withFollow(req *http.Request) (*follow, *http.Request) {
	f := &follow{}
	f.trace = httptrace.ClientTrace{GotConn: f.got, WroteRequest: f.clocks.wrote, GotFirstResponseByte: f.clocks.answered,
		TLSHandshakeStart: f.clocks.shakes, TLSHandshakeDone: f.clocks.shook}
	ctx := context.WithValue(req.Context(), followKey{}, f)
	return f, req.WithContext(httptrace.WithClientTrace(ctx, &f.trace))
}

func (f *follow) timing() Timing { return f.clocks.timing() }

// followOf returns the follow of the exchange that a dial is for.
func followOf(ctx context.Context) *follow {
	f, _ := ctx.Value(followKey{}).(*follow)
	return f
}

func countDial(ctx context.Context) error {
	if f := followOf(ctx); f != nil && f.dials.Add(1) > maxDials {
		return errRedials
	}
	return nil
}

// got runs each time that the request is given a connection, a second time if
// the first was of no use.
func (f *follow) got(info httptrace.GotConnInfo) {
	f.end()
	f.on = underneath(info.Conn)
	if f.on != nil {
		f.on.begin()
	}
}

func (f *follow) end() {
	if f.on != nil {
		f.on.end()
		f.on = nil
	}
}

// underneath finds the meter below any number of TLS connections.
func underneath(conn net.Conn) *meter {
	for {
		switch c := conn.(type) {
		case *meter:
			return c
		case *tls.Conn:
			conn = c.NetConn()
		default:
			return nil
		}
	}
}
