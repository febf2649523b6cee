package e2e

import (
	"crypto/x509"
	"encoding/base64"
	"encoding/pem"
	"errors"
	"fmt"
	"io/fs"
	"net/http/httptest"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"jethook/pkg/secret"
)

// documents returns endpoints with a canary wherever one can be.
func (r *canaryRun) documents() string {
	file := filepath.Join(r.TempDir(), "token")
	r.must(os.WriteFile(file, []byte(r.bearer+"\n"), 0o600))
	far := httptest.NewUnstartedServer(nil)
	far.StartTLS()
	defer far.Close()
	pair := far.TLS.Certificates[0]
	key, err := x509.MarshalPKCS8PrivateKey(pair.PrivateKey)
	r.must(err)
	r.tlsKey = base64.StdEncoding.EncodeToString(key)[64:128] // a line of its own
	text := func(kind string, der []byte) string {
		return fmt.Sprintf("%q", pem.EncodeToMemory(&pem.Block{Type: kind, Bytes: der}))
	}
	// The brackets: a canary's letters may spell any word.
	return strings.NewReplacer("<far>", r.far.URL, "<query>", "key="+r.query, "<file>", file, "<cert>", text("CERTIFICATE", pair.Certificate[0]), "<pemkey>", text("PRIVATE KEY", key)).Replace(fmt.Sprintf(`endpoints:
- {tenant: acme, id: good, url: '<far>/good?<query>', events: [good], secrets: [whsec_%s, {secret: whsec_%s, expires_at: 2099-01-01T00:00:00Z}],
   headers: {Authorization: 'Token %s', X-Api-Key: %s, X-Ordinary: %s}, extra_signatures: [{header: X-Hub-Signature-256, secret: %s}]}
- {tenant: acme, id: flaky, url: '<far>/flaky?<query>', events: [flaky], auth: {basic: {user: jethook, password: 'env:CANARY_PASSWORD'}}, headers: {X-Api-Key: %[4]s}, retry: {schedule: [10ms]}}
- {tenant: acme, id: down, url: '<far>/down?<query>', events: [down], auth: {bearer: 'file:<file>'}, contact: {email: [%[9]s@example.com], slack: '<far>/%[10]s'}}
- {tenant: acme, id: refusing, url: '<far>/refusing?<query>', events: [refusing], headers: {X-Api-Key: %[4]s}}
- {tenant: acme, id: inorder, url: '<far>/refusing?<query>', events: [inorder], ordered: true}
- {tenant: acme, id: oauth, url: '<far>/good', events: [oauth], auth: {oauth2: {token_url: '<far>/token', client_id: jethook, client_secret: %[7]s}}}
- {tenant: acme, id: tls, url: 'https://127.0.0.1:%[8]s', events: [tls], tls: {cert: <cert>, key: <pemkey>, ca: <cert>}, retry: {schedule: [10ms]}}
`, r.signing, r.overlap, r.authorization, r.apiKey, r.ordinary, r.extra, r.clientSecret, freePort(r.T), r.address, r.slack))
}

// scenario lets happen what can happen, and then looks for canaries in all that
// came out.
func (r *canaryRun) scenario(data string, replicas ...*replica) {
	file := filepath.Join(r.TempDir(), "endpoints.yaml")
	r.must(os.WriteFile(file, []byte(r.documents()), 0o600))
	r.run(inCommand, 0, "endpoint", "apply", "-f", file)
	nc, js := connect(r.T, r.url)
	kinds := []string{"good", "flaky", "refusing", "inorder", "oauth", "tls"}
	// Five failures in a row at one of two replicas open a gate.
	for _, kind := range append(kinds, slices.Repeat([]string{"down"}, 9)...) {
		m := nats.NewMsg("webhooks.events.acme." + kind)
		m.Header = nats.Header{"Ce-Source": {r.ceHeader}, "X-Internal": {r.otherHeader}, "Authorization": {r.otherHeader}}
		m.Data = fmt.Appendf(nil, `{"payload": %q}`, r.payload)
		_, err := js.PublishMsg(r.Context(), m)
		r.must(err)
	}
	r.scrape(replicas)
	awaitLetters(r.T, r.url, 3) // of flaky, refusing and tls
	eventually(r.T, "the gate is open and its contact told, the ordered endpoint disabled, an event authorized", func() error {
		a, b := stateOf(r.T, r.url, "acme/down").Is, stateOf(r.T, r.url, "acme/inorder").Is
		if a != "failing" || b != "disabled" || !r.seen(onWire, r.accessToken) || !r.seen(onWire, "/good?") || !r.seen(onWire, r.slack) {
			return fmt.Errorf("down is %s, inorder is %s", a, b)
		}
		return nil
	})
	r.breakDocuments(js, replicas[0])
	r.commands(file)
	r.mistakes()
	r.scrape(replicas)
	r.readStreams(js)
	nc.Close()
	for _, replica := range replicas {
		replica.signal(syscall.SIGTERM)
		if code := replica.wait(); code != 0 {
			r.Errorf("a replica ended with exit code %d", code)
		}
		r.record(inLog, replica.log.String())
	}
	r.readDisk(data)
	r.record(inTraces, r.to.bodies...) // the replicas have ended
	if r.to.header.Get("Authorization") != r.exporter {
		r.Error("the exporter of traces did not use its credential: this shows little")
	}
	r.look()
}

