package main

import (
	"testing"
	"time"
)

func TestWhen(t *testing.T) {
	for text, ago := range map[string]time.Duration{
		"7d": 7 * 24 * time.Hour, "2h30m": 150 * time.Minute, "0s": 0, "1d12h": 36 * time.Hour,
	} {
		var w when
		before := time.Now()
		if err := w.UnmarshalText([]byte(text)); err != nil {
			t.Errorf("%q: %v", text, err)
		}
		if w.Before(before.Add(-ago)) || w.After(time.Now().Add(-ago)) {
			t.Errorf("%q: got %s", text, w)
		}
	}
	var w when
	if err := w.UnmarshalText([]byte("2026-01-02T03:04:05+01:00")); err != nil || !w.Equal(time.Date(2026, 1, 2, 2, 4, 5, 0, time.UTC)) {
		t.Errorf("got %s, %v", w, err)
	}
	for _, text := range []string{"", "yesterday", "-2h", "2026-01-02", "7", "2026-01-02 03:04:05"} {
		if err := new(when).UnmarshalText([]byte(text)); err == nil {
			t.Errorf("%q was taken", text)
		}
	}
}

func TestSpan(t *testing.T) {
	const day = 24 * time.Hour
	for d, want := range map[time.Duration]string{
		-time.Second: "0s", 0: "0s", 59*time.Second + 999*time.Millisecond: "59s", time.Minute: "1m", time.Hour - 1: "59m",
		time.Hour: "1h0m", 2*day - 1: "47h59m", 2 * day: "2d0h", 9*day + 13*time.Hour: "9d13h",
	} {
		if got := span(d); got != want {
			t.Errorf("%s: %q, want %q", d, got, want)
		}
	}
}
