package main

import (
	"bytes"
	"strings"
	"testing"
)

// A long table is printed in blocks, of which no more than one is kept: in a pipe as
// one table, on a terminal with a header for each.
func TestLongTable(t *testing.T) {
	for _, terminal := range []bool{false, true} {
		var out bytes.Buffer
		a := &app{Out: &out, Terminal: terminal}
		l := a.longTable("First", "Second")
		const rows = 2*blockRows + 1
		for i := range rows {
			second := "short"
			if i == 0 {
				second = "as long as any"
			}
			if l.row(i, second); l.table.Length() > blockRows {
				t.Fatalf("%d rows are kept", l.table.Length())
			}
		}
		if n := l.end(); n != rows {
			t.Errorf("%d rows, want %d", n, rows)
		}
		lines := strings.Split(strings.TrimRight(out.String(), "\n"), "\n")
		headers, width := 0, len([]rune(lines[0]))
		for i, line := range lines {
			headers += strings.Count(line, "Second")
			if got := len([]rune(line)); got != width {
				t.Fatalf("terminal %t: line %d is %d wide, the first %d: %q", terminal, i, got, width, line)
			}
		}
		wantHeaders, wantLines := 1, rows+1
		if terminal {
			wantHeaders, wantLines = 3, rows+3*4
		}
		if headers != wantHeaders || len(lines) != wantLines {
			t.Errorf("terminal %t: %d headers and %d lines, want %d and %d", terminal, headers, len(lines), wantHeaders, wantLines)
		}
	}
	var out bytes.Buffer
	if n := (&app{Out: &out}).longTable("First").end(); n != 0 || out.Len() > 0 {
		t.Errorf("%d rows, and %q", n, out.String())
	}
}
