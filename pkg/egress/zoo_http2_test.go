package egress

import (
	"bytes"
	"context"
	"io"
	"net"
	"sync"
	"sync/atomic"
	"time"

	"golang.org/x/net/http2"
	"golang.org/x/net/http2/hpack"
)

// h2 is a receiver's end of an HTTP/2 connection on which a request has begun.
// Whatever else the client writes is read and forgotten.
type h2 struct {
	*http2.Framer
	conn   net.Conn
	stream uint32
	more   <-chan uint32   // streams after the first
	gone   <-chan struct{} // closed when the client is gone
	window atomic.Int64    // all that the client has let the connection carry
	pong   chan struct{}   // holds one when the client has answered a PING
	table  bytes.Buffer
	hpack  *hpack.Encoder
}

// overHTTP2 runs a script against each connection, with the receiver's settings
// sent before.
func overHTTP2(script func(h *h2), settings ...http2.Setting) func(context.Context, net.Conn) {
	return overTLS(func(_ context.Context, conn net.Conn) {
		var reading sync.WaitGroup
		defer reading.Wait()
		defer func() { _ = conn.Close() }()
		if _, err := io.ReadFull(conn, make([]byte, len(http2.ClientPreface))); err != nil {
			return
		}
		gone, more := make(chan struct{}), make(chan uint32, 64)
		h := newH2(conn, conn)
		h.conn, h.gone, h.more = conn, gone, more
		if h.WriteSettings(settings...) != nil {
			return
		}
		var ok bool
		if h.stream, ok = h.request(); !ok {
			return
		}
		reading.Go(func() {
			defer close(gone)
			for stream, ok := h.request(); ok; stream, ok = h.request() {
				select {
				case more <- stream:
				default: // more than any script looks at
				}
			}
		})
		script(h)
	}, "h2")
}

func newH2(w io.Writer, r io.Reader) *h2 {
	h := &h2{Framer: http2.NewFramer(w, r), pong: make(chan struct{}, 1)}
	h.AllowIllegalWrites = true
	h.window.Store(64<<10 - 1) // what HTTP/2 begins with
	h.hpack = hpack.NewEncoder(&h.table)
	return h
}

// request waits for the beginning of a request.
func (h *h2) request() (stream uint32, ok bool) {
	for {
		f, err := h.ReadFrame()
		if err != nil {
			return 0, false
		}
		switch f := f.(type) {
		case *http2.HeadersFrame:
			return f.StreamID, true
		case *http2.WindowUpdateFrame:
			if f.StreamID == 0 {
				h.window.Add(int64(f.Increment))
			}
		case *http2.PingFrame:
			if f.IsAck() {
				select {
				case h.pong <- struct{}{}:
				default: // no script waits for it
				}
			}
		}
	}
}

// arrived waits until the client has read what was written.
func (h *h2) arrived() {
	_ = h.WritePing(false, [8]byte{}) // a client that is gone shows below
	select {
	case <-h.pong:
	case <-h.gone:
	}
}

// block encodes headers, given as names and values in turn.
func (h *h2) block(fields ...string) []byte {
	h.table.Reset()
	for i := 0; i+1 < len(fields); i += 2 {
		// Writing to a buffer does not fail.
		_ = h.hpack.WriteField(hpack.HeaderField{Name: fields[i], Value: fields[i+1]})
	}
	return bytes.Clone(h.table.Bytes())
}

// headers writes a block of headers that ends, of a stream that goes on.
func (h *h2) headers(fields ...string) error {
	return h.WriteHeaders(http2.HeadersFrameParam{StreamID: h.stream, BlockFragment: h.block(fields...), EndHeaders: true})
}

func (h *h2) ok() error { return h.headers(":status", "200") }

// forever repeats step until it fails, because the client is gone.
func (h *h2) forever(step func() error) {
	for step() == nil {
	}
}

