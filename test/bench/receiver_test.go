package main

import (
	"context"
	"encoding/json"
	"errors"
	"math/rand/v2"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"
)

// request asks a target as jethook would.
func request(t *testing.T, v *target, eventType string, serial int) (status int) {
	t.Helper()
	r := httptest.NewRequestWithContext(t.Context(), http.MethodPost, "/", strings.NewReader(string(payload(time.Now(), serial))))
	r.Header.Set("Webhook-Event-Type", eventType)
	w := httptest.NewRecorder()
	v.serve(w, r)
	return w.Code
}

func TestModes(t *testing.T) {
	v := &target{tally: tally{epoch: time.Now()}}
	for i, c := range []struct {
		mode, eventType string
		want            int
	}{{"ok", "fail.a", 200}, {"503", "a", 503}, {"1ms", "a", 200}, {"by-type", "fail.a", 500}, {"by-type", "ok.a", 200}} {
		m, err := parseMode(c.mode)
		if err != nil {
			t.Fatal(err)
		}
		v.set(m)
		if got := request(t, v, c.eventType, i); got != c.want {
			t.Errorf("%s to %s: got %d, want %d", c.mode, c.eventType, got, c.want)
		}
	}
	c := v.tally.counts()
	if c.Requests != 5 || c.Distinct != 3 || c.Answered[200] != 3 || c.Answered[503] != 1 || c.MostInFlight != 1 {
		t.Errorf("counted %+v", c)
	}
	if _, err := parseMode("later"); err == nil {
		t.Error("a mode that is none was accepted")
	}
}

func TestAnEventIsDeliveredOnce(t *testing.T) {
	v := &target{mode: mode{status: 503}, tally: tally{epoch: time.Now()}}
	for _, status := range []int{503, 200, 200} {
		v.set(mode{status: status})
		request(t, v, "a", 70)
	}
	if c := v.tally.counts(); c.Requests != 3 || c.Distinct != 1 {
		t.Errorf("counted %d of %d requests as an event delivered", c.Distinct, c.Requests)
	}
}

func TestMostInFlight(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		v := &target{tally: tally{epoch: time.Now()}, mode: mode{status: 200, delay: time.Second}}
		var all sync.WaitGroup
		for i := range 7 {
			all.Go(func() { request(t, v, "a", i) })
		}
		all.Wait()
		if c := v.tally.counts(); c.MostInFlight != 7 || c.Distinct != 7 || v.inFlight != 0 {
			t.Errorf("at most %d at a time, %d delivered, %d left", c.MostInFlight, c.Distinct, v.inFlight)
		}
	})
}

func TestABlackHoleAnswersNothing(t *testing.T) {
	v := &target{tally: tally{epoch: time.Now()}}
	ctx, cancel := context.WithCancel(t.Context())
	cancel() // the caller has given up
	defer func() {
		err, _ := recover().(error) // nil in the place of what is none
		if c := v.tally.counts(); !errors.Is(err, http.ErrAbortHandler) || c.Answered[0] != 1 || c.Distinct != 0 || v.inFlight != 0 {
			t.Errorf("counted %+v, %d left", c, v.inFlight)
		}
	}()
	v.serve(httptest.NewRecorder(), httptest.NewRequestWithContext(ctx, http.MethodPost, "/", strings.NewReader(string(payload(time.Now(), 0)))))
}

func TestSecondCountsWhatCameWithinOne(t *testing.T) {
	rng := rand.New(rand.NewPCG(1, 2))
	for range 50 {
		var s second
		var times []time.Duration
		at := time.Duration(0)
		for range 500 {
			at += time.Duration(rng.ExpFloat64() * float64(rng.IntN(20)*rng.IntN(50)) * float64(time.Millisecond))
			times = append(times, at)
			want := 0
			for _, earlier := range times {
				if earlier.Milliseconds() > at.Milliseconds()-int64(len(s.cells)) {
					want++
				}
			}
			if got := s.count(at); got != want {
				t.Fatalf("%d in the second before %s, there were %d", got, at, want)
			}
		}
	}
}

func TestQuantile(t *testing.T) {
	var v tally
	for i := 1; i <= 10_000; i++ {
		v.latency[cell(time.Duration(i)*10*time.Microsecond)]++
	}
	for share, want := range map[float64]time.Duration{.5: 50 * time.Millisecond, .99: 99 * time.Millisecond} {
		if got := v.quantile(share); got < want || got > want*102/100 {
			t.Errorf("quantile %v: %s, want %s", share, got, want)
		}
	}
}

func TestPayloadIsRead(t *testing.T) {
	for _, serial := range []int{0, 9, 1_234_567} {
		now := time.Now()
		data := payload(now, serial)
		if len(data) != body || !json.Valid(data) {
			t.Errorf("%d bytes, or no JSON: %s", len(data), data)
		}
		at, got, ok := published(data[:headSize])
		if !ok || got != serial || !at.Equal(now) {
			t.Errorf("read %s, %d, %t of %d", at, got, ok, serial)
		}
	}
}

func TestRecoveryBeginsWithTheFirstRequest(t *testing.T) {
	epoch := time.Now()
	c := counts{Epoch: epoch, Delivered: epoch.Add(5600 * time.Millisecond), Buckets: make([]int32, 60)}
	for i := 25; i < 57; i++ { // from 2.5 s on
		c.Buckets[i] = int32(i / 10)
	}
	if n := c.in(epoch.Add(2450*time.Millisecond), time.Second); n != 5*2+5*3 {
		t.Errorf("%d requests in the second from 2.5 s on", n)
	}
	got := c.recovery(epoch.Add(time.Second))
	if want := []float64{5*2 + 5*3, 5*3 + 5*4, 5*4 + 5*5}; len(got) != 3 || got[0] != want[0] || got[1] != want[1] || got[2] != want[2] {
		t.Errorf("recovery %v, want %v", got, want)
	}
}
