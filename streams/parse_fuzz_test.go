package streams

import (
	"strings"
	"testing"
)

// No name makes a parser panic, and what one accepts is built again to the very
// same name.
func FuzzHeldAndOrdered(f *testing.F) {
	for _, s := range []string{"webhooks.held.acme.crm.new", "webhooks.held._replay.x.y", "webhooks.held._ordered.acme.crm.state",
		"ordered~acme~crm", "ordered~acme~crm~x", "ordered~acme~crm~7-0123abcd", "ordered~~", "ordered~", "....", ""} {
		f.Add(s)
	}
	n, err := NewNames("")
	if err != nil {
		f.Fatal(err)
	}
	f.Fuzz(func(t *testing.T, s string) {
		if tenant, endpoint, kind, err := n.ParseHeld(s); err == nil && n.Held(tenant, endpoint, kind) != s {
			t.Errorf("ParseHeld(%q) = %q, %q, %q", s, tenant, endpoint, kind)
		}
		if tenant, endpoint, ok := ParseOrdered(s); ok && OrderedOf(tenant, endpoint) != s && !strings.HasPrefix(s, OrderedOf(tenant, endpoint)+"~") {
			t.Errorf("ParseOrdered(%q) = %q, %q", s, tenant, endpoint)
		}
	})
}

// Whatever pattern and type: matching ends, and what is matched exactly matches
// itself.
func FuzzMatches(f *testing.F) {
	f.Add("order.*", "order.created")
	f.Add(">", "a.b.c")
	f.Add("*.>.*", "..")
	f.Add("", "")
	f.Fuzz(func(t *testing.T, pattern, eventType string) {
		matched := Matches(pattern, eventType)
		if CheckEventType(pattern) == nil && CheckEventType(eventType) == nil && matched != (pattern == eventType) {
			t.Errorf("Matches(%q, %q) = %v", pattern, eventType, matched)
		}
		if CheckEventType(eventType) == nil && !Matches(">", eventType) {
			t.Errorf("> does not match %q", eventType)
		}
	})
}