// proxied starts a replica of another system on the same NATS server, whose egress
// proxy is not there, and returns when that has cost it a delivery.
func (r *canaryRun) proxied() *replica {
	env := append(slices.Clone(r.env), "JETHOOK_NAMESPACE=proxied", "JETHOOK_EGRESS_PROXY=http://jethook:"+r.proxyPassword+"@127.0.0.1:"+freePort(r.T))
	proxied := serve(r.T, env...)
	file := filepath.Join(r.TempDir(), "proxied.yaml")
	r.must(os.WriteFile(file, []byte("endpoints:\n- {tenant: acme, id: crm, url: '"+r.far.URL+"/refusing', events: ['>'], retry: {schedule: [10ms]}}\n"), 0o600))
	r.runWith(env, whenAsked, 0, "endpoint", "apply", "-f", file) // it tells the secret that it made
	r.runWith(env, inCommand, 0, "publish", "acme", "order.created")
	eventually(r.T, "a delivery through the proxy is a dead letter", func() error {
		if r.runWith(env, inCommand, 0, "dlq", "list", "--json") == "" {
			return fmt.Errorf("there is none")
		}
		return nil
	})
	r.runWith(env, inCommand, 1, "endpoint", "test", "acme/crm")
	return proxied
}

// tokened starts a replica of a NATS server that asks for a token, which stands in
// its URL, and returns when it has had to connect again.
func (r *canaryRun) tokened() *replica {
	server := startNATS(r.T, "--auth", r.natsToken)
	env := append(slices.Clone(r.env), "NATS_URL="+strings.Replace(server.url, "://", "://"+r.natsToken+"@", 1))
	tokened := serve(r.T, env...)
	r.runWith(env, inCommand, 0, "endpoint", "list")
	server.kill()
	server.start()
	tokened.says("reconnected to NATS")
	tokened.ready()
	return tokened
}

// commands runs every command that prints something of a running system.
func (r *canaryRun) commands(file string) {
	for _, args := range [][]string{
		{"endpoint", "list"}, {"endpoint", "list", "--json"}, {"lane", "list"}, {"dlq", "stats"}, {"dlq", "stats", "--json"},
		{"endpoint", "test", "acme/good"}, {"endpoint", "test", "acme/oauth", "--json"}, {"endpoint", "apply", "-f", file, "--json"},
		{"endpoint", "pause", "acme/good"}, {"endpoint", "resume", "acme/good"}, {"streams", "plan"}, {"streams", "check", "--json"},
	} {
		r.run(inCommand, 0, args...)
	}
	for _, id := range []string{"good", "flaky", "down", "refusing", "inorder", "oauth", "tls"} {
		r.run(inCommand, 0, "endpoint", "show", "acme/"+id)
		r.run(inCommand, 0, "endpoint", "show", "acme/"+id, "--json")
		r.run(whenAsked, 0, "endpoint", "show", "acme/"+id, "--secrets")
	}
	for _, id := range []string{"flaky", "down", "refusing", "tls"} {
		r.run(inCommand, 1, "endpoint", "test", "acme/"+id)
	}
	r.run(inCommand, 1, "secrets", "rewrap") // it cannot with the documents that are broken
	rotated := r.run(whenAsked, 0, "endpoint", "rotate-secret", "acme/down")
	if _, r.made, _ = strings.Cut(rotated, "whsec_"); r.made != "" {
		r.made = strings.Fields(r.made)[0]
	}
	r.run(inLetter, 0, "dlq", "list")
	r.run(inLetter, 0, "dlq", "list", "--json")
	for _, l := range letters(r.T, r.url) {
		r.run(inLetter, 0, "dlq", "show", fmt.Sprint(l.Seq))
		r.run(inLetter, 0, "dlq", "show", fmt.Sprint(l.Seq), "--json")
	}
	r.run(inCommand, 0, "replay", "--yes", "--endpoint", "acme/refusing")
	r.run(inCommand, 0, "endpoint", "enable", "acme/inorder")
	r.run(inCommand, 0, "endpoint", "remove", "acme/tls", "--waiting", "dead-letter", "--yes")
}

