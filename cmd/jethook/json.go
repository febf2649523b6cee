package main

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"unicode"
	"unicode/utf16"
	"unicode/utf8"
)

// encode prints a value as JSON in one line.
func encode(w io.Writer, v any) error { return encodeIndented(w, v, "") }

// encodeIndented prints a value as JSON. What strangers write into events and answers is
// in it, and a terminal would act upon some of that: it is escaped, which leaves the JSON
// the same.
func encodeIndented(w io.Writer, v any, indent string) error {
	var text bytes.Buffer
	e := json.NewEncoder(&text)
	e.SetEscapeHTML(false)
	e.SetIndent("", indent)
	err := e.Encode(v)
	if err == nil {
		_, err = w.Write(escaped(text.Bytes()))
	}
	if err != nil {
		return fmt.Errorf("print: %w", err)
	}
	return nil
}

// escaped escapes what is not to be printed. In what json encodes that is in strings
// alone, and line ends are between them alone.
func escaped(text []byte) []byte {
	safe := make([]byte, 0, len(text))
	for _, r := range string(text) {
		switch {
		case r == '\n' || unicode.IsPrint(r):
			safe = utf8.AppendRune(safe, r)
		case r > 0xffff:
			high, low := utf16.EncodeRune(r)
			safe = fmt.Appendf(safe, `\u%04x\u%04x`, high, low)
		default:
			safe = fmt.Appendf(safe, `\u%04x`, r)
		}
	}
	return safe
}
