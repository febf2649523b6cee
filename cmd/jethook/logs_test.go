package main

import (
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
)

// sources returns the text of all of the program's Go files, tests left out.
func sources(t *testing.T) string {
	t.Helper()
	var all strings.Builder
	for _, dir := range []string{"cmd", "config", "pkg", "streams"} {
		err := filepath.WalkDir(filepath.Join("..", "..", dir), func(path string, _ fs.DirEntry, err error) error {
			if err != nil || !strings.HasSuffix(path, ".go") || strings.HasSuffix(path, "_test.go") {
				return err
			}
			text, err := os.ReadFile(path)
			all.Write(text)
			return err
		})
		if err != nil {
			t.Fatal(err)
		}
	}
	return all.String()
}

// logChapter returns what the README says of logs.
func logChapter(t *testing.T) string {
	t.Helper()
	readme, err := os.ReadFile("../../README.md")
	if err != nil {
		t.Fatal(err)
	}
	_, after, found := strings.Cut(string(readme), "\n### Logs\n")
	chapter, _, ends := strings.Cut(after, "\n### ")
	if !found || !ends {
		t.Fatal("the README has no chapter on logs")
	}
	return chapter
}

// An alert on a message that nobody writes any more is silent.
func TestREADMECataloguesMessagesThatExist(t *testing.T) {
	all := sources(t)
	rows := regexp.MustCompile("(?m)^\\| `([^`]+)` \\| (warn|error) \\| .+ \\|$").FindAllStringSubmatch(logChapter(t), -1)
	if len(rows) < 15 {
		t.Fatalf("%d messages in the README's catalogue: has the table another form?", len(rows))
	}
	for _, row := range rows {
		if !strings.Contains(all, `"`+row[1]) {
			t.Errorf("no message begins with %q", row[1])
		}
	}
}

// A thing has one name in all lines, so that one search finds all of them.
func TestLogFieldsHaveOneName(t *testing.T) {
	fields := map[string]bool{}
	for _, name := range []string{
		// What the README names, and how zerolog calls it.
		"event_id", "tenant", "endpoint", "attempt", "outcome", "reason", "status", "duration", "error",
		// What only a few lines have.
		"answer", "attempts", "broken", "bucket", "by", "consumer", "endpoints", "errors", "events", "fault", "file", "floors", "from", "http", "key",
		"lane", "lines", "last_good_in_force", "log_level", "nats", "notes", "open", "part", "permission", "probes", "replica", "replicas", "result", "type",
		"revision", "seq", "server", "spans", "tries", "until", "version",
	} {
		fields[name] = true
	}
	for _, m := range regexp.MustCompile(`\.(?:Str|Strs|Stringer|Int|Int64|Uint64|Float64|Bool|Dur|Time|Interface|Any)\("(\w+)"`).FindAllStringSubmatch(sources(t), -1) {
		if !fields[m[1]] {
			t.Errorf("field %s: is there a name for this already? If not, add it here", m[1])
		}
	}
	chapter := logChapter(t)
	for _, name := range []string{"event_id", "tenant", "endpoint", "attempt", "outcome", "reason", "status", "duration"} {
		if !strings.Contains(chapter, "`"+name+"`") {
			t.Errorf("the README does not name the field %s", name)
		}
	}
}