// raw repeats what step writes, in pieces large enough to flood.
func (h *h2) raw(step func(f *http2.Framer) error) {
	var piece bytes.Buffer
	f := http2.NewFramer(&piece, nil)
	f.AllowIllegalWrites = true
	for piece.Len() < 16<<10 && step(f) == nil {
	}
	h.forever(func() error { _, err := h.conn.Write(piece.Bytes()); return err })
}

func (h *h2) slowly(step func() error) {
	tick := time.NewTicker(20 * time.Millisecond)
	defer tick.Stop()
	for step() == nil {
		select {
		case <-tick.C:
		case <-h.gone:
			return
		}
	}
}

// http2Beasts break HTTP/2's rules, or keep them and never end.
func http2Beasts() []beast {
	hold := func(h *h2) { <-h.gone }
	then := func(step func(h *h2) error) func(h *h2) {
		return func(h *h2) { _ = step(h); <-h.gone } // a client that is gone fails the step
	}
	list := []struct {
		name    string
		script  func(h *h2)
		failure Failure
		status  int
	}{
		{"HTTP/2 and silence", hold, Timeout, 0},
		{"HTTP/2, headers and silence", then((*h2).ok), Timeout, 200},
		{"HTTP/2, hangs up after the request", func(*h2) {}, Closed, 0},
		{"HTTP/2, hangs up in the body", func(h *h2) {
			_ = h.ok()
			_ = h.WriteData(h.stream, false, []byte("half"))
			h.arrived() // what the client sent to a closed connection would reset it, and lose what was not read
		}, Closed, 200},
		{"HTTP/2, DATA byte by byte", func(h *h2) {
			_ = h.ok()
			h.slowly(func() error { return h.WriteData(h.stream, false, []byte("x")) })
		}, Timeout, 200},
		{"HTTP/2, 103 at leisure", func(h *h2) {
			h.slowly(func() error { return h.headers(":status", "103") })
		}, Timeout, 0},
		{"HTTP/2, PING at leisure", func(h *h2) {
			h.slowly(func() error { return h.WritePing(false, [8]byte{}) })
		}, Timeout, 0},
		{"HTTP/2, GOAWAY at once", then(func(h *h2) error { return h.WriteGoAway(0, http2.ErrCodeNo, nil) }), Closed, 0},
		{"HTTP/2, GOAWAY at once, hangs up", func(h *h2) { _ = h.WriteGoAway(0, http2.ErrCodeNo, nil) }, Closed, 0},
		{"HTTP/2, GOAWAY with an error", then(func(h *h2) error { return h.WriteGoAway(0, http2.ErrCodeEnhanceYourCalm, []byte("calm")) }), Closed, 0},
		{"HTTP/2, GOAWAY again and again", func(h *h2) {
			h.slowly(func() error { return h.WriteGoAway(h.stream, http2.ErrCodeNo, nil) })
		}, Timeout, 0},
		{"HTTP/2, each stream refused", func(h *h2) {
			for refused := h.stream; h.WriteRSTStream(refused, http2.ErrCodeRefusedStream) == nil; {
				select {
				case refused = <-h.more:
				case <-h.gone:
					return
				}
			}
		}, Timeout, 0},
		{"HTTP/2, stream reset", then(func(h *h2) error { return h.WriteRSTStream(h.stream, http2.ErrCodeInternal) }), Closed, 0},
		{"HTTP/2, stream reset in the body", then(func(h *h2) error {
			_ = h.ok()
			_ = h.WriteData(h.stream, false, []byte("half"))
			return h.WriteRSTStream(h.stream, http2.ErrCodeCancel)
		}), Closed, 200},
		{"HTTP/2, a frame of 1 MiB", then(func(h *h2) error {
			_ = h.ok()
			return h.WriteData(h.stream, false, make([]byte, 1<<20))
		}), Protocol, 200},
		{"HTTP/2, more DATA than the window", then(func(h *h2) error {
			_ = h.ok()
			for range 1 << 10 {
				_ = h.WriteData(h.stream, false, make([]byte, 16<<10))
			}
			return nil
		}), "", 200},
		{"HTTP/2, DATA before headers", then(func(h *h2) error { return h.WriteData(h.stream, false, []byte("x")) }), Protocol, 0},
		{"HTTP/2, headers of another stream", then(func(h *h2) error {
			return h.WriteHeaders(http2.HeadersFrameParam{StreamID: 999, BlockFragment: h.block(":status", "200"), EndHeaders: true})
		}), Timeout, 0},
		{"HTTP/2, no status", then(func(h *h2) error { return h.headers("x-a", "b") }), Protocol, 0},
		{"HTTP/2, a status that is no number", then(func(h *h2) error { return h.headers(":status", "abc") }), Protocol, 0},
		{"HTTP/2, status 0", then(func(h *h2) error { return h.headers(":status", "000") }), Protocol, 0},
		{"HTTP/2, 101", then(func(h *h2) error { return h.headers(":status", "101") }), Timeout, 0},
		{"HTTP/2, a header name in capitals", then(func(h *h2) error { return h.headers(":status", "200", "X-A", "b") }), Protocol, 0},
		{"HTTP/2, line feed in a header", then(func(h *h2) error { return h.headers(":status", "200", "x-a", "b\r\nx-c: d") }), Protocol, 0},
		{"HTTP/2, headers that HPACK cannot read", then(func(h *h2) error {
			return h.WriteHeaders(http2.HeadersFrameParam{StreamID: h.stream, BlockFragment: []byte{0xff, 0xff, 0xff, 0xff, 0xff}, EndHeaders: true})
		}), Protocol, 0},
		{"HTTP/2, a pushed stream", then(func(h *h2) error {
			return h.WritePushPromise(http2.PushPromiseParam{StreamID: h.stream, PromiseID: 2, BlockFragment: h.block(":method", "GET"), EndHeaders: true})
		}), Protocol, 0},
		{"HTTP/2, body shorter than its length", then(func(h *h2) error {
			_ = h.headers(":status", "200", "content-length", "10")
			return h.WriteData(h.stream, true, []byte("half"))
		}), Closed, 200},
		{"HTTP/2, body longer than its length", then(func(h *h2) error {
			_ = h.headers(":status", "200", "content-length", "2")
			return h.WriteData(h.stream, true, []byte("ok and more"))
		}), Protocol, 200},
		{"HTTP/2, endless body", func(h *h2) {
			_ = h.ok()
			h.forever(func() error { return h.WriteData(h.stream, false, []byte(kib)) })
		}, "", 200},
		{"HTTP/2, speaks HTTP/1", func(h *h2) { say(h.conn, "HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n"); <-h.gone }, Protocol, 0},
		// Behind the request: read before it, it ends the connection, and net/http
		// does not say why.
		{"HTTP/2, a setting out of bounds", then(func(h *h2) error { return h.WriteSettings(http2.Setting{ID: http2.SettingMaxFrameSize, Val: 1}) }), Protocol, 0},
		{"HTTP/2, garbage", func(h *h2) { h.forever(func() error { _, err := io.WriteString(h.conn, kib); return err }) }, Protocol, 0},
	}
	beasts := []beast{
		{"HTTP/2, a window of 0 for ever", overHTTP2(hold, http2.Setting{ID: http2.SettingInitialWindowSize, Val: 0}), Timeout, 0},
		{"HTTP/2, no streams allowed", overHTTP2(hold, http2.Setting{ID: http2.SettingMaxConcurrentStreams, Val: 0}), Timeout, 0},
		{"HTTP/2 never begun", overTLS(func(_ context.Context, c net.Conn) { untilClosed(c) }, "h2"), Timeout, 0},
	}
	for _, l := range list {
		beasts = append(beasts, beast{l.name, overHTTP2(l.script), l.failure, l.status})
	}
	return beasts
}
