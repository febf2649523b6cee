package main

import (
	"encoding/json"
	"regexp"
	"strings"
	"testing"
	"time"

	"jethook/pkg/endpoint"
	"jethook/pkg/secret"
	"jethook/pkg/signature"
)

const asymmetric = `endpoints:
- {tenant: acme, id: public, url: "https://crm.example.com/hooks", events: [a], signing: v1a}
- {tenant: acme, id: shared, url: "https://crm.example.com/hooks", events: [a]}
`

var publicKeyText = regexp.MustCompile(`whpk_[A-Za-z0-9+/=]+`)

// Whoever makes an ed25519 key is told the half that the receiver needs, and so is
// everybody later.
func TestThePublicHalfIsShown(t *testing.T) {
	w := startWorld(t)
	w.announces(oldMaster)
	public := func(text string) string {
		t.Helper()
		keys := publicKeyText.FindAllString(text, -1)
		if len(keys) != 1 {
			t.Fatalf("%d public keys in\n%s", len(keys), text)
		}
		return keys[0]
	}
	verifies := func(private, public string) {
		t.Helper()
		if key, err := signature.ParseKey(secret.Secret(private)); err != nil || key.Public() != public {
			t.Errorf("%s is not the public half, %v", public, err)
		}
	}
	private := regexp.MustCompile(`whsk_[A-Za-z0-9+/=]+`)
	out, _ := w.run(exitDone, "endpoint", "apply", "-f", w.file(asymmetric))
	contains(t, out, "for the receiver, to verify with: whpk_")
	first := public(out)
	verifies(private.FindString(out), first)

	out, _ = w.run(exitDone, "endpoint", "show", "acme/public")
	contains(t, out, "verify", "sealed", "JETHOOK_MASTER_KEYS")
	t.Setenv("JETHOOK_MASTER_KEYS", oldMaster)
	out, _ = w.run(exitDone, "endpoint", "show", "acme/public")
	if public(out) != first {
		t.Errorf("show tells another key than %s:\n%s", first, out)
	}
	hides(t, out, "whsk_")

	var told struct {
		Secret    string `json:"secret"`
		PublicKey string `json:"public_key"`
	}
	out, _ = w.run(exitDone, "endpoint", "rotate-secret", "acme/public", "--json")
	w.must(json.Unmarshal([]byte(out), &told))
	verifies(told.Secret, told.PublicKey)
	out, _ = w.run(exitDone, "endpoint", "show", "acme/public", "--json")
	var shown struct {
		PublicKeys []string `json:"public_keys"`
	}
	w.must(json.Unmarshal([]byte(out), &shown))
	if len(shown.PublicKeys) != 2 || shown.PublicKeys[0] != told.PublicKey || shown.PublicKeys[1] != first {
		t.Errorf("show tells %v, want the new key and the old one", shown.PublicKeys)
	}
	out, _ = w.run(exitDone, "endpoint", "rotate-secret", "acme/public", "--overlap", "0s")
	verifies(private.FindString(out), public(out))

	w.run(exitDone, "endpoint", "remove", "acme/public", "--waiting", "discard", "--yes")
	out, _ = w.run(exitDone, "endpoint", "apply", "--json", "-f", w.file(asymmetric))
	made, _, _ := strings.Cut(out, "\n")
	w.must(json.Unmarshal([]byte(made), &told))
	verifies(told.Secret, told.PublicKey)

	out, _ = w.run(exitDone, "endpoint", "rotate-secret", "acme/shared")
	hides(t, out, "whpk_", "to verify with")
	out, _ = w.run(exitDone, "endpoint", "show", "acme/shared")
	hides(t, out, "whpk_", "verify")
}

// A key that has expired signs nothing that a receiver could verify.
func TestExpiredKeysAreNotShown(t *testing.T) {
	now := time.Now()
	d := endpoint.Document{Signing: endpoint.SigningV1a, Secrets: []endpoint.SigningSecret{
		{Secret: signature.NewSigningKey()}, {Secret: signature.NewSigningKey(), ExpiresAt: now},
	}}
	if keys, sealed := publicKeys(d, now); len(keys) != 1 || sealed {
		t.Errorf("got %v, %v", keys, sealed)
	}
}
