package main

import (
	"strings"
	"testing"
	"time"
	"unicode"
	"unicode/utf8"

	"jethook/pkg/receiver"
)

var shownAt = time.Date(2026, 3, 4, 15, 4, 5, 678_000_000, time.Local)

func TestRequestLine(t *testing.T) {
	tests := map[string]struct {
		req  receiver.Request
		want string
	}{
		"all there is": {
			receiver.Request{
				Status: 200, EventType: "order.created", EventID: "evt_1", Attempt: 2, Replay: true, Duplicate: true,
				Verified: receiver.Yes, Body: []byte(`{"a": [1, 2]}`),
			},
			`15:04:05.678 200 ✓ order.created  evt_1  attempt 2  replay  duplicate  13 B  {"a":[1,2]}`,
		},
		"nothing but a status": {
			receiver.Request{Status: 503, Verified: receiver.Unchecked},
			`15:04:05.678 503 · -  -  0 B  `,
		},
		"a bad signature": {
			receiver.Request{Status: 401, Verified: receiver.No, VerifyError: "too old", EventID: "evt_1", Body: []byte("no JSON")},
			`15:04:05.678 401 ✗ -  evt_1  too old  7 B  no JSON`,
		},
		"no answer": {
			receiver.Request{EventID: "evt_1", Body: make([]byte, 1536)},
			`15:04:05.678 --- · -  evt_1  1.5 KiB  ` + strings.Repeat(`\x00`, bodyRunes/4) + "…",
		},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			tt.req.At = shownAt
			if got := (requestLines{}).format(tt.req); got != tt.want {
				t.Errorf("line\n%s\nwant\n%s", got, tt.want)
			}
		})
	}
}

func TestRequestLineFitsTheTerminal(t *testing.T) {
	req := receiver.Request{
		At: shownAt, Status: 200, EventType: "order.created", EventID: "evt_1", Attempt: 1,
		Body: []byte(strings.Repeat("é", 1000)),
	}
	for width := 85; width <= 250; width++ {
		line := (requestLines{width: width}).format(req)
		if got := utf8.RuneCountInString(line); got != width {
			t.Fatalf("line of %d columns on a terminal of %d: %s", got, width, line)
		}
	}
	narrow := (requestLines{width: 10}).format(req)
	if !strings.HasSuffix(narrow, strings.Repeat("é", bodyRunesLeast)+"…") {
		t.Errorf("a narrow terminal shows no body: %s", narrow)
	}
}

func TestColoursOnATerminalOnly(t *testing.T) {
	for _, verified := range []receiver.Verified{receiver.Yes, receiver.No, receiver.Unchecked} {
		for _, status := range []int{0, 200, 401, 503} {
			req := receiver.Request{At: shownAt, Status: status, Verified: verified}
			plain, coloured := (requestLines{}).format(req), (requestLines{colours: true}).format(req)
			if strings.ContainsRune(plain, '\x1b') || !strings.Contains(coloured, "\x1b[") {
				t.Errorf("plain %q, coloured %q", plain, coloured)
			}
		}
	}
}

// FuzzPrintable holds that nothing of a payload reaches the terminal's control,
// and that a text is cut where it was to be cut.
func FuzzPrintable(f *testing.F) {
	for _, seed := range []string{
		"", "plain", "\x1b[2J\x07", "a\nb\r\tc", "\xff\xc3", "\u202etxt.exe", "\u009b31m", "é世界", `{"a": "\u001b"}`,
	} {
		f.Add(seed, 8)
	}
	f.Fuzz(func(t *testing.T, text string, limit int) {
		limit = max(0, min(limit, 1000))
		got := preview([]byte(text), limit)
		if !utf8.ValidString(got) || strings.ContainsFunc(got, func(r rune) bool { return !unicode.IsPrint(r) }) {
			t.Errorf("%q is printed as %q", text, got)
		}
		if n := utf8.RuneCountInString(strings.TrimSuffix(got, "…")); n > limit {
			t.Errorf("%d runes of %q, limit %d", n, text, limit)
		}
		if all := printable(text, 12*len(text)); all == text && utf8.RuneCountInString(text) <= limit {
			if short := printable(text, limit); short != text {
				t.Errorf("%q, which fits and needs no escape, is printed as %q", text, short)
			}
		}
	})
}

func TestByteSize(t *testing.T) {
	for n, want := range map[int]string{
		0: "0 B", 1023: "1023 B", 1024: "1.0 KiB", 1536: "1.5 KiB", 1 << 20: "1.0 MiB", 32 << 20: "32.0 MiB",
	} {
		if got := byteSize(n); got != want {
			t.Errorf("%d bytes are %q, want %q", n, got, want)
		}
	}
}
