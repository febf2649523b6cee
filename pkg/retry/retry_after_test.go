package retry

import (
	"net/http"
	"strings"
	"testing"
	"time"
)

var noon = time.Date(2024, time.March, 5, 12, 0, 0, 0, time.UTC)

func TestRetryAfter(t *testing.T) {
	tests := map[string]struct {
		value, date string
		want        time.Duration
		ok          bool
	}{
		"seconds":                    {"120", "", 2 * time.Minute, true},
		"seconds, whatever the date": {"120", "Tue, 05 Mar 2024 11:00:00 GMT", 2 * time.Minute, true},
		"zero seconds":               {"0", "", 0, true},
		"leading zeros":              {"0007", "", 7 * time.Second, true},
		"white space":                {" \t30\r\n", "", 30 * time.Second, true},
		"a year":                     {"31536000", "", LongestRetryAfter, true},
		"more than a year":           {"31536001", "", LongestRetryAfter, true},
		"duration would overflow":    {"9223372037", "", LongestRetryAfter, true},
		"int64 would overflow":       {"9223372036854775808", "", LongestRetryAfter, true},
		"uint64 would overflow":      {strings.Repeat("9", 400), "", LongestRetryAfter, true},

		"preferred date":            {"Tue, 05 Mar 2024 12:01:30 GMT", "", 90 * time.Second, true},
		"date of RFC 850":           {"Tuesday, 05-Mar-24 12:01:30 GMT", "", 90 * time.Second, true},
		"date of asctime":           {"Tue Mar  5 12:01:30 2024", "", 90 * time.Second, true},
		"date in white space":       {"  Tue, 05 Mar 2024 12:01:30 GMT ", "", 90 * time.Second, true},
		"date that is now":          {"Tue, 05 Mar 2024 12:00:00 GMT", "", 0, true},
		"date that has passed":      {"Tue, 05 Mar 2024 11:59:59 GMT", "", 0, false},
		"date centuries away":       {"Fri, 31 Dec 9999 23:59:59 GMT", "", LongestRetryAfter, true},
		"date centuries ago":        {"Sat, 01 Jan 0000 00:00:00 GMT", "", 0, false},
		"receiver's clock behind":   {"Tue, 05 Mar 2024 10:01:00 GMT", "Tue, 05 Mar 2024 10:00:00 GMT", time.Minute, true},
		"receiver's clock ahead":    {"Tue, 05 Mar 2024 14:01:00 GMT", " Tue, 05 Mar 2024 14:00:00 GMT ", time.Minute, true},
		"passed by its own clock":   {"Tue, 05 Mar 2024 14:00:00 GMT", "Tue, 05 Mar 2024 14:01:00 GMT", 0, false},
		"own date in another form":  {"Tue, 05 Mar 2024 14:01:00 GMT", "Tue Mar  5 14:00:00 2024", time.Minute, true},
		"own date unreadable":       {"Tue, 05 Mar 2024 12:01:00 GMT", "yesterday", time.Minute, true},
		"own date is a mere number": {"Tue, 05 Mar 2024 12:01:00 GMT", "1709640000", time.Minute, true},

		"empty":           {"", "", 0, false},
		"only space":      {"  ", "", 0, false},
		"negative":        {"-1", "", 0, false},
		"with a sign":     {"+1", "", 0, false},
		"fraction":        {"1.5", "", 0, false},
		"hexadecimal":     {"0x10", "", 0, false},
		"with a unit":     {"10s", "", 0, false},
		"a list":          {"10, 20", "", 0, false},
		"other digits":    {"١٢", "", 0, false},
		"other time zone": {"Tue, 05 Mar 2024 12:01:30 CET", "", 0, false},
		"RFC 3339":        {"2024-03-05T12:01:30Z", "", 0, false},
		"words":           {"soon", "", 0, false},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			got, ok := RetryAfter(tt.value, tt.date, noon)
			if got != tt.want || ok != tt.ok {
				t.Errorf("RetryAfter(%q, %q) = %v, %v, want %v, %v", tt.value, tt.date, got, ok, tt.want, tt.ok)
			}
		})
	}
}

// TestRetryAfterOwnTimes reads back what net/http's server would write.
func TestRetryAfterOwnTimes(t *testing.T) {
	for wait := time.Duration(0); wait < 90*24*time.Hour; wait = wait*3 + time.Second {
		for _, form := range []string{http.TimeFormat, "Monday, 02-Jan-06 15:04:05 GMT", time.ANSIC} {
			value := noon.Add(wait).Format(form)
			if got, ok := RetryAfter(value, "", noon); !ok || got != wait {
				t.Errorf("RetryAfter(%q) = %v, %v, want %v", value, got, ok, wait)
			}
		}
	}
}

func FuzzRetryAfter(f *testing.F) {
	f.Add("120", "", int64(0))
	f.Add("-1", "Tue, 05 Mar 2024 14:00:00 GMT", int64(1709640000))
	f.Add("Tue, 05 Mar 2024 14:01:00 GMT", "Tue Mar  5 14:00:00 2024", int64(1709640000))
	f.Add("Tuesday, 05-Mar-24 12:01:30 GMT", "x", int64(-1<<62))
	f.Add("99999999999999999999", "", int64(1<<62))
	f.Fuzz(func(t *testing.T, value, date string, now int64) {
		got, ok := RetryAfter(value, date, time.Unix(now, 0))
		if got < 0 || got > LongestRetryAfter || (!ok && got != 0) {
			t.Errorf("RetryAfter(%q, %q) = %v, %v", value, date, got, ok)
		}
	})
}
