package e2e

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"github.com/nats-io/nats.go/jetstream"

	"jethook/pkg/receiver"
	"jethook/pkg/secret"
)

// sealedEndpoint has a secret of its own beside the one that is made for it.
const sealedEndpoint = `endpoints:
- {tenant: acme, id: crm, url: "%s", events: [">"], headers: {X-Api-Key: CANARY}, retry: {base: 200ms, factor: 2, max_delay: 1s, max_attempts: 16}}
`

func masterKeys(keys ...secret.Secret) string {
	texts := make([]string, len(keys))
	for i, key := range keys {
		texts[i] = key.Reveal()
	}
	return "JETHOOK_MASTER_KEYS=" + strings.Join(texts, ",")
}

// keyless is a replica that cannot open what the others can.
func keyless(t *testing.T, url string) *replica {
	t.Helper()
	r := serve(t, "NATS_URL="+url)
	r.says("this replica cannot open the endpoints' secrets", "add it to JETHOOK_MASTER_KEYS", "their secrets are sealed with a master key")
	return r
}

// holdsNoPlainSecret looks at every message of the bucket of endpoints.
func holdsNoPlainSecret(t *testing.T, js jetstream.JetStream) {
	t.Helper()
	ctx := context.Background()
	stream, err := js.Stream(ctx, "KV_webhooks_endpoints")
	if err != nil {
		t.Fatal(err)
	}
	sealed := false
	state := stream.CachedInfo().State
	for seq := state.FirstSeq; seq <= state.LastSeq; seq++ {
		m, err := stream.GetMsg(ctx, seq)
		if errors.Is(err, jetstream.ErrMsgNotFound) {
			continue
		}
		if err != nil {
			t.Fatal(err)
		}
		sealed = sealed || strings.Contains(string(m.Data), "sealed:v1:")
		for _, part := range []string{"CANARY", "whsec_"} {
			if strings.Contains(string(m.Data), part) {
				t.Errorf("message %d of the bucket holds %q", seq, part)
			}
		}
	}
	if !sealed {
		t.Error("the bucket holds nothing that is sealed")
	}
}

// TestWhatCannotBeOpenedWaits leaves a replica without keys alone with the events
// of an endpoint whose secrets are sealed.
func TestWhatCannotBeOpenedWaits(t *testing.T) {
	t.Parallel()
	server := startNATS(t)
	key := secret.NewMasterKey()
	first := serve(t, "NATS_URL="+server.url, masterKeys(key))
	s := newSink(t, receiver.Options{})
	apply(t, server.url, fmt.Sprintf(sealedEndpoint, s.url), first)
	first.signal(syscall.SIGTERM)
	first.wait()

	r := keyless(t, server.url)
	_, js := connect(t, server.url)
	const events = 60
	publish(t, js, "order.created", "before", events)
	holds(t, server.url, events)
	if n := s.Stats().Requests; n != 0 {
		t.Errorf("%d requests without a key", n)
	}
	serve(t, "NATS_URL="+server.url, masterKeys(key))
	everyEventArrived(t, js, s, "before", events)
	publish(t, js, "order.created", "after", events) // both read them
	everyEventArrived(t, js, s, "after", events)
	for _, request := range s.seen() {
		if request.Header.Get("X-Api-Key") != "CANARY" || request.Header.Get("Webhook-Signature") == "" {
			t.Fatal("a request lacks what was sealed")
		}
	}
	holdsNoPlainSecret(t, js)
	for _, log := range []string{first.log.String(), r.log.String()} {
		if strings.Contains(log, "CANARY") || strings.Contains(log, "whsec_") || strings.Contains(log, key.Reveal()) {
			t.Errorf("a secret is in the log: %s", log)
		}
	}
}

// TestTamperedSecretsAreNotSent exchanges what is sealed for two endpoints.
func TestTamperedSecretsAreNotSent(t *testing.T) {
	t.Parallel()
	server := startNATS(t)
	r := serve(t, "NATS_URL="+server.url, masterKeys(secret.NewMasterKey()))
	s := newSink(t, receiver.Options{})
	documents := fmt.Sprintf(sealedEndpoint, s.url)
	apply(t, server.url, documents+fmt.Sprintf("- {tenant: globex, id: crm, url: '%s', events: ['>'], headers: {X-Api-Key: CANARY-GLOBEX}}\n", s.url), r)
	_, js := connect(t, server.url)
	kv, err := js.KeyValue(context.Background(), "webhooks_endpoints")
	if err != nil {
		t.Fatal(err)
	}
	header := func(key string) (document map[string]any, sealed string) {
		t.Helper()
		entry, err := kv.Get(context.Background(), key)
		if err != nil {
			t.Fatal(err)
		}
		if err := json.Unmarshal(entry.Value(), &document); err != nil {
			t.Fatal(err)
		}
		return document, document["headers"].(map[string]any)["X-Api-Key"].(string)
	}
	document, _ := header("acme.crm")
	_, other := header("globex.crm")
	document["headers"] = map[string]string{"X-Api-Key": other}
	data, err := json.Marshal(document)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := kv.Put(context.Background(), "acme.crm", data); err != nil {
		t.Fatal(err)
	}
	must(t, server.url, "endpoint", "resume", "globex/crm") // returns when all is in force
	const events = 30
	publish(t, js, "order.created", "t", events)
	holds(t, server.url, events)
	if n := s.Stats().Requests; n != 0 {
		t.Errorf("%d requests with another one's secret", n)
	}
	r.says("a secret in the bucket is of no use")
	apply(t, server.url, documents, r)
	everyEventArrived(t, js, s, "t", events)
}

