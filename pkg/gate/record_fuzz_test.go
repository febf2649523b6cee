package gate

import (
	"encoding/json"
	"testing"
	"time"
)

// Whatever lies in the bucket is an open gate that can be stored again: one that
// could not would never be probed, and never close.
func FuzzDecodeOpened(f *testing.F) {
	for _, s := range []string{
		`{"why":"5 failures in a row","since":"2026-01-02T03:04:05Z","next_probe":"2026-01-02T03:04:06Z","written":"2026-01-02T03:04:05Z"}`,
		`{"lease_ends":"9999-12-31T23:59:59Z","written":"0001-01-01T00:00:01Z"}`, `{"probes":-1}`, `{"next_probe":"9999-12-31T23:59:59-23:59"}`, `[]`, `null`, ``,
	} {
		f.Add([]byte(s))
	}
	now := time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)
	f.Fuzz(func(t *testing.T, data []byte) {
		o, err := decodeOpened(data, now, now)
		if err != nil && (o.Why == "" || o.NextProbe.After(now)) {
			t.Fatalf("a record that cannot be read waits: %+v", o)
		}
		if _, err := json.Marshal(record{Opened: o, Written: now}); err != nil {
			t.Fatalf("cannot be stored again: %v", err)
		}
		if wait := Interval(o.Probes, 0, func() float64 { return 0.5 }); wait <= 0 || wait > LongestInterval {
			t.Fatalf("after %d probes the next one is in %s", o.Probes, wait)
		}
	})
}
