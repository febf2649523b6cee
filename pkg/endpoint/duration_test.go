package endpoint

import (
	"math"
	"testing"
	"time"
)

func TestParseDuration(t *testing.T) {
	for text, want := range map[string]time.Duration{
		"0s": 0, "1ns": 1, "100ms": 100 * time.Millisecond, "15s": 15 * time.Second, "1.5s": 1500 * time.Millisecond,
		"4h": 4 * time.Hour, "2h30m": 150 * time.Minute, "7d": 7 * day, "0d": 0, "1d12h": 36 * time.Hour,
		"72h": 72 * time.Hour, "106751d": 106751 * day,
	} {
		got, err := ParseDuration(text)
		if err != nil || time.Duration(got) != want {
			t.Errorf("ParseDuration(%q) = %v, %v; want %v", text, got, err, want)
		}
	}
	for _, text := range []string{
		"", "15", "s", "d", "-1s", "+1s", "-7d", "+7d", "1d-1h", "1d+1h", "1.5d", "1h7d", "1d1d", "7 d", " 7d", "7days",
		"106752d", "106751d23h59m", "99999999999999999999d", "9999999h", "1d9223372036s", "NaNs", "１５s",
	} {
		if got, err := ParseDuration(text); err == nil {
			t.Errorf("ParseDuration(%q) = %v, want an error", text, got)
		}
	}
}

func TestDurationString(t *testing.T) {
	for want, d := range map[string]time.Duration{
		"0s": 0, "15s": 15 * time.Second, "1m30s": 90 * time.Second, "2m": 2 * time.Minute, "4h": 4 * time.Hour,
		"2h30m": 150 * time.Minute, "2h0m5s": 2*time.Hour + 5*time.Second, "72h": 72 * time.Hour, "7d": 7 * day,
		"30d": 30 * day, "169h": 169 * time.Hour, "250ms": 250 * time.Millisecond, "10m": 10 * time.Minute,
	} {
		if got := Duration(d).String(); got != want {
			t.Errorf("Duration(%v) prints as %q, want %q", d, got, want)
		}
	}
}

func FuzzDuration(f *testing.F) {
	for _, d := range []int64{0, 1, int64(time.Minute), int64(7 * day), math.MaxInt64} {
		f.Add(d)
	}
	f.Fuzz(func(t *testing.T, n int64) {
		if n < 0 {
			n = -(n + 1)
		}
		d := Duration(n)
		if back, err := ParseDuration(d.String()); err != nil || back != d {
			t.Fatalf("%d prints as %q and reads back as %d, %v", n, d, back, err)
		}
	})
}
