package egress

import (
	"context"
	"crypto/tls"
	"errors"
	"net"
	"time"
)

// tlsBeasts never get as far as HTTP, or not far into it.
func tlsBeasts() []beast {
	var list []beast
	for _, stage := range []struct {
		name  string
		after int // bytes of the server's side of the handshake
	}{
		{"before it greets", 0},
		{"in a record's header", 3},
		{"in its greeting", 60},
		{"in its certificate", 400},
	} {
		list = append(list,
			beast{"TLS that hangs " + stage.name, handshake(stage.after, func(_ context.Context, c net.Conn) { untilClosed(c) }), Timeout, 0},
			beast{"TLS that hangs up " + stage.name, handshake(stage.after, func(context.Context, net.Conn) {}), Closed, 0},
			beast{"TLS that resets " + stage.name, handshake(stage.after, func(_ context.Context, c net.Conn) { reset(c) }), Closed, 0},
			beast{"TLS that drips " + stage.name, handshake(stage.after, func(ctx context.Context, c net.Conn) {
				drip(ctx, c, 20*time.Millisecond, "\x16")
			}), handshakeDrips[stage.after], 0},
			beast{"TLS that floods " + stage.name, handshake(stage.after, func(_ context.Context, c net.Conn) { flood(c, kib) }), TLS, 0},
		)
	}
	return append(list,
		beast{"plain HTTP where TLS should be", func(_ context.Context, c net.Conn) { say(c, "HTTP/1.1 400 Bad Request\r\n\r\n") }, TLS, 0},
		beast{"TLS alert", func(_ context.Context, c net.Conn) { say(c, "\x15\x03\x03\x00\x02\x02\x28"); untilClosed(c) }, TLS, 0},
		beast{"flood of TLS alerts", func(_ context.Context, c net.Conn) { flood(c, repeat("\x15\x03\x03\x00\x02\x01\x5a", 1000)) }, TLS, 0},
		beast{"flood of empty TLS records", func(_ context.Context, c net.Conn) { flood(c, repeat("\x16\x03\x03\x00\x00", 1000)) }, TLS, 0},
		beast{"endless TLS greeting", func(_ context.Context, c net.Conn) {
			say(c, "\x16\x03\x03\x40\x00\x02\xff\xff\xff")
			flood(c, repeat("\x00", 16380)+"\x16\x03\x03\x40\x00")
		}, TLS, 0},
		beast{"silence after the TLS handshake", overTLS(func(_ context.Context, c net.Conn) { untilClosed(c) }), Timeout, 0},
		beast{"hangs up after the TLS handshake", overTLS(func(context.Context, net.Conn) {}), Closed, 0},
		beast{"garbage after the TLS handshake", overTLS(func(_ context.Context, c net.Conn) {
			if c, ok := c.(*tls.Conn); ok {
				flood(c.NetConn(), kib)
			}
		}), TLS, 0},
		beast{"endless body over TLS", overTLS(floods("HTTP/1.1 200 OK\r\n\r\n", kib)), "", 200},
		beast{"TLS cut off in the body", overTLS(resets("HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nhalf")), Closed, 200},
		beast{"TLS cut off in a body without a length", overTLS(resets("HTTP/1.1 200 OK\r\n\r\nhalf")), "", 200},
	)
}

// handshakeDrips says how a drip ends that continues the handshake: where the
// bytes are no record's, with the first few.
var handshakeDrips = map[int]Failure{0: TLS, 3: Timeout, 60: Timeout, 400: Timeout}

// overTLS shakes hands, then hands the connection to handle.
func overTLS(handle func(context.Context, net.Conn), protocols ...string) func(context.Context, net.Conn) {
	return func(ctx context.Context, conn net.Conn) {
		c := tls.Server(conn, zooConfig(protocols...))
		if c.HandshakeContext(ctx) == nil {
			handle(ctx, c)
		}
	}
}

// handshake shakes hands until so many bytes were written, then hands the bare
// connection to handle.
func handshake(bytes int, handle func(context.Context, net.Conn)) func(context.Context, net.Conn) {
	return func(ctx context.Context, conn net.Conn) {
		_ = tls.Server(&choked{conn, bytes}, zooConfig()).HandshakeContext(ctx) // it ends choked
		handle(ctx, conn)
	}
}

var errChoked = errors.New("no more is written")

// choked is a connection that lets so many bytes out.
type choked struct {
	net.Conn
	left int
}

func (c *choked) Write(p []byte) (int, error) {
	n := min(len(p), c.left)
	c.left -= n
	if _, err := c.Conn.Write(p[:n]); err != nil {
		return 0, err
	}
	if n < len(p) {
		return n, errChoked
	}
	return n, nil
}
