package egress

import (
	"bufio"
	"context"
	"io"
	"net"
	"net/http"
	"runtime"
	"strings"
	"testing"
	"time"
)

// BenchmarkDo and BenchmarkNetHTTP post 512 bytes over 64 connections to one
// minimal receiver: the second is the yardstick, the bare transport.
func BenchmarkDo(b *testing.B) {
	c := newTestClient(b, Options{Allow: loopback})
	benchmark(b, func(req *http.Request) error {
		_, err := c.Do(req)
		return err
	})
}

func BenchmarkNetHTTP(b *testing.B) {
	transport := &http.Transport{MaxIdleConnsPerHost: 1024, DisableCompression: true}
	defer transport.CloseIdleConnections()
	benchmark(b, func(req *http.Request) error {
		res, err := transport.RoundTrip(req)
		if err != nil {
			return err
		}
		defer func() { _ = res.Body.Close() }() // drained below
		_, err = io.Copy(io.Discard, res.Body)
		return err
	})
}

func benchmark(b *testing.B, do func(*http.Request) error) {
	target := "http://" + serve(b, minimalReceiver) + "/in"
	body := strings.Repeat("x", 512)
	b.SetParallelism(max(64/runtime.GOMAXPROCS(0), 1))
	b.ReportAllocs()
	b.ResetTimer()
	b.RunParallel(func(pb *testing.PB) {
		for pb.Next() {
			ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
			req, err := http.NewRequestWithContext(ctx, http.MethodPost, target, strings.NewReader(body))
			if err == nil {
				err = do(req)
			}
			cancel()
			if err != nil {
				b.Error(err)
				return
			}
		}
	})
}

// minimalReceiver reads requests with a Content-Length and answers each.
func minimalReceiver(_ context.Context, conn net.Conn) {
	r := bufio.NewReader(conn)
	answer := []byte("HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok")
	for {
		length := 0
		for {
			line, err := r.ReadSlice('\n')
			if err != nil {
				return
			}
			if len(line) <= 2 {
				break
			}
			if string(line[:min(len(line), 19)]) == "Content-Length: 512" {
				length = 512
			}
		}
		if _, err := r.Discard(length); err != nil {
			return
		}
		if _, err := conn.Write(answer); err != nil {
			return
		}
	}
}
