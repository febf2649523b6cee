package endpoint

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// A reference is resolved or refused, and neither a refusal nor what is wrong with
// the document that the secret gets into repeats what is in the file.
func FuzzReference(f *testing.F) {
	f.Add("Bearer", "secret")
	f.Add("X-Api-Key", "sec\x00ret")
	f.Add("a: b", "two\nlines")
	f.Add("X-Token", strings.Repeat("x", 10_000))
	f.Add("Authorization", "sealed:v1:00000000:AAAA")
	dir := f.TempDir()
	f.Fuzz(func(t *testing.T, header, content string) {
		const mark = "Zq7x"
		if strings.Contains(header, mark) {
			return
		}
		path := filepath.Join(dir, "secret")
		if err := os.WriteFile(path, []byte(mark+content+mark+"\n"), 0o600); err != nil {
			t.Fatal(err)
		}
		if got, err := ResolveReference("file:" + path); err != nil && strings.Contains(err.Error(), mark) || err == nil && got != mark+content+mark {
			t.Fatalf("resolved to %q, %v", got, err)
		}
		for _, field := range []string{
			fmt.Sprintf("secrets: ['file:%s']", path), fmt.Sprintf("auth: {bearer: 'file:%s'}", path),
			fmt.Sprintf("auth: {basic: {user: u, password: 'file:%s'}}", path), fmt.Sprintf("headers: {%q: 'file:%s'}", header, path),
			fmt.Sprintf("extra_signatures: [{header: %q, secret: 'file:%s'}]", header, path),
		} {
			text := "endpoints:\n- {tenant: acme, id: crm, url: 'https://example.com', events: ['>'], " + field + "}\n"
			if _, err := ParseFile("f", []byte(text), Rules{Resolve: ResolveReference}); err != nil && strings.Contains(err.Error(), mark) {
				t.Fatalf("%s: %v", field, err)
			}
		}
	})
}