// TestMasterKeysAreChangedWhileReplicasDeliver changes from one master key to
// another under load.
func TestMasterKeysAreChangedWhileReplicasDeliver(t *testing.T) {
	t.Parallel()
	server := startNATS(t)
	url := "NATS_URL=" + server.url
	old, next := secret.NewMasterKey(), secret.NewMasterKey()
	first := serve(t, url, masterKeys(old))
	s := newSink(t, receiver.Options{})
	apply(t, server.url, fmt.Sprintf(sealedEndpoint, s.url), first)
	_, js := connect(t, server.url)
	l := begin(t, js, "k", -1, 200)

	wrong := serveUnready(t, url, masterKeys(next))
	code := wrong.wait()
	refused(t, wrong.log.String(), code, 1, "sealed with a master key that is not among these", "add it to JETHOOK_MASTER_KEYS")
	second := serve(t, url, masterKeys(old, next)) // both open before one of them seals
	third := serve(t, url, masterKeys(next, old))
	first.signal(syscall.SIGTERM)
	first.wait()
	env := append(environment(trial...), url, masterKeys(next, old))
	stdout, stderr, code := cliWith(t, env, "", "secrets", "rewrap")
	if code != 0 || !strings.Contains(stdout, "1 endpoints were sealed anew") {
		t.Errorf("rewrap: exit code %d: %s%s", code, stdout, stderr)
	}
	arrived, _ := s.counts()
	s.reached(t, arrived+100)
	for _, r := range []*replica{second, third} {
		r.signal(syscall.SIGTERM)
		r.wait()
	}
	last := serve(t, url, masterKeys(next))
	last.delivers()
	everyEventArrived(t, js, s, "k", l.stop())
	holdsNoPlainSecret(t, js)
}

// TestSecretsThatLieThereAreSealed starts two replicas at a time on a bucket that
// was filled before there were keys.
func TestSecretsThatLieThereAreSealed(t *testing.T) {
	t.Parallel()
	server := startNATS(t)
	before := serve(t, "NATS_URL="+server.url)
	s := newSink(t, receiver.Options{})
	apply(t, server.url, fmt.Sprintf(sealedEndpoint, s.url), before)
	if _, stderr, _ := cliWith(t, append(environment(trial...), "NATS_URL="+server.url), fmt.Sprintf(sealedEndpoint, s.url), "endpoint", "apply", "-f", "-"); !strings.Contains(stderr, "are stored as they are") {
		t.Errorf("apply does not say so: %s", stderr)
	}
	before.signal(syscall.SIGTERM)
	before.wait()
	keys := masterKeys(secret.NewMasterKey())
	pair := []*replica{serveUnready(t, "NATS_URL="+server.url, keys), serveUnready(t, "NATS_URL="+server.url, keys)}
	for _, r := range pair {
		r.ready()
	}
	eventually(t, "what was there is sealed", func() error {
		if !strings.Contains(pair[0].log.String()+pair[1].log.String(), "sealed the secrets of endpoints that were stored as they are") {
			return errors.New("nobody says so")
		}
		return nil
	})
	_, js := connect(t, server.url)
	holdsNoPlainSecret(t, js)
	publish(t, js, "order.created", "s", 20)
	everyEventArrived(t, js, s, "s", 20)
}

// TestOneCommandSeals starts everything with one command: it brings a key of its
// own.
func TestOneCommandSeals(t *testing.T) {
	t.Parallel()
	port, data := freePort(t), t.TempDir()
	url := "nats://127.0.0.1:" + port
	r := serve(t, "JETHOOK_NATS_LISTEN=127.0.0.1:"+port, "JETHOOK_DATA_DIR="+data)
	path := filepath.Join(data, "master-keys")
	info, err := os.Stat(path)
	if err != nil || info.Mode().Perm() != 0o600 {
		t.Fatalf("%v, %v", info, err)
	}
	r.says(path, "keep a copy")
	s := newSink(t, receiver.Options{})
	apply(t, url, fmt.Sprintf(sealedEndpoint, s.url), r)
	_, js := connect(t, url)
	holdsNoPlainSecret(t, js)
	publish(t, js, "order.created", "o", 20)
	everyEventArrived(t, js, s, "o", 20)
	if shown, _, exit := cli(t, url, "endpoint", "show", "acme/crm", "--secrets"); exit != 1 || strings.Contains(shown, "CANARY") || !strings.Contains(shown, "sealed:v1:") {
		t.Errorf("without the key it is shown, or taken for shown: exit %d, %s", exit, shown)
	}
	env := append(environment(trial...), "NATS_URL="+url, "JETHOOK_DATA_DIR="+data)
	if shown, _, _ := cliWith(t, env, "", "endpoint", "show", "acme/crm", "--secrets"); !strings.Contains(shown, "CANARY") {
		t.Errorf("with the key it is not shown: %s", shown)
	}
	r.signal(syscall.SIGTERM)
	r.wait()
	if err := os.Remove(path); err != nil {
		t.Fatal(err)
	}
	lost := serveUnready(t, "JETHOOK_NATS_LISTEN=127.0.0.1:"+port, "JETHOOK_DATA_DIR="+data)
	code := lost.wait()
	refused(t, lost.log.String(), code, 1, "sealed with a master key that is not among these")
}
