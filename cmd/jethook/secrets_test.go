package main

import (
	"bytes"
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/rs/zerolog"

	"jethook/config"
	"jethook/pkg/endpoint"
	"jethook/pkg/natsconn"
	"jethook/pkg/secret"
	"jethook/pkg/signature"
)

const (
	oldMaster = "AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8="
	newMaster = "ICEiIyQlJicoKSorLC0uLzAxMjM0NTY3ODk6Ozw9Pj8="
)

// announces does what a replica with these master keys does at its start.
func (w *world) announces(keys string) {
	w.Helper()
	ring, err := secret.ParseRing(keys)
	w.must(err)
	w.must(endpoint.NewStore(w.bucket(w.names.EndpointsBucket()), endpoint.Sealing(w.js, ring)).Announce(w.ctx, false))
}

func hides(t *testing.T, text string, parts ...string) {
	t.Helper()
	for _, part := range parts {
		if strings.Contains(text, part) {
			t.Errorf("%q is in\n%s", part, text)
		}
	}
}

const guarded = `endpoints:
- tenant: acme
  id: guarded
  url: https://crm.example.com/hooks
  events: [a]
  headers: {X-Api-Key: CANARY-HEADER, X-Env: prod}
  extra_signatures: [{header: X-Hub, secret: CANARY-HUB}]
  auth: {basic: {user: jethook, password: "env:CANARY_PASSWORD"}}
`

func TestNewKeys(t *testing.T) {
	w := &world{T: t}
	key := strings.TrimSpace(first(w.run(exitDone, "secrets", "new-key")))
	if _, err := secret.ParseRing(key); err != nil {
		t.Error(err)
	}
	if again := strings.TrimSpace(first(w.run(exitDone, "secrets", "new-key"))); again == key {
		t.Error("the same key twice")
	}
	for kind, prefix := range map[string]string{"v1": "whsec_", "v1a": "whsk_"} {
		out, said := w.run(exitDone, "secrets", "new-signing-key", "--kind", kind)
		made, err := signature.ParseKey(secret.Secret(strings.TrimSpace(out)))
		if err != nil || !strings.HasPrefix(out, prefix) {
			t.Errorf("%s: %v", kind, err)
		}
		if public := made.Public(); public != "" {
			contains(t, said, "for the receiver, to verify with: "+public)
		}
		var document map[string]string
		out, _ = w.run(exitDone, "secrets", "new-signing-key", "--kind", kind, "--json")
		w.must(json.Unmarshal([]byte(out), &document))
		if !strings.HasPrefix(document["secret"], prefix) || strings.HasPrefix(document["public_key"], "whpk_") != (kind == "v1a") {
			t.Errorf("%s: %v", kind, document)
		}
	}
	w.run(exitUsage, "secrets", "new-signing-key", "--kind", "v2")
}

func first(out, _ string) string { return out }

// What show hides, what it shows, and to whom.
func TestShowHidesSecrets(t *testing.T) {
	w := startWorld(t)
	t.Setenv("CANARY_PASSWORD", "CANARY-PASSWORD")
	w.announces(oldMaster)
	out, said := w.run(exitDone, "endpoint", "apply", "-f", w.file(guarded))
	contains(t, out, "acme/guarded created", "signing secret, shown once: whsec_")
	hides(t, said, "stored as they are")

	parts := []string{"CANARY", "whsec_", "sealed:"}
	for _, args := range [][]string{{"endpoint", "show", "acme/guarded"}, {"endpoint", "show", "acme/guarded", "--json"}, {"endpoint", "list", "--json"}} {
		out, said := w.run(exitDone, args...)
		hides(t, out+said, parts...)
		contains(t, out, `"***"`, "X-Env", "jethook")
	}
	out, said = w.run(exitFailed, "endpoint", "show", "acme/guarded", "--secrets")
	hides(t, out, "CANARY", "whsec_")
	contains(t, out, "sealed:v1:")
	contains(t, said, "sealed with a master key that is not here", "JETHOOK_MASTER_KEYS", "JETHOOK_DATA_DIR")

	shown := func() {
		t.Helper()
		out, said := w.run(exitDone, "endpoint", "show", "acme/guarded", "--secrets", "--json")
		contains(t, out, "whsec_", "CANARY-PASSWORD", "CANARY-HUB", "CANARY-HEADER")
		hides(t, out+said, "sealed")
	}
	t.Setenv("JETHOOK_MASTER_KEYS", newMaster+","+oldMaster)
	shown()
	t.Setenv("JETHOOK_MASTER_KEYS", "")
	dir := t.TempDir()
	w.must(os.WriteFile(secret.KeyFile(dir), []byte(oldMaster+"\n"), 0o600))
	t.Setenv("JETHOOK_DATA_DIR", dir)
	shown()
	w.must(os.WriteFile(secret.KeyFile(dir), []byte(newMaster+"\n"), 0o600)) // of another installation
	_, said = w.run(exitFailed, "endpoint", "show", "acme/guarded", "--secrets")
	contains(t, said, "JETHOOK_MASTER_KEYS")
	_, said = w.run(exitDone, "endpoint", "pause", "acme/guarded")
	hides(t, said, "master")
}

