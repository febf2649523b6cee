package egress

import (
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

var update = flag.Bool("update", false, "write the README's table of the zoo anew")

const (
	readme   = "../../README.md"
	zooBegin = "<!-- the zoo, written by `go test ./pkg/egress -run README -update` -->\n"
	zooEnd   = "<!-- the end of the zoo -->\n"
)

// guests are cases that have tests of their own, because no single exchange with a
// script shows them.
var guests = []struct{ name, outcome, proof string }{
	{"a redirect, 301 to 308, to anywhere", "an answer, never followed", "TestRedirectsAreAnswersNotOrders"},
	{"a gzip bomb, asked for or not", "an answer, its body as it came", "TestNothingIsDecompressed"},
	{"a body longer than 64 KiB", "an answer, its body cut", "TestLongBodiesAreCut"},
	{"a flood after the response", "an answer, the connection closed", "TestFloodAfterTheResponseEnds"},
	{"a certificate of an unknown authority, TLS 1.1", "`tls`", "TestTLSFailures"},
	{"an address that is not public, in any spelling", "`blocked_address`", "TestEveryRowAtTheDial"},
	{"a name with a private address beside a public one", "the public one is connected to", "TestBlockedOnlyIfEveryAddressIs"},
	{"a name that was public a moment before", "`blocked_address`", "TestRebindingNameIsJudgedOnEachConnect"},
	{"a client certificate's endpoint at a private address", "`blocked_address`", "TestIdentityOpensNothing"},
	{"a plain http:// address, unless allowed", "`invalid_request`", "TestPlainHTTPIsRefusedUnlessAllowed"},
	{"an egress proxy that misbehaves in 14 ways", "`connect`", "TestHostileProxies"},
}

// The README tells of every case in the zoo how it ends.
func TestREADMEHasTheZoo(t *testing.T) {
	data, err := os.ReadFile(readme)
	if err != nil {
		t.Fatal(err)
	}
	before, rest, begun := strings.Cut(string(data), zooBegin)
	was, after, ended := strings.Cut(rest, zooEnd)
	if !begun || !ended {
		t.Fatal("the README has no place for the zoo")
	}
	is := zooTable()
	if *update {
		if err := os.WriteFile(readme, []byte(before+zooBegin+is+zooEnd+after), 0o644); err != nil { //nolint:gosec // a README is for all to read
			t.Fatal(err)
		}
		return
	}
	if was != is {
		t.Errorf("the README's table is not that of the zoo: run go test ./pkg/egress -run README -update\n%s", firstLine(was, is))
	}
}

// Each guest's test is there under that name.
func TestGuestsAreProven(t *testing.T) {
	files, err := filepath.Glob("*_test.go")
	if err != nil {
		t.Fatal(err)
	}
	var all strings.Builder
	for _, file := range files {
		text, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		all.Write(text)
	}
	for _, g := range guests {
		if !strings.Contains(all.String(), "\nfunc "+g.proof+"(t *testing.T)") {
			t.Errorf("%s: there is no %s", g.name, g.proof)
		}
	}
}

// zooTable writes the table, folded.
func zooTable() string {
	rows, total := &strings.Builder{}, len(guests)
	for _, h := range zoo() {
		for _, b := range h.beasts {
			fmt.Fprintf(rows, "| %s | %s | %s |\n", h.name, b.name, b.outcome())
			total++
		}
	}
	for _, g := range guests {
		fmt.Fprintf(rows, "| others | %s | %s |\n", g.name, g.outcome)
	}
	return fmt.Sprintf("<details>\n<summary>All %d of them, and how an exchange with each ends</summary>\n\n| part | receiver | outcome |\n|---|---|---|\n%s\n</details>\n", total, rows)
}

// outcome is the failure, and the status that arrived before it, or the answer.
func (b beast) outcome() string {
	switch {
	case b.failure == "":
		return fmt.Sprintf("an answer, %d", b.status)
	case b.status != 0:
		return fmt.Sprintf("`%s`, after status %d", b.failure, b.status)
	}
	return fmt.Sprintf("`%s`", b.failure)
}

// firstLine is the first in which two texts differ.
func firstLine(was, is string) string {
	w, i := strings.Split(was, "\n"), strings.Split(is, "\n")
	for n := range min(len(w), len(i)) {
		if w[n] != i[n] {
			return "was " + w[n] + "\nis  " + i[n]
		}
	}
	return "one has more lines"
}
