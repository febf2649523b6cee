package e2e

import (
	"encoding/json"
	"fmt"
	"strconv"
	"strings"
	"testing"
	"time"

	"jethook/pkg/receiver"
	"jethook/pkg/secret"
	"jethook/pkg/signature"
)

// TestRotationOfASigningSecret rotates while a replica delivers: until the old secret
// expires every request carries both signatures, and from then on the new one alone.
func TestRotationOfASigningSecret(t *testing.T) {
	t.Parallel()
	server := startNATS(t)
	r := serve(t, "NATS_URL="+server.url, masterKeys(secret.NewMasterKey()))
	s := newSink(t, receiver.Options{})
	_, js := connect(t, server.url)
	for _, kind := range []string{"v1", "v1a"} {
		apply(t, server.url, fmt.Sprintf("endpoints:\n- {tenant: acme, id: %s, url: '%s', events: [%[1]s], signing: %[1]s, secrets: [%[3]s]}\n", kind, s.url, oldSecret(kind).Reveal()), r)
		old := verifier(t, oldSecret(kind))
		publish(t, js, kind, kind+"-before", 1)
		everyEventArrived(t, js, s, kind+"-before", 1)

		var made struct{ Secret secret.Secret }
		told := must(t, server.url, "endpoint", "rotate-secret", "acme/"+kind, "--overlap", "10s", "--json")
		rotated := time.Now()
		if err := json.Unmarshal([]byte(told), &made); err != nil {
			t.Fatal(err)
		}
		fresh := verifier(t, made.Secret)
		expires := expiry(t, server.url, "acme/"+kind)
		if left := expires.Sub(rotated); left > 10*time.Second || left < -patience {
			t.Errorf("%s: the old secret expires in %v", kind, left)
		}
		both, alone := 0, 0
		for i := 0; alone < 2; i++ {
			prefix := fmt.Sprintf("%s-after%d", kind, i)
			publish(t, js, kind, prefix, 1)
			everyEventArrived(t, js, s, prefix, 1)
			request := last(s)
			byOld, byFresh := signedBy(t, old, request), signedBy(t, fresh, request)
			at, err := strconv.ParseInt(request.Header.Get("Webhook-Timestamp"), 10, 64)
			if err != nil {
				t.Fatal(err)
			}
			// Both are whole seconds: the order of the two is that of the moments.
			if overlap := at < expires.Unix(); !byFresh || byOld != overlap {
				t.Errorf("%s: at %d, with the old secret until %d: signed by the old one %v, by the new one %v", kind, at, expires.Unix(), byOld, byFresh)
			}
			if n := len(strings.Fields(request.Header.Get("Webhook-Signature"))); byOld && n != 2 || !byOld && n != 1 {
				t.Errorf("%s: %d signatures", kind, n)
			}
			if byOld {
				both++
			} else {
				alone++
			}
		}
		if both == 0 {
			t.Errorf("%s: no request carried both signatures", kind)
		}
	}
}

func oldSecret(kind string) secret.Secret {
	if kind == "v1a" {
		return "whsk_6Xb/dCcHpPea21PS1N9VY/NZW723CEc77N4rJCubMbfVKIDij2HKpMKkioLlX0dRqSKJp4AJ6p9lMicMFs6Kvg=="
	}
	return "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"
}

// verifier is what a receiver verifies with: of an ed25519 key only the public half.
func verifier(t *testing.T, s secret.Secret) signature.Key {
	t.Helper()
	k, err := signature.ParseKey(s)
	if err == nil && k.Public() != "" {
		k, err = signature.ParseKey(secret.Secret(k.Public()))
	}
	if err != nil {
		t.Fatal(err)
	}
	return k
}

func signedBy(t *testing.T, k signature.Key, r receiver.Request) bool {
	t.Helper()
	h := r.Header
	err := signature.Verify([]signature.Key{k}, h.Get("Webhook-Id"), h.Get("Webhook-Timestamp"), h.Get("Webhook-Signature"), r.Body, r.At, patience)
	return err == nil
}

// expiry returns when the endpoint's second secret expires.
func expiry(t *testing.T, url, name string) time.Time {
	t.Helper()
	var shown struct {
		Secrets []json.RawMessage
	}
	var second struct {
		ExpiresAt time.Time `json:"expires_at"`
	}
	if err := json.Unmarshal([]byte(must(t, url, "endpoint", "show", name, "--json")), &shown); err != nil {
		t.Fatal(err)
	}
	if len(shown.Secrets) != 2 {
		t.Fatalf("%d secrets after a rotation", len(shown.Secrets))
	}
	if err := json.Unmarshal(shown.Secrets[1], &second); err != nil || second.ExpiresAt.IsZero() {
		t.Fatalf("the old secret is %s, %v", shown.Secrets[1], err)
	}
	return second.ExpiresAt
}

// last returns the request that came last.
func last(s *sink) receiver.Request {
	seen := s.seen()
	return seen[len(seen)-1]
}
