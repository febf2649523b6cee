package main

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"slices"
	"strconv"
	"sync"
	"sync/atomic"
	"time"
)

// counts is what the receiver has seen since it was last reset.
type counts struct {
	Requests int64         `json:"requests"`
	Took     time.Duration `json:"took"` // from the first request to the last
	P50      time.Duration `json:"p50"`  // from publishing to receiving
	P99      time.Duration `json:"p99"`
}

// receive is the minimal receiver: net/http's server, the body read to its end,
// 200. With ?latency it also reads the time of publishing from the body, and with
// ?reject it answers 400.
func receive(ctx context.Context) error {
	var requests, first, last atomic.Int64
	var mu sync.Mutex
	var latencies []time.Duration
	mux := http.NewServeMux()
	mux.HandleFunc("POST /", func(w http.ResponseWriter, r *http.Request) {
		now := time.Now()
		if r.URL.RawQuery == "latency" {
			data, err := io.ReadAll(r.Body)
			at, parseErr := published(data)
			if err == nil && parseErr == nil {
				mu.Lock()
				latencies = append(latencies, now.Sub(at))
				mu.Unlock()
			}
		} else {
			_, _ = io.Copy(io.Discard, r.Body) // the count is of requests
		}
		if r.URL.RawQuery == "reject" {
			w.WriteHeader(http.StatusBadRequest)
		}
		first.CompareAndSwap(0, now.UnixNano())
		last.Store(now.UnixNano())
		requests.Add(1)
	})
	mux.HandleFunc("GET /counts", func(w http.ResponseWriter, _ *http.Request) {
		mu.Lock()
		defer mu.Unlock()
		slices.Sort(latencies)
		c := counts{Requests: requests.Load(), Took: time.Duration(last.Load() - first.Load())}
		if n := len(latencies); n > 0 {
			c.P50, c.P99 = latencies[n/2], latencies[n*99/100]
		}
		_ = json.NewEncoder(w).Encode(c) // the asker notices
	})
	mux.HandleFunc("GET /reset", func(http.ResponseWriter, *http.Request) {
		mu.Lock()
		defer mu.Unlock()
		latencies = nil
		requests.Store(0)
		first.Store(0)
		last.Store(0)
	})
	var config net.ListenConfig
	l, err := config.Listen(ctx, "tcp", "127.0.0.1:0")
	if err != nil {
		return err
	}
	fmt.Println("http://" + l.Addr().String())
	server := &http.Server{Handler: mux, ReadHeaderTimeout: time.Minute}
	context.AfterFunc(ctx, func() { _ = server.Close() })
	_ = server.Serve(l) // it ends with ctx
	return nil
}

// payload returns a JSON body of the benchmark's size that says when it was
// published.
func payload(at time.Time) []byte {
	data := fmt.Appendf(nil, `{"at":%019d,"fill":"`, at.UnixNano())
	for len(data) < body-2 {
		data = append(data, 'x')
	}
	return append(data, `"}`...)
}

func published(data []byte) (time.Time, error) {
	const from, to = len(`{"at":`), len(`{"at":`) + 19
	if len(data) < to {
		return time.Time{}, fmt.Errorf("%d bytes are no payload", len(data))
	}
	nanos, err := strconv.ParseInt(string(data[from:to]), 10, 64)
	if err != nil {
		return time.Time{}, fmt.Errorf("payload: %w", err)
	}
	return time.Unix(0, nanos), nil
}
