package webhook

import (
	"strings"
	"testing"
	"unicode"
	"unicode/utf8"
)

// Whatever a receiver answers becomes one short line that a terminal shows as it
// is: it travels in headers and is printed by commands.
func FuzzDescribe(f *testing.F) {
	f.Add(503, []byte("<html>\r\n\x1b[31mdown\x1b[0m \u202e\u200b"))
	f.Add(0, []byte("\xff\xfe"))
	f.Add(999, []byte(strings.Repeat("é", 1000)))
	f.Add(400, []byte{})
	f.Fuzz(func(t *testing.T, status int, body []byte) {
		text := describe(status, string(body))
		if len(text) > maxError+len("…") || !utf8.ValidString(text) {
			t.Fatalf("%d bytes: %q", len(text), text)
		}
		if i := strings.IndexFunc(text, func(r rune) bool { return !unicode.IsPrint(r) }); i >= 0 {
			t.Fatalf("unprintable at %d: %q", i, text)
		}
	})
}
