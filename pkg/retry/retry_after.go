package retry

import (
	"net/http"
	"strconv"
	"strings"
	"time"
)

// LongestRetryAfter is what a longer Retry-After is cut to. No policy waits as
// long, so the cut loses nothing; it keeps sums of durations from overflowing.
const LongestRetryAfter = 365 * 24 * time.Hour

// RetryAfter reads the value of a Retry-After header: seconds, or a time in
// any of HTTP's three date forms. A time is compared with the response's own
// Date header, so that a receiver whose clock is wrong is still understood,
// and with now where date is missing or unreadable. It returns false for what
// is neither and for a time that has passed: such a header says nothing.
//
//nolint:revive // the name is the header's, and not a way to say retry twice
func RetryAfter(value, date string, now time.Time) (time.Duration, bool) {
	value = strings.TrimSpace(value)
	if isDigits(value) {
		return delaySeconds(value), true
	}
	at, err := http.ParseTime(value)
	if err != nil {
		return 0, false
	}
	if sent, err := http.ParseTime(strings.TrimSpace(date)); err == nil {
		now = sent
	}
	wait := at.Sub(now)
	if wait < 0 {
		return 0, false
	}
	return min(wait, LongestRetryAfter), true
}

// delaySeconds converts a string of digits. The only error that it can meet is
// a number out of range, and such a number is cut like any other great one.
func delaySeconds(digits string) time.Duration {
	seconds, err := strconv.ParseUint(digits, 10, 63)
	if err != nil || seconds > uint64(LongestRetryAfter/time.Second) {
		return LongestRetryAfter
	}
	return time.Duration(seconds) * time.Second
}

// isDigits is stricter than strconv, which would let a sign through.
func isDigits(s string) bool {
	for i := range len(s) {
		if s[i] < '0' || s[i] > '9' {
			return false
		}
	}
	return s != ""
}
