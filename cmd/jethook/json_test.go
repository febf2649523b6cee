package main

import (
	"encoding/json"
	"strings"
	"testing"
	"unicode"
)

// Whatever a text is made of, a terminal has nothing to act upon, and a program reads
// the text.
func TestJSONIsPrintableAndTheSame(t *testing.T) {
	var every strings.Builder
	for r := range unicode.MaxRune + 1 {
		if r < 0xd800 || r > 0xdfff { // halves of pairs are no text
			every.WriteRune(r)
		}
	}
	kept, err := json.Marshal(every.String()) // a document that comes as it was stored
	if err != nil {
		t.Fatal(err)
	}
	for name, value := range map[string]any{"a text": every.String(), "a document": json.RawMessage(kept)} {
		for _, indent := range []string{"", "  "} {
			var out strings.Builder
			if err := encodeIndented(&out, []any{value}, indent); err != nil {
				t.Fatal(err)
			}
			for _, r := range out.String() {
				if r != '\n' && !unicode.IsPrint(r) {
					t.Fatalf("%s: %U is printed", name, r)
				}
			}
			var read []string
			if err := json.Unmarshal([]byte(out.String()), &read); err != nil || len(read) != 1 || read[0] != every.String() {
				t.Errorf("%s: it is not the same, %v", name, err)
			}
			if lines := strings.Count(out.String(), "\n"); lines != 1+len(indent) {
				t.Errorf("%s: %d lines", name, lines)
			}
		}
	}
}