// mistakes gives jethook what it must refuse, with a canary in it.
func (r *canaryRun) mistakes() {
	bad := r.refused
	for _, variable := range []string{
		"JETHOOK_MASTER_KEYS=" + bad, "JETHOOK_MASTER_KEY=" + bad, "JETHOOK_EGRESS_PROXY=http://jethook:" + r.proxyPassword + "@", "JETHOOK_EGRESS_PROXY=ftp://jethook:" + r.proxyPassword + "@proxy",
		"NATS_URL=nats://jethook:" + bad + "@127.0.0.1:1", "NATS_URL=nats://jethook:" + bad + "/x@127.0.0.1:1", "NATS_URL=" + strings.Replace(r.url, "@", bad+"@", 1) + "," + "jethook:" + bad + "@[", "NATS_NKEY=/nowhere",
		"OTEL_EXPORTER_OTLP_HEADERS=" + bad, "OTEL_EXPORTER_OTLP_ENDPOINT=http://jethook:" + bad + "@127.0.0.1:1",
		"JETHOOK_SMTP_URL=smtp://jethook:" + bad + "@", "JETHOOK_SMTP_URL=https://jethook:" + bad + "@example.com", "JETHOOK_SMTP_URL=smtp://jethook:" + bad + "@example.com?tls=none",
	} {
		stdout, stderr, code := cliWith(r.T, append(slices.Clone(r.env), "JETHOOK_HTTP_ADDR=127.0.0.1:0", "NATS_PASSWORD="+r.natsPassword, variable), "", "serve")
		name, _, _ := strings.Cut(variable, "=")
		if r.record(inCommand, stdout, stderr); code == 0 {
			r.Errorf("serve takes a bad %s", name)
		}
	}
	for _, field := range []string{
		"contact: {slack: 'ftp://" + bad + "'}", "contact: {slack: [" + bad + "]}", "secrets: [whsec_" + bad + "!]", "secrets: [" + bad + "]", "secrets: [{secret: whsec_" + bad + "!, expires_at: never}]", "secrets: {" + bad + ": x}", "auth: {bearer: [" + bad + "]}", `auth: {bearer: "` + bad + `\n"}`,
		"auth: {basic: {user: 'a:b', password: " + bad + "}}", "headers: {Authorization: [" + bad + "]}", `headers: {X-Api-Key: "` + bad + `\x01"}`, "extra_signatures: [{header: 'a b', secret: " + bad + "}]",
		"auth: {oauth2: {token_url: 'x', client_id: a, client_secret: " + bad + "}}", "tls: {key: " + bad + "}", "tls: {cert: x, key: '-----BEGIN " + bad + "'}",
	} {
		r.refuse("url: 'https://example.com', " + field)
	}
	for _, url := range []string{"https://jethook:" + bad + "@example.com", "https://example.com/?a=" + bad + "#x", "http://127.0.0.1:99999/?" + bad, "https://[?" + bad} {
		r.refuse("url: '" + url + "'")
	}
	r.run(inCommand, 2, "publish", "acme", "bad", "-d", "{"+r.payload)
	r.run(inCommand, 2, "--password", bad, "endpoint", "lst")
	r.run(inCommand, 1, "verify", "--secret", "whsec_"+base64.StdEncoding.EncodeToString([]byte(bad)), "--id", "x", "--timestamp", "1", "--signature", "v1,x")
	r.run(inCommand, 2, "verify", "--secret", bad, "--id", "x", "--timestamp", "1", "--signature", "v1,x")
}

