package main

import (
	"fmt"
	"time"

	"jethook/pkg/endpoint"
)

// when is a time given as a flag: RFC 3339, or a duration that means that long
// ago.
type when struct{ time.Time }

// UnmarshalText reads 2026-01-02T15:04:05Z, 7d or 2h30m.
func (w *when) UnmarshalText(text []byte) error {
	if ago, err := endpoint.ParseDuration(string(text)); err == nil {
		w.Time = time.Now().Add(-time.Duration(ago))
		return nil
	}
	t, err := time.Parse(time.RFC3339, string(text))
	if err != nil {
		return fmt.Errorf("%q is no time: write it as 2026-01-02T15:04:05Z, or how long ago it was, such as 7d or 2h30m", text)
	}
	w.Time = t
	return nil
}
