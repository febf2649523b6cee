package egress

import (
	"sync"

	"golang.org/x/net/http2"
)

// bomb holds 48 MiB of headers that HPACK packs into a few KiB: the second
// mention of a field takes a byte.
var bomb = sync.OnceValue(func() (fields []string) {
	value := kib + kib + kib
	for range 16 << 10 {
		fields = append(fields, "x-bomb", value)
	}
	return fields
})

// http2Floods send frames without end, most of which belong to no response.
func http2Floods() []beast {
	list := []struct {
		name    string
		step    func(h *h2, f *http2.Framer) error
		failure Failure
	}{
		{"PING flood", func(_ *h2, f *http2.Framer) error { return f.WritePing(false, [8]byte{}) }, Protocol},
		{"PING answers flood", func(_ *h2, f *http2.Framer) error { return f.WritePing(true, [8]byte{}) }, Protocol},
		{"SETTINGS flood", func(_ *h2, f *http2.Framer) error { return f.WriteSettings() }, Protocol},
		{"SETTINGS answers flood", func(_ *h2, f *http2.Framer) error { return f.WriteSettingsAck() }, Protocol},
		{"GOAWAY flood", func(h *h2, f *http2.Framer) error { return f.WriteGoAway(h.stream, http2.ErrCodeNo, nil) }, Protocol},
		{"RST_STREAM flood", func(h *h2, f *http2.Framer) error { return f.WriteRSTStream(h.stream, http2.ErrCodeCancel) }, Closed},
		{"RST_STREAM flood on other streams", func(_ *h2, f *http2.Framer) error { return f.WriteRSTStream(999, http2.ErrCodeCancel) }, Protocol},
		{"WINDOW_UPDATE flood", func(_ *h2, f *http2.Framer) error { return f.WriteWindowUpdate(0, 1) }, Protocol},
		{"window that overflows", func(_ *h2, f *http2.Framer) error { return f.WriteWindowUpdate(0, 1<<31-1) }, Protocol},
		{"PRIORITY flood", func(h *h2, f *http2.Framer) error { return f.WritePriority(h.stream, http2.PriorityParam{}) }, Protocol},
		{"flood of unknown frames", func(_ *h2, f *http2.Framer) error { return f.WriteRawFrame(0xbe, 0, 0, nil) }, Protocol},
		{"flood of informational headers", func(h *h2, f *http2.Framer) error {
			return f.WriteHeaders(http2.HeadersFrameParam{StreamID: h.stream, BlockFragment: h.block(":status", "103"), EndHeaders: true})
		}, Protocol},
		{"flood of DATA for other streams", func(_ *h2, f *http2.Framer) error { return f.WriteData(999, false, []byte("x")) }, Protocol},
	}
	beasts := []beast{
		{"HTTP/2, endless CONTINUATION", overHTTP2(func(h *h2) {
			_ = h.WriteHeaders(http2.HeadersFrameParam{StreamID: h.stream, BlockFragment: h.block(":status", "200")})
			h.forever(func() error { return h.WriteContinuation(h.stream, false, h.block("x-flood", kib)) })
		}), Protocol, 0},
		{"HTTP/2, endless empty CONTINUATION", overHTTP2(func(h *h2) {
			_ = h.WriteHeaders(http2.HeadersFrameParam{StreamID: h.stream, BlockFragment: h.block(":status", "200")})
			h.raw(func(f *http2.Framer) error { return f.WriteContinuation(h.stream, false, nil) })
		}), Protocol, 0},
		{"HTTP/2, HPACK bomb", overHTTP2(func(h *h2) {
			_ = h.headers(append([]string{":status", "200"}, bomb()...)...)
			<-h.gone
		}), Protocol, 0},
		{"HTTP/2, flood of trailers", overHTTP2(func(h *h2) {
			_ = h.ok()
			_ = h.WriteHeaders(http2.HeadersFrameParam{StreamID: h.stream, BlockFragment: h.block(bomb()...), EndHeaders: true, EndStream: true})
			<-h.gone
		}), Protocol, 200},
		{"HTTP/2, endless DATA of one byte", overHTTP2(func(h *h2) {
			_ = h.ok()
			h.raw(func(f *http2.Framer) error { return f.WriteData(h.stream, false, []byte("x")) })
		}), "", 200},
		{"HTTP/2, endless empty DATA", overHTTP2(func(h *h2) {
			_ = h.ok()
			h.raw(func(f *http2.Framer) error { return f.WriteData(h.stream, false, nil) })
		}), Protocol, 200},
		{"HTTP/2, endless padding", overHTTP2(func(h *h2) {
			_ = h.ok()
			h.raw(func(f *http2.Framer) error { return f.WriteDataPadded(h.stream, false, nil, make([]byte, 255)) })
		}), Protocol, 200},
		{"HTTP/2, PING flood after the response", overHTTP2(func(h *h2) {
			_ = h.ok()
			_ = h.WriteData(h.stream, true, []byte("ok"))
			h.raw(func(f *http2.Framer) error { return f.WritePing(false, [8]byte{}) })
		}), "", 200},
	}
	for _, l := range list {
		beasts = append(beasts, beast{"HTTP/2, " + l.name, overHTTP2(func(h *h2) {
			h.raw(func(f *http2.Framer) error { return l.step(h, f) })
		}), l.failure, 0})
	}
	return beasts
}
