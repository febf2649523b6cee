package endpoint

import (
	"strings"
	"testing"

	"github.com/nats-io/nats-server/v2/server"
)

var validPatterns = []string{
	">", "*", "order", "order.created", "order.*", "*.paid", "a.*.c", "order.>", "*.*.>", "A-b_9", "a.b.c.d.e.f",
	strings.Repeat("a", 255),
}

var invalidPatterns = map[string]string{
	"":                       "must not be empty",
	".":                      "empty token",
	"a.":                     "empty token",
	".a":                     "empty token",
	"a..b":                   "empty token",
	"order*":                 "mixes a wildcard",
	"a.>b":                   "mixes a wildcard",
	"**":                     "mixes a wildcard",
	">.a":                    "before the end",
	"a.>.b":                  "before the end",
	"a b":                    "must be of",
	"a/b":                    "must be of",
	"é":                      "must be of",
	"a\x00":                  "must be of",
	"a@":                     "must be of",
	"a`":                     "must be of",
	strings.Repeat("a", 256): "at most 255",
}

func TestCheckPattern(t *testing.T) {
	for _, pattern := range validPatterns {
		if err := CheckPattern(pattern); err != nil {
			t.Errorf("CheckPattern(%q): %v", pattern, err)
		}
	}
	for pattern, want := range invalidPatterns {
		if err := CheckPattern(pattern); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("CheckPattern(%q) = %v, want an error with %q", pattern, err, want)
		}
	}
}

// Every byte, alone and within a token: what is accepted NATS accepts too.
func TestCheckPatternAcceptsNoMoreThanNATS(t *testing.T) {
	for c := range 256 {
		for _, pattern := range []string{string([]byte{byte(c)}), "a." + string([]byte{'x', byte(c)})} {
			if CheckPattern(pattern) == nil && !server.IsValidSubject("acme."+pattern) {
				t.Errorf("CheckPattern accepts %q, NATS does not", pattern)
			}
		}
	}
}

func TestParseName(t *testing.T) {
	tenant, id, err := ParseName("acme/crm")
	if err != nil || tenant != "acme" || id != "crm" {
		t.Errorf("ParseName(acme/crm) = %q, %q, %v", tenant, id, err)
	}
	for _, name := range []string{"", "acme", "acme/", "/crm", "acme/crm/x", "acme.crm", "Acme/crm"} {
		if _, _, err := ParseName(name); err == nil || !strings.Contains(err.Error(), "TENANT/ENDPOINT") {
			t.Errorf("ParseName(%q) = %v, want an error that shows the form", name, err)
		}
	}
}
