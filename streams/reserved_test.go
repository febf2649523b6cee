package streams

import "testing"

func TestNoWildcardStandsForJethooksOwnEvents(t *testing.T) {
	for _, c := range []struct {
		pattern, eventType string
		wants              bool
	}{
		{">", "order.created", true},
		{">", "jethook.endpoint.failing", false},
		{"*.>", "jethook.endpoint.failing", false},
		{"*.endpoint.failing", "jethook.endpoint.failing", false},
		{"*", "jethook", false},
		{">", "jethook", false},
		{"jethook", "jethook", true},
		{"jethook.>", "jethook.endpoint.failing", true},
		{"jethook.*.failing", "jethook.endpoint.failing", true},
		{"jethook.*", "jethook.endpoint.failing", false},
		{"jethook.>", "jethook", false},
		{">", "jethooks.endpoint", true},
		{"jethooks.>", "jethook.endpoint.failing", false},
		{"*.created", "order.created", true},
		{"order.*", "jethook.endpoint", false},
	} {
		if got := Wants(c.pattern, c.eventType); got != c.wants {
			t.Errorf("%s wants %s: %v, want %v", c.pattern, c.eventType, got, c.wants)
		}
	}
}
