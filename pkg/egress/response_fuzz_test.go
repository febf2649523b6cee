package egress

import (
	"bytes"
	"context"
	"errors"
	"io"
	"net"
	"net/http"
	"runtime/metrics"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"golang.org/x/net/http2"
)

// Whatever a receiver answers, Do returns within its deadline, with what it may
// return, and without having taken much memory. The receiver says the same any
// number of times, then hangs up or is silent; time is virtual.
func FuzzResponse(f *testing.F) {
	for _, seed := range responses() {
		for _, hangUp := range []bool{true, false} {
			f.Add([]byte(seed), uint8(1), hangUp, false)
			f.Add([]byte(seed), uint8(200), hangUp, false)
		}
	}
	for _, seed := range frames(f) {
		for _, hangUp := range []bool{true, false} {
			f.Add(seed, uint8(1), hangUp, true)
			f.Add(seed, uint8(200), hangUp, true)
		}
	}
	f.Fuzz(func(t *testing.T, answer []byte, times uint8, hangUp, overHTTP2 bool) {
		if len(answer) > 64<<10 {
			t.Skip("what comes of size, the zoo shows")
		}
		before := allocated()
		synctest.Test(t, func(t *testing.T) { exchangeInMemory(t, answer, times, hangUp, overHTTP2) })
		if took := allocated() - before; took > 16<<20 {
			t.Errorf("%d KiB were allocated for an answer of %d bytes", took>>10, len(answer)*int(times))
		}
	})
}

func exchangeInMemory(t *testing.T, answer []byte, times uint8, hangUp, overHTTP2 bool) {
	const deadline = 15 * time.Second
	c := New(Options{AllowHTTP: true})
	side := &farSide{answer: answer, times: int(times), hangUp: hangUp}
	c.transport.DialContext = side.dial
	if overHTTP2 {
		c.transport.Protocols = new(http.Protocols)
		c.transport.Protocols.SetUnencryptedHTTP2(true)
	}
	defer side.wait()
	defer c.Close()
	ctx, cancel := context.WithTimeout(t.Context(), deadline)
	defer cancel()
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, "http://host.example.com/in?token=canary", strings.NewReader("{}"))
	if err != nil {
		t.Fatal(err)
	}
	start := time.Now()
	res, err := c.Do(req)
	if took := time.Since(start); took > deadline {
		t.Errorf("took %v with a deadline of %v", took, deadline)
	}
	if len(res.Body) > MaxBody || err == nil && (res.Status < 100 || res.Status > 999) {
		t.Errorf("status %d with %d bytes of body", res.Status, len(res.Body))
	}
	if err == nil {
		return
	}
	e, ok := errors.AsType[*Error](err)
	if !ok || e.Err == nil || e.Status != res.Status || len(e.Error()) > 200 {
		t.Fatalf("error %#v: %v", err, err)
	}
	// No receiver may talk us into giving its delivery up at once, or into
	// blaming somebody else.
	if e.Failure != Timeout && e.Failure != Closed && e.Failure != Protocol {
		t.Errorf("failure %q (%v; %v)", e.Failure, err, e.Err)
	}
}

// farSide is a receiver in memory.
type farSide struct {
	answer []byte
	times  int
	hangUp bool
	mu     sync.Mutex
	conns  []net.Conn
	all    sync.WaitGroup
}

func (s *farSide) dial(ctx context.Context, _, _ string) (net.Conn, error) {
	if err := countDial(ctx); err != nil {
		return nil, err
	}
	near, far := net.Pipe()
	s.mu.Lock()
	s.conns = append(s.conns, near, far)
	s.mu.Unlock()
	s.all.Go(func() { _, _ = io.Copy(io.Discard, far) })
	s.all.Go(func() {
		for range s.times {
			if _, err := far.Write(s.answer); err != nil {
				return
			}
		}
		if s.hangUp {
			_ = far.Close()
		}
	})
	return metered(near, nil)
}

// wait ends every connection, so that nothing of this exchange outlives it.
func (s *farSide) wait() {
	s.mu.Lock()
	for _, c := range s.conns {
		_ = c.Close()
	}
	s.mu.Unlock()
	s.all.Wait()
}

func allocated() uint64 {
	sample := []metrics.Sample{{Name: "/gc/heap/allocs:bytes"}}
	metrics.Read(sample)
	return sample[0].Value.Uint64()
}

// responses are answers of HTTP/1, sound and otherwise.
func responses() []string {
	const ok = "HTTP/1.1 200 OK\r\n"
	return []string{
		ok + "Content-Length: 2\r\n\r\nok", ok + "\r\nok", ok + "Transfer-Encoding: chunked\r\n\r\n2\r\nok\r\n0\r\nX-A: b\r\n\r\n",
		"HTTP/1.1 204 No Content\r\n\r\n", "HTTP/1.1 101 Switching Protocols\r\nUpgrade: x\r\n\r\n", "HTTP/1.1 100 Continue\r\n\r\n",
		"HTTP/1.1 103 Early Hints\r\nLink: </a>\r\n\r\n" + ok + "Content-Length: 0\r\n\r\n", "HTTP/1.0 503 Oh\r\nRetry-After: 9\r\n\r\n",
		ok + "Content-Length: 1\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n", ok + "Content-Length: 9223372036854775807\r\n\r\nx",
		ok + "X-A: b\r\n c\r\nX-\x00: d\r\n\r\n", ok + "Content-Encoding: gzip\r\nConnection: close\r\n\r\n\x1f\x8b\x08", "SSH-2.0-x\r\n",
		`HTTP/1.1 net/http: invalid "x"` + "\r\n\r\n", "\x15\x03\x01\x00\x02\x02\x28", ok + "Trailer: X-A\r\nTransfer-Encoding: chunked\r\n\r\nffff;x=y\r\n",
	}
}

// frames are answers of HTTP/2.
func frames(f *testing.F) (list [][]byte) {
	for _, script := range []func(h *h2){
		func(h *h2) { _ = h.ok(); _ = h.WriteData(1, true, []byte("ok")) },
		func(h *h2) { _ = h.headers(":status", "103"); _ = h.ok() },
		func(h *h2) {
			_ = h.headers(":status", "200", "content-length", "9")
			_ = h.WriteData(1, true, []byte("ok"))
		},
		func(h *h2) { _ = h.WriteRSTStream(1, http2.ErrCodeRefusedStream) },
		func(h *h2) { _ = h.WriteGoAway(0, http2.ErrCodeNo, []byte("x")) },
		func(h *h2) { _ = h.WritePing(false, [8]byte{}); _ = h.WriteWindowUpdate(0, 1<<31-1) },
		func(h *h2) {
			_ = h.WriteHeaders(http2.HeadersFrameParam{StreamID: 1, BlockFragment: h.block(":status", "200")})
			_ = h.WriteContinuation(1, false, h.block("x-a", "b"))
		},
		func(h *h2) {
			_ = h.ok()
			_ = h.WriteDataPadded(1, false, []byte("x"), make([]byte, 9))
			_ = h.headers("x-trailer", "b")
		},
		func(h *h2) { _ = h.WriteRawFrame(http2.FrameData, 0xff, 1, []byte{9}) },
	} {
		var out bytes.Buffer
		h := newH2(&out, nil)
		h.stream = 1
		if err := h.WriteSettings(http2.Setting{ID: http2.SettingInitialWindowSize, Val: 1 << 16}); err != nil {
			f.Fatal(err)
		}
		script(h)
		list = append(list, bytes.Clone(out.Bytes()))
	}
	return list
}
