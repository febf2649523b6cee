package main

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"net/http"
	"strconv"
	"sync"
	"sync/atomic"
	"time"
)

// connections is how many requests the yardstick makes at a time.
const connections = 64

// yardstick posts bodies with net/http's client, without anything else, and
// prints the rate. Its arguments are the URL and how many.
func yardstick(ctx context.Context, args []string) error {
	url := args[0]
	n, err := strconv.ParseInt(args[1], 10, 64)
	if err != nil {
		return err
	}
	client := &http.Client{Transport: &http.Transport{MaxIdleConns: connections, MaxIdleConnsPerHost: connections}}
	data := payload(time.Now(), 0)
	var left atomic.Int64
	left.Store(n)
	var failed atomic.Pointer[error]
	var all sync.WaitGroup
	start := time.Now()
	for range connections {
		all.Go(func() {
			for left.Add(-1) >= 0 {
				if err := post(ctx, client, url, data); err != nil {
					failed.Store(&err)
					return
				}
			}
		})
	}
	all.Wait()
	if err := failed.Load(); err != nil {
		return *err
	}
	fmt.Println(float64(n) / time.Since(start).Seconds())
	return nil
}

func post(ctx context.Context, client *http.Client, url string, data []byte) error {
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, url, bytes.NewReader(data))
	if err != nil {
		return err
	}
	req.Header.Set("Content-Type", "application/json")
	res, err := client.Do(req)
	if err != nil {
		return err
	}
	defer res.Body.Close()
	_, err = io.Copy(io.Discard, res.Body)
	return err
}
