package endpoint

import (
	"errors"
	"fmt"
	"math"
	"strconv"
	"strings"
	"time"
)

// Duration is a time.Duration that documents spell as people do: "15s",
// "2h30m", "7d". A day is 24 hours.
type Duration time.Duration

const day = 24 * time.Hour

var errDuration = errors.New(`must be a duration with a unit, such as 500ms, 15s, 2h30m or 7d`)

// ParseDuration reads a duration of days, hours, minutes, seconds and smaller
// units in descending order, such as "1d12h". It refuses negative durations
// and those that do not fit.
func ParseDuration(s string) (Duration, error) {
	var days int64
	rest := s
	if before, after, found := strings.Cut(s, "d"); found {
		n, err := strconv.ParseUint(before, 10, 63)
		if err != nil || n > uint64(math.MaxInt64/day) {
			return 0, errDuration
		}
		days, rest = int64(n), after
		if rest == "" {
			return Duration(time.Duration(days) * day), nil
		}
	}
	d, err := time.ParseDuration(rest)
	if err != nil || d < 0 || rest[0] == '-' || rest[0] == '+' || d > math.MaxInt64-time.Duration(days)*day {
		return 0, errDuration
	}
	return Duration(time.Duration(days)*day + d), nil
}

// String spells the duration without units that are zero, and in days where a
// whole week or more has no hours left over. ParseDuration reads it back.
func (d Duration) String() string {
	t := time.Duration(d)
	if t >= 7*day && t%day == 0 {
		return fmt.Sprintf("%dd", t/day)
	}
	s := t.String()
	if strings.HasSuffix(s, "m0s") {
		s = strings.TrimSuffix(s, "0s")
	}
	if strings.HasSuffix(s, "h0m") {
		s = strings.TrimSuffix(s, "0m")
	}
	return s
}

// MarshalText writes the duration as String does.
func (d Duration) MarshalText() ([]byte, error) { return []byte(d.String()), nil }

// UnmarshalText reads a duration as ParseDuration does.
func (d *Duration) UnmarshalText(text []byte) error {
	parsed, err := ParseDuration(string(text))
	if err != nil {
		return err
	}
	*d = parsed
	return nil
}
