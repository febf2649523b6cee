package egress

import (
	"context"
	"errors"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
)

// zeros is a connection that always has more to read.
type zeros struct{ net.Conn }

func (zeros) Read(p []byte) (int, error) { return len(p), nil }

// readable says how much can be read before the meter breaks.
func readable(m *meter) (total int) {
	p := make([]byte, 1<<10)
	for {
		n, err := m.Read(p)
		if err != nil {
			return total
		}
		total += n
	}
}

func TestAllowancesDoNotAddUp(t *testing.T) {
	for _, tt := range []struct {
		name string
		use  func(m *meter)
		want int
	}{
		{"new", func(*meter) {}, spare},
		{"one exchange", func(m *meter) { m.begin() }, spare + allowance},
		{"ten at once", func(m *meter) {
			for range 10 {
				m.begin()
			}
		}, spare + 10*allowance},
		{"after a thousand", func(m *meter) {
			for range 1000 {
				m.begin()
				m.end()
			}
		}, spare},
		{"one of two ended", func(m *meter) { m.begin(); m.begin(); m.end() }, spare + allowance},
	} {
		m := &meter{Conn: zeros{}, left: spare}
		tt.use(m)
		if got := readable(m); got != tt.want {
			t.Errorf("%s: %d bytes can be read, want %d", tt.name, got, tt.want)
		}
		if _, err := m.Read(make([]byte, 1)); !errors.Is(err, errFlood) {
			t.Errorf("%s: broken, it says %v", tt.name, err)
		}
	}
}

// As large as a response may be, over and over and many at once on one
// connection: the meter is not in the way.
func TestMeterSparesTheLargestResponses(t *testing.T) {
	large := strings.Repeat("x", MaxBody)
	srv := httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		for i := range 15 {
			w.Header().Add("X-Large", large[:4000+i])
		}
		_, _ = io.WriteString(w, large)
		if r.URL.Path == "/more" {
			_, _ = io.WriteString(w, large)
		}
	}))
	srv.EnableHTTP2 = true
	srv.Config.ErrorLog = silent
	srv.StartTLS()
	defer srv.Close()
	c := newTestClient(t, Options{Allow: loopback, RootCAs: roots(srv)})
	// Sooner, each request would dial for itself.
	if _, err := c.Do(post(t, srv.URL, "{}", leisure)); err != nil {
		t.Fatal(err)
	}
	var dials atomic.Int32
	c.dialer.passed = func(string, string) error { dials.Add(1); return nil }
	for _, path := range []string{"/", "/more"} {
		var all sync.WaitGroup
		for range 64 {
			all.Go(func() {
				for range 4 {
					res, err := c.Do(post(t, srv.URL+path, "{}", leisure))
					if err != nil || len(res.Body) != MaxBody || res.Truncated != (path == "/more") {
						t.Errorf("%s: %d bytes, %v (%v)", path, len(res.Body), err, cause(err))
					}
				}
			})
		}
		all.Wait()
	}
	if dials.Load() != 0 {
		t.Errorf("%d more connections; the first was broken", dials.Load())
	}
}

// What was on its way as exchanges ended does not break the connection, as long as
// it keeps to the windows.
func TestMeterSparesWhatWasOnItsWay(t *testing.T) {
	const exchanges = window/(2*MaxBody) + 1 // whose own windows hold more than the connection's
	began, ended, outlived := make(chan struct{}), make(chan struct{}), make(chan bool, 1)
	addr := serve(t, overHTTP2(func(h *h2) {
		left := h.window.Load()
		if left != window {
			t.Errorf("the window is %d, want %d", left, window)
		}
		streams := []uint32{h.stream}
		for began <- struct{}{}; len(streams) < exchanges; began <- struct{}{} {
			streams = append(streams, <-h.more)
		}
		<-ended
		for _, stream := range streams {
			rest := min(left, 2*MaxBody)
			left -= rest
			for ; rest > 0; rest -= int64(len(kib)) {
				_ = h.WriteData(stream, false, []byte(kib)[:min(rest, int64(len(kib)))]) // a client that is gone shows below
			}
		}
		h.arrived()
		select {
		case <-h.gone:
			outlived <- false
		default:
			outlived <- true
		}
	}))
	c := newTestClient(t, Options{Allow: loopback, RootCAs: zooRoots()})
	ctx, cancel := context.WithCancel(t.Context())
	var all sync.WaitGroup
	for range exchanges {
		req := post(t, "https://"+addr, "{}", leisure).WithContext(ctx)
		all.Go(func() { _, _ = c.Do(req) })
		<-began
	}
	cancel()
	all.Wait()
	close(ended)
	if !<-outlived {
		t.Error("the connection is broken")
	}
}

// A flood that goes on after the response ends with its connection, without
// anybody asking.
func TestFloodAfterTheResponseEnds(t *testing.T) {
	ended := make(chan struct{})
	addr := serve(t, func(ctx context.Context, conn net.Conn) {
		defer close(ended)
		for _, b := range http2Floods() {
			if b.name == "HTTP/2, PING flood after the response" {
				b.handle(ctx, conn)
			}
		}
	})
	c := newTestClient(t, Options{Allow: loopback, RootCAs: zooRoots()})
	if res, err := c.Do(post(t, "https://"+addr, "{}", leisure)); err != nil || string(res.Body) != "ok" {
		t.Fatalf("%q, %v", res.Body, err)
	}
	<-ended
}

// A receiver that closes each HTTP/2 connection at once does not get ever more of
// them.
func TestDialsAreCounted(t *testing.T) {
	var conns atomic.Int32
	goaway := overHTTP2(func(h *h2) { _ = h.WriteGoAway(0, 0, nil); <-h.gone })
	addr := serve(t, func(ctx context.Context, conn net.Conn) { conns.Add(1); goaway(ctx, conn) })
	c := newTestClient(t, Options{Allow: loopback, RootCAs: zooRoots()})
	_, err := c.Do(post(t, "https://"+addr, "{}", leisure))
	if Classify(err) != Closed || conns.Load() > maxDials {
		t.Errorf("%v (%v) after %d connections, want %s after at most %d", err, cause(err), conns.Load(), Closed, maxDials)
	}
}
