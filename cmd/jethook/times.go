package main

import (
	"fmt"
	"time"

	"github.com/alecthomas/kong"

	"jethook/pkg/endpoint"
)

// when is a time given as a flag: RFC 3339, or a duration that means that long
// ago.
type when struct{ time.Time }

// Decode reads the flag, so that what is no value is told of as no time.
func (w *when) Decode(ctx *kong.DecodeContext) error {
	var text string
	if err := ctx.Scan.PopValueInto("time", &text); err != nil {
		return err //nolint:wrapcheck // it is shown with the flag's name
	}
	return w.UnmarshalText([]byte(text))
}

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

// span writes how long something takes or took as people say it: 45s, 12m,
// 3h12m, 2d4h.
func span(d time.Duration) string {
	const day = 24 * time.Hour
	switch d = max(d, 0); {
	case d < time.Minute:
		return fmt.Sprintf("%ds", d/time.Second)
	case d < time.Hour:
		return fmt.Sprintf("%dm", d/time.Minute)
	case d < 2*day:
		return fmt.Sprintf("%dh%dm", d/time.Hour, d%time.Hour/time.Minute)
	}
	return fmt.Sprintf("%dd%dh", d/day, d%day/time.Hour)
}
