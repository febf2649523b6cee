package replica

import (
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/nats-io/nats.go/jetstream"

	"jethook/pkg/endpoint"
	"jethook/pkg/natsconn"
	"jethook/pkg/secret"
	"jethook/pkg/signature"
)

func ringOf(t *testing.T, keys ...secret.Secret) *secret.Ring {
	t.Helper()
	texts := make([]string, len(keys))
	for i, key := range keys {
		texts[i] = key.Reveal()
	}
	ring, err := secret.ParseRing(strings.Join(texts, ","))
	if err != nil {
		t.Fatal(err)
	}
	return ring
}

func bucket(t *testing.T, js jetstream.JetStream) jetstream.KeyValue {
	t.Helper()
	kv, err := js.KeyValue(t.Context(), "webhooks_endpoints")
	if err != nil {
		t.Fatal(err)
	}
	return kv
}

func publish(t *testing.T, js jetstream.JetStream, body string) {
	t.Helper()
	if _, err := js.Publish(t.Context(), "webhooks.events.acme.order.created", []byte(body)); err != nil {
		t.Fatal(err)
	}
}

// signed is an endpoint with a secret, and auth that its receiver sees.
func signed(url string) string {
	return "endpoints:\n  - {tenant: acme, id: crm, url: '" + url + "', events: ['>'], auth: {bearer: CANARY}}\n"
}

// What lies there plain is sealed by the start of a replica that has keys, and its
// requests are signed with what was sealed.
func TestTheFirstStartWithKeysSeals(t *testing.T) {
	url, requests := far(t)
	o, log := testOptions(t)
	o.EndpointsFile = t.TempDir() + "/endpoints.yaml"
	write(t, o.EndpointsFile, signed(url))
	without := start(t, o)
	if !strings.Contains(log.String(), "secrets are stored as they are: set JETHOOK_MASTER_KEYS") {
		t.Errorf("it does not say that nothing is sealed:\n%s", log)
	}
	if err := without.stop(); err != nil {
		t.Fatal(err)
	}

	key := secret.NewMasterKey()
	o.MasterKeys = ringOf(t, key)
	first := start(t, o)
	js := dial(t, first.URL)
	log.wait(t, "sealed the secrets of endpoints that were stored as they are", 1)
	history, err := bucket(t, js).History(t.Context(), "acme.crm")
	if err != nil {
		t.Fatal(err)
	}
	for _, entry := range history {
		if text := string(entry.Value()); strings.Contains(text, "CANARY") || strings.Contains(text, "whsec_") || strings.Count(text, "sealed:v1:") != 2 {
			t.Errorf("the bucket holds %s", text)
		}
	}
	d, err := endpoint.NewStore(bucket(t, js), endpoint.Sealing(js, o.MasterKeys)).Get(t.Context(), "acme/crm")
	if err != nil {
		t.Fatal(err)
	}
	publish(t, js, "one")
	r := <-requests
	verify, err := signature.ParseKey(d.Secrets[0].Secret)
	if err != nil {
		t.Fatal(err)
	}
	h := r.Header
	if err := signature.Verify([]signature.Key{verify}, h.Get("Webhook-Id"), h.Get("Webhook-Timestamp"), h.Get("Webhook-Signature"), r.Body, time.Now(), time.Minute); err != nil {
		t.Errorf("its signature: %v", err)
	}
	if strings.Contains(log.String(), "CANARY") || strings.Contains(log.String(), "whsec_") {
		t.Errorf("the log holds a secret:\n%s", log)
	}
	if err := first.stop(); err != nil {
		t.Fatal(err)
	}

	// From here on, no replica starts with keys that open nothing.
	o.MasterKeys = ringOf(t, secret.NewMasterKey())
	text := refused(t, o)
	if !strings.Contains(text, "sealed with a master key that is not among these") || !strings.Contains(text, "add it to JETHOOK_MASTER_KEYS") ||
		!strings.Contains(text, ringOf(t, key).Sealer().ID()) {
		t.Errorf("refused with %q", text)
	}
	o.MasterKeys = ringOf(t, secret.NewMasterKey(), key)
	again := start(t, o)
	publish(t, dial(t, again.URL), "two")
	r = <-requests
	for string(r.Body) == "one" { // whose ack may have come too late for the stop
		r = <-requests
	}
	if string(r.Body) != "two" {
		t.Errorf("with another key in front got %q", r.Body)
	}
}

// A replica without keys, or with keys found that are not the ones in use, delivers
// what needs none, holds the rest, and says so; one with keys delivers that.
func TestAReplicaWithoutKeysHoldsForOthers(t *testing.T) {
	url, requests := far(t)
	openURL, open := far(t)
	o, log := testOptions(t)
	key := secret.NewMasterKey()
	o.MasterKeys = ringOf(t, key)
	o.EndpointsFile = t.TempDir() + "/endpoints.yaml"
	write(t, o.EndpointsFile, signed(url)+document("open", openURL))
	first := start(t, o)
	js := dial(t, first.URL)

	joined := o
	joined.NATS, joined.EndpointsFile, joined.MasterKeys = natsconn.Options{URL: first.URL}, "", nil
	joined.FoundKeys = ringOf(t, secret.NewMasterKey())
	second := start(t, joined)
	ready(t, second)
	for _, part := range []string{`"level":"error"`, "add it to JETHOOK_MASTER_KEYS", "this replica cannot open the endpoints' secrets", `"endpoints":1,"endpoint":"acme/crm"`} {
		if !strings.Contains(log.String(), part) {
			t.Errorf("the log does not say %q:\n%s", part, log)
		}
	}
	// Two replicas share the events: each endpoint gets all, whoever reads them.
	const events = 40
	for range events {
		publish(t, js, "shared")
	}
	sealed, unsigned := map[string]bool{}, map[string]bool{}
	for len(sealed) < events || len(unsigned) < events {
		select {
		case r := <-requests:
			sealed[r.EventID] = true
		case r := <-open:
			unsigned[r.EventID] = true
		case <-time.After(testTimeout):
			t.Fatalf("of %d events %d and %d arrived\n%s", events, len(sealed), len(unsigned), log)
		}
	}
	_, metrics := get(t, "http://"+second.HTTP+"/metrics")
	if !regexp.MustCompile(`jethook_attempts_total\{outcome="delivered",result="2xx"\} [1-9]`).MatchString(metrics) {
		t.Error("the replica without keys delivers nothing at all")
	}
	if err := second.stop(); err != nil {
		t.Fatal(err)
	}
	joined.FoundKeys = ringOf(t, key) // those of the server's data directory, which are in use
	third := start(t, joined)
	ready(t, third)
	if n := strings.Count(log.String(), "this replica cannot open"); n != 1 {
		t.Errorf("it does not take the keys that it found: said %d times", n)
	}
}