// Without a replica that announced a key, secrets are stored as they are, and apply
// says so, once for a file.
func TestApplySaysWhatIsNotSealed(t *testing.T) {
	w := startWorld(t)
	t.Setenv("CANARY_PASSWORD", "CANARY-PASSWORD")
	file := w.file(guarded + strings.ReplaceAll(strings.TrimPrefix(guarded, "endpoints:\n"), "guarded", "other"))
	for range 2 { // made, and unchanged
		out, said := w.run(exitDone, "endpoint", "apply", "-f", file)
		contains(t, out, "acme/guarded ", "acme/other ")
		contains(t, said, "jethook: secrets are stored as they are (endpoints: 2), because no replica has announced a key")
		hides(t, said, "CANARY")
	}
	w.announces(oldMaster)
	t.Setenv("JETHOOK_MASTER_KEYS", oldMaster)
	out, _ := w.run(exitDone, "secrets", "rewrap")
	contains(t, out, "3 endpoints were sealed anew") // with acme/crm
	out, said := w.run(exitDone, "endpoint", "apply", "-f", file)
	contains(t, out, "acme/guarded unchanged", "acme/other unchanged")
	hides(t, said, "stored as they are")
	if err := os.Unsetenv("CANARY_PASSWORD"); err != nil {
		t.Fatal(err)
	}
	_, said = w.run(exitFailed, "endpoint", "apply", "-f", file)
	contains(t, said, "endpoints.yaml:8:43: endpoints[0].auth.basic.password: refers to the environment variable \"CANARY_PASSWORD\", which is not set")
}

func TestRewrapCommand(t *testing.T) {
	w := startWorld(t)
	_, said := w.run(exitFailed, "secrets", "rewrap")
	contains(t, said, "no replica has announced a key to seal with: start one that has master keys")
	w.announces(oldMaster)
	t.Setenv("JETHOOK_MASTER_KEYS", oldMaster)
	out, _ := w.run(exitDone, "secrets", "rewrap", "--json")
	contains(t, out, `{"endpoints":1}`)
	w.announces(newMaster + "," + oldMaster)
	_, said = w.run(exitFailed, "secrets", "rewrap")
	contains(t, said, "JETHOOK_MASTER_KEYS")
	t.Setenv("JETHOOK_MASTER_KEYS", "")
	out, said = w.run(exitFailed, "secrets", "rewrap")
	contains(t, out, "0 endpoints were sealed anew with the key in use, but not all")
	contains(t, said, "endpoint acme/crm", "set JETHOOK_MASTER_KEYS to all that are in use")
	t.Setenv("JETHOOK_MASTER_KEYS", newMaster+","+oldMaster)
	out, _ = w.run(exitDone, "secrets", "rewrap")
	contains(t, out, "1 endpoints were sealed anew with the key in use; all others were already")
	t.Setenv("JETHOOK_MASTER_KEYS", newMaster)
	out, _ = w.run(exitDone, "endpoint", "show", "acme/crm", "--secrets")
	contains(t, out, "whsec_")
}

func TestTenantEndpointsAreLimited(t *testing.T) {
	w := startWorld(t)
	t.Setenv("JETHOOK_TENANT_ENDPOINTS", "2")
	var file strings.Builder
	file.WriteString("endpoints:\n")
	for i := range 2 {
		fmt.Fprintf(&file, "- {tenant: acme, id: e%d, url: 'https://example.com', events: [a]}\n", i)
	}
	out, said := w.run(exitFailed, "endpoint", "apply", "-f", w.file(file.String()))
	contains(t, out, "acme/e0 created")
	contains(t, said, "apply endpoint acme/e1: tenant acme has 2 endpoints already, the most there can be (JETHOOK_TENANT_ENDPOINTS): remove one first")
}

// Whoever brings the NATS server makes a key if there is none, for its owner alone,
// and says so; others take what is there.
func TestServeMakesAMasterKey(t *testing.T) {
	var log bytes.Buffer
	c := config.Config{DataDir: filepath.Join(t.TempDir(), "data"), NATS: natsconn.Options{URL: "nats://127.0.0.1:4222"}}
	keys := func() (configured, found bool, err error) {
		log.Reset()
		a, b, err := masterKeys(c, zerolog.New(&log))
		return a != nil, b != nil, err
	}
	if configured, found, err := keys(); configured || found || err != nil || log.Len() > 0 {
		t.Errorf("with a server elsewhere: %v, %v, %v, %s", configured, found, err, log.String())
	}
	c.NATS = natsconn.Options{}
	if configured, found, err := keys(); !configured || found || err != nil {
		t.Errorf("with a server inside: %v, %v, %v", configured, found, err)
	}
	path := secret.KeyFile(c.DataDir)
	info, err := os.Stat(path)
	if err != nil || info.Mode().Perm() != 0o600 {
		t.Fatalf("%v, %v", info, err)
	}
	contains(t, log.String(), `"file":"`+path+`"`, "keep a copy, without it they are lost")
	text, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	for line := range strings.Lines(string(text)) {
		if !strings.HasPrefix(line, "#") {
			hides(t, log.String(), strings.TrimSpace(line))
		}
	}
	if configured, _, err := keys(); !configured || err != nil || log.Len() > 0 {
		t.Errorf("the second time: %v, %v, %s", configured, err, log.String())
	}
	c.NATS.URL = "nats://127.0.0.1:4222"
	if configured, found, err := keys(); configured || !found || err != nil {
		t.Errorf("beside a server elsewhere: %v, %v, %v", configured, found, err)
	}
	c.MasterKeys = newMaster
	if configured, found, err := keys(); !configured || found || err != nil {
		t.Errorf("configured: %v, %v, %v", configured, found, err)
	}
	c.MasterKeys = ""
	if err := os.Chmod(path, 0o644); err != nil { //nolint:gosec // that is the point
		t.Fatal(err)
	}
	if _, _, err := keys(); err == nil || !strings.Contains(err.Error(), "chmod 600") {
		t.Errorf("for all to read: %v", err)
	}
}
