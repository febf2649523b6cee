package nearest

import (
	"strings"
	"testing"
)

var fields = []string{
	"tenant", "id", "url", "events", "description", "secrets", "signing", "timeout", "retry", "retry_on",
	"expire_after", "rate_limit", "max_in_flight", "headers", "lane", "ordered", "paused",
}

func TestOf(t *testing.T) {
	for _, c := range []struct{ name, want string }{
		{"tenant", "tenant"},
		{"tenent", "tenant"},
		{"retries", "retry"},
		{"event", "events"},
		{"header", "headers"},
		{"secret", "secrets"},
		{"expires_after", "expire_after"},
		{"max_inflight", "max_in_flight"},
		{"in_flight", "max_in_flight"},
		{"limit", "rate_limit"}, // too far by letters, and a part of it
		{"zzzzzz", ""},
		{"", ""},
		{"xyz", ""},                          // too short to be a part
		{strings.Repeat("tenant", 1000), ""}, // long names are not worth comparing
		{"description_", "description"},      // a letter too many at the end
		{"\xff\xfe", ""},
		{"retry_one", "retry_on"},                 // the nearer of two
		{"MAX_IN_FLIGHT", ""},                     // case counts
		{"urls", "url"}, {"ur", "url"}, {"u", ""}, // short ones
	} {
		if got := Of(c.name, fields); got != c.want {
			t.Errorf("Of(%q) = %q, want %q", c.name, got, c.want)
		}
	}
	if got := Of("tenant", nil); got != "" {
		t.Errorf("Of with nothing known = %q", got)
	}
}

// distance is compared with the definition, spelled out without a bound.
func TestDistance(t *testing.T) {
	words := append([]string{"", "a", "ab", "ba", "abc", "tenent", "max_inflight"}, fields...)
	for _, a := range words {
		for _, b := range words {
			for _, bound := range []int{1, 3, 100} {
				if got, want := distance(a, b, bound), min(levenshtein(a, b), bound); got != want {
					t.Errorf("distance(%q, %q, %d) = %d, want %d", a, b, bound, got, want)
				}
			}
		}
	}
}

func levenshtein(a, b string) int {
	table := make([][]int, len(a)+1)
	for i := range table {
		table[i] = make([]int, len(b)+1)
		for j := range table[i] {
			switch {
			case i == 0 || j == 0:
				table[i][j] = i + j
			case a[i-1] == b[j-1]:
				table[i][j] = table[i-1][j-1]
			default:
				table[i][j] = 1 + min(table[i-1][j-1], table[i-1][j], table[i][j-1])
			}
		}
	}
	return table[len(a)][len(b)]
}
