package egress

import (
	"context"
	"net"
	"sync"
)

// http1Beasts hang, hang up, or speak what is not HTTP.
func http1Beasts() []beast {
	return []beast{
		{"accepts and is silent", func(ctx context.Context, _ net.Conn) { <-ctx.Done() }, Timeout, 0},
		{"reads and is silent", answers(), Timeout, 0},
		{"half a status line, then silence", answers("HTTP/1.1 2"), Timeout, 0},
		{"status line byte by byte", drips("HTTP/1.1 200 ", "x"), Timeout, 0},
		{"hangs up at once", func(_ context.Context, _ net.Conn) {}, Closed, 0},
		{"hangs up after the request", answersAndCloses(""), Closed, 0},
		{"hangs up in the status line", answersAndCloses("HTTP/1.1 2"), Protocol, 0},
		{"hangs up in the headers", answersAndCloses("HTTP/1.1 200 OK\r\nContent-Length: 2\r\n"), Closed, 0},
		{"resets in the request", func(_ context.Context, c net.Conn) {
			_, _ = c.Read(make([]byte, 1)) // what is left unread resets as well
			reset(c)
		}, Closed, 0},
		{"resets after the request", resets(""), Closed, 0},
		{"resets in the headers", resets("HTTP/1.1 200 OK\r\nX-A: b"), Closed, 0},
		{"switches protocols", answers("HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n"), Protocol, 101},
		{"switches protocols and floods", floods("HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: x\r\n\r\n", "x"), Protocol, 101},
		{"flood of 100 Continue", floods("", "HTTP/1.1 100 Continue\r\n\r\n"), Protocol, 0},
		{"flood of 102 Processing", floods("", "HTTP/1.1 102 Processing\r\n\r\n"), Protocol, 0},
		{"flood of 103 Early Hints", floods("", "HTTP/1.1 103 Early Hints\r\nLink: </a>\r\n\r\n"), Protocol, 0},
		{"100 Continue at leisure", drips("", "HTTP/1.1 100 Continue\r\n\r\n"), Timeout, 0},
		{"102 Processing at leisure", drips("", "HTTP/1.1 102 Processing\r\n\r\n"), Timeout, 0},
		{"103 Early Hints at leisure", drips("", "HTTP/1.1 103 Early Hints\r\n\r\n"), Timeout, 0},
		{"speaks no HTTP", answers("SSH-2.0-OpenSSH_9.9\r\n"), Protocol, 0},
		{"floods with no HTTP", floods("", "x"), Protocol, 0},
		{"HTTP/2 without being asked", answersAndCloses("\x00\x00\x00\x04\x00\x00\x00\x00\x00"), Protocol, 0},
		{"quotes other errors", answers("net/http: invalid tls: stream error: stream ID\r\n\r\n"), Protocol, 0},
		{"status of two digits", answers("HTTP/1.1 20 OK\r\n\r\n"), Protocol, 0},
		{"status of 000", answersAndCloses("HTTP/1.1 000 OK\r\nContent-Length: 0\r\n\r\n"), Protocol, 0},
		{"status of four digits", answers("HTTP/1.1 2000 OK\r\n\r\n"), Protocol, 0},
		{"status that is no number", answers("HTTP/1.1 -20 OK\r\n\r\n"), Protocol, 0},
		{"HTTP/9.9", answersAndCloses("HTTP/9.9 200 OK\r\nContent-Length: 0\r\n\r\n"), "", 200},
		{"a second response unasked", answers("HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nokHTTP/1.1 500 Oh\r\nContent-Length: 0\r\n\r\n"), "", 200},
	}
}

var elevenMiB = sync.OnceValue(func() string { return repeat("X-Flood: "+kib+"\r\n", 11<<10) })

// headerBeasts send too many headers, or such as two readers read differently.
func headerBeasts() []beast {
	const ok = "HTTP/1.1 200 OK\r\n"
	return []beast{
		{"headers byte by byte", drips(ok+"X-Slow: ", "x"), Timeout, 0},
		{"headers line by line", drips(ok, "X-Slow: x\r\n"), Timeout, 0},
		{"11 MiB of headers", answers(ok, elevenMiB(), "\r\n"), Protocol, 0},
		{"endless headers", floods(ok, "X-Flood: "+kib+"\r\n"), Protocol, 0},
		{"endless tiny headers", floods(ok, "a:\r\n"), Protocol, 0},
		{"one endless header", floods(ok+"X-Flood: ", kib), Protocol, 0},
		{"one endless header name", floods(ok, kib), Protocol, 0},
		{"endless folded header", floods(ok+"X-Flood: a\r\n", " b\r\n"), Protocol, 0},
		{"endless reason phrase", floods("HTTP/1.1 200 ", kib), Protocol, 0},
		{"two lengths", answers(ok + "Content-Length: 1\r\nContent-Length: 2\r\n\r\nab"), Protocol, 0},
		{"length and chunks", answers(ok + "Content-Length: 3\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nok\r\n0\r\n\r\n"), "", 200},
		{"length below zero", answers(ok + "Content-Length: -1\r\n\r\n"), Protocol, 0},
		{"length with a sign", answers(ok + "Content-Length: +2\r\n\r\nok"), Protocol, 0},
		{"length beyond 64 bits", answers(ok + "Content-Length: 99999999999999999999\r\n\r\nok"), Protocol, 0},
		{"chunked twice", answers(ok + "Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n"), Protocol, 0},
		{"an unknown transfer encoding", answers(ok + "Transfer-Encoding: gzip, chunked\r\n\r\n0\r\n\r\n"), Protocol, 0},
		{"bare line feeds", answers("HTTP/1.1 200 OK\nContent-Length: 2\n\nok"), "", 200},
		{"NUL in a header", answers(ok + "X-A: a\x00b\r\nContent-Length: 0\r\n\r\n"), Protocol, 0},
		{"NUL in a header's name", answers(ok + "X\x00A: b\r\nContent-Length: 0\r\n\r\n"), Protocol, 0},
		{"space before the colon", answersAndCloses(ok + "Content-Length : 9\r\n\r\nok"), "", 200},
		{"header without a colon", answers(ok + "oops\r\n\r\n"), Protocol, 0},
		{"folded first header", answers(ok + " X-A: b\r\n\r\n"), Protocol, 0},
	}
}
