package endpoint

import (
	"os"
	"path/filepath"
	"reflect"
	"slices"
	"strings"
	"syscall"
	"testing"

	"jethook/pkg/secret"
)

func writeFile(t *testing.T, name, text string) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), name)
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}

// Wherever a file takes a secret, it takes a reference, resolved when the file is
// read. Nothing else is looked up.
func TestReferencesAreResolved(t *testing.T) {
	id := testIdentity(t, 0)
	t.Setenv("REFERENCE_SECRET", testSecret)
	t.Setenv("REFERENCE_TOKEN", "CANARY-ENV")
	t.Setenv("REFERENCE_KEY", id.key)
	token := writeFile(t, "token", "CANARY-FILE\r\n")
	data := func(auth string) string {
		return `endpoints:
- tenant: acme
  id: crm
  url: https://example.com
  events: [a]
  description: env:REFERENCE_TOKEN
  secrets: ["env:REFERENCE_SECRET", {secret: ` + testSecret2 + `, expires_at: 2030-01-02T03:04:05Z}]
  extra_signatures: [{header: X-A, secret: "env:REFERENCE_TOKEN", over: "env:{body}"}]
  headers: {X-Token: "file:` + token + `", X-Env: env:REFERENCE_TOKEN}
  tls: {cert: "file:cert.pem", key: "env:REFERENCE_KEY"}
  auth: ` + auth + "\n"
	}
	for auth, want := range map[string]*Auth{
		`{bearer: "file:` + token + `"}`:                            {Bearer: "CANARY-FILE"},
		`{basic: {user: "env:U", password: "env:REFERENCE_TOKEN"}}`: nil,
		`{basic: {user: env, password: "env:REFERENCE_TOKEN"}}`:     {Basic: &BasicAuth{User: "env", Password: "CANARY-ENV"}},
		`{oauth2: {token_url: https://a.example.com, client_id: env:x, client_secret: "file:` + token + `"}}`: {
			OAuth2: &OAuth2{TokenURL: "https://a.example.com", ClientID: "env:x", ClientSecret: "CANARY-FILE"}},
	} {
		file, err := ParseFile("f", []byte(data(auth)), Rules{Resolve: ResolveReference})
		if want == nil { // a user's name is none, and has no colon
			if err == nil || !strings.Contains(err.Error(), "auth.basic.user: must not have a colon") {
				t.Errorf("%s: %v", auth, err)
			}
			continue
		}
		if err != nil {
			t.Errorf("%s: %v", auth, err)
			continue
		}
		d := file.Endpoints[0]
		if !reflect.DeepEqual(d.Auth, want) {
			t.Errorf("%s: another auth", auth)
		}
		if d.Secrets[0].Secret != testSecret || d.ExtraSignatures[0].Secret != "CANARY-ENV" || d.Headers["X-Token"] != "CANARY-FILE" || d.Headers["X-Env"] != "CANARY-ENV" || d.TLS.Key != secret.Secret(id.key) {
			t.Errorf("%s: a reference was not resolved", auth)
		}
		if d.Description != "env:REFERENCE_TOKEN" || d.TLS.Cert != "file:cert.pem" || d.ExtraSignatures[0].Over != "env:{body}" {
			t.Errorf("%s: resolved is what is no secret", auth)
		}
	}
}

// Errors name what is referred to, at its place, and nothing of what is in it.
func TestReferencesThatLeadNowhere(t *testing.T) {
	t.Setenv("REFERENCE_EMPTY", "")
	t.Setenv("REFERENCE_BAD", "CANARY")
	for _, own := range []string{"JETHOOK_MASTER_KEYS", "NATS_PASSWORD", "OTEL_EXPORTER_OTLP_HEADERS"} {
		t.Setenv(own, testSecret)
	}
	dir := t.TempDir()
	pipe := filepath.Join(dir, "pipe")
	if err := syscall.Mkfifo(pipe, 0o600); err != nil {
		t.Fatal(err)
	}
	for reference, wants := range map[string][]string{
		"env:REFERENCE_NONE":              {`the environment variable "REFERENCE_NONE", which is not set`},
		"env:REFERENCE_EMPTY":             {`"REFERENCE_EMPTY", which is not set`},
		"env:":                            {`the environment variable "", which is not set`},
		"env:JETHOOK_MASTER_KEYS":         {`"JETHOOK_MASTER_KEYS", which is jethook's own`},
		"env:NATS_PASSWORD":               {`"NATS_PASSWORD", which is jethook's own`},
		"env:OTEL_EXPORTER_OTLP_HEADERS":  {`"OTEL_EXPORTER_OTLP_HEADERS", which is jethook's own`},
		"env:REFERENCE_BAD":               {"a key must begin with whsec_"},
		"file:" + dir + "/none":           {`the file "` + dir + `/none", which cannot be read: no such file`},
		"file:" + dir:                     {"must be a regular file of at most 65536 bytes"},
		"file:" + pipe:                    {"must be a regular file"},
		"file:/dev/zero":                  {"must be a regular file"},
		"file:":                           {`the file "", which cannot be read`},
		"file:" + writeFile(t, "e", "\n"): {"which is empty"},
		"file:" + writeFile(t, "l", strings.Repeat("CANARY", 20_000)):  {"at most 65536 bytes"},
		"file:" + writeFile(t, "s", "sealed:v1:00000000:CANARY"):       {"must be the secret itself, not what it is sealed as"},
		"file:" + writeFile(t, "two", testSecret+"\n"+testSecret+"\n"): {"secrets[0]: "},
	} {
		_, err := ParseFile("f", []byte(valid+"  secrets: [\""+reference+"\"]\n"), Rules{Resolve: ResolveReference})
		if err == nil {
			t.Errorf("%s: no error", reference)
			continue
		}
		for _, want := range append(wants, "f:6:13: endpoints[0].secrets[0]: ") {
			if !strings.Contains(err.Error(), want) {
				t.Errorf("%s: %v, want %q", reference, err, want)
			}
		}
		if strings.Contains(err.Error(), "CANARY") || strings.Contains(err.Error(), testSecret[6:]) || strings.Count(err.Error(), dir) > 1 {
			t.Errorf("%s: the error tells too much: %v", reference, err)
		}
	}
}

// What a document of a file may hold is what it says: sealed text is nobody's to
// write there, referred to or not.
func TestAFileCannotHoldSealedText(t *testing.T) {
	d := withCredentials(t, testDocument(), "bearer")
	d, err := seal(ringOf(t, oldKey).Sealer(), d)
	if err != nil {
		t.Fatal(err)
	}
	_, err = ParseFile("f", []byte(`{"endpoints": [`+string(mustEncode(t, d))+"]}"), Rules{Resolve: ResolveReference})
	if n := strings.Count(err.Error(), "must be the secret itself"); n != 9 {
		t.Errorf("%d of 9 secrets are refused: %v", n, err)
	}
	if lines := strings.Split(err.Error(), "\n"); slices.ContainsFunc(lines, func(l string) bool { return strings.Contains(l, "sealed:v1:") }) {
		t.Errorf("got %v", err)
	}
}