// refuse applies a document that must be refused.
func (r *canaryRun) refuse(fields string) {
	file := filepath.Join(r.TempDir(), "refused.yaml")
	r.must(os.WriteFile(file, []byte("endpoints:\n- {tenant: acme, id: bad, events: ['>'], "+fields+"}\n"), 0o600))
	r.run(inCommand, 1, "endpoint", "apply", "-f", file)
}

// breakDocuments puts documents into the bucket that no replica can read, and
// waits until one has said so.
func (r *canaryRun) breakDocuments(js jetstream.JetStream, replica *replica) {
	kv, err := js.KeyValue(r.Context(), "webhooks_endpoints")
	r.must(err)
	for key, text := range map[string]string{
		"acme.broken1": `{"url": "https://example.com/?%[2]s", "events": [">"], "secrets": ["whsec_%[1]s"], "headers": {"Authorization": "%[1]s"}, "nonsense": "%[1]s"}`,
		"acme.broken2": `{"url": "https://example.com:99999/?%[2]s", "events": [">"], "secrets": ["%[1]s", 7], "auth": {"bearer": "%[1]s"`,
		"acme.broken3": `{"url": "https://user:%[1]s@example.com/?%[2]s", "events": ["a b"], "auth": {"basic": {"user": "a:b", "password": "%[1]s"}}}`,
	} {
		_, err := kv.PutString(r.Context(), key, fmt.Sprintf(text, r.brokenSecret, r.brokenQuery))
		r.must(err)
		replica.says(key)
		r.run(inCommand, -1, "endpoint", "show", strings.Replace(key, ".", "/", 1))
	}
}

// run runs a command and notes what it says. A code of -1 is any.
func (r *canaryRun) run(place string, code int, args ...string) string {
	r.Helper()
	return r.runWith(r.env, place, code, args...)
}

func (r *canaryRun) runWith(env []string, place string, code int, args ...string) string {
	r.Helper()
	stdout, stderr, got := cliWith(r.T, env, "", args...)
	if code >= 0 && got != code {
		r.Errorf("jethook %v: exit code %d, want %d\n%s%s", args, got, code, stdout, stderr)
	}
	r.record(place, stdout, stderr)
	return stdout
}

func (r *canaryRun) scrape(replicas []*replica) {
	for _, replica := range replicas {
		for _, path := range []string{"/metrics", "/healthz", "/readyz"} {
			text, err := get(replica.http + path)
			r.must(err)
			r.record(inMetrics, text)
		}
	}
}

// readStreams notes every message of every stream.
func (r *canaryRun) readStreams(js jetstream.JetStream) {
	names := js.StreamNames(r.Context())
	for name := range names.Name() {
		s, err := js.Stream(r.Context(), name)
		r.must(err)
		place := inStream
		if strings.HasSuffix(name, "_endpoints") {
			place = inBucket
		}
		for seq := s.CachedInfo().State.FirstSeq; seq <= s.CachedInfo().State.LastSeq; seq++ {
			if m, err := s.GetMsg(r.Context(), seq); err == nil { // some are gone
				place := place
				if strings.Contains(m.Subject, ".jethook.") || strings.HasSuffix(name, "_words") {
					place = inWord
				}
				r.record(place, m.Subject, fmt.Sprint(m.Header), string(m.Data))
			}
		}
	}
	r.must(names.Err())
}

// readDisk notes what is in the data directory, but for the master keys.
func (r *canaryRun) readDisk(dir string) {
	r.must(filepath.WalkDir(dir, func(path string, d fs.DirEntry, err error) error {
		if errors.Is(err, fs.ErrNotExist) {
			return nil // the server runs on, and removes what it made for a moment
		}
		if err != nil || d.IsDir() || path == secret.KeyFile(dir) {
			return err
		}
		data, err := os.ReadFile(path)
		if errors.Is(err, fs.ErrNotExist) {
			return nil
		}
		r.record(onDisk, path, string(data))
		return err
	}))
}
