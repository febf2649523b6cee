package e2e

import (
	"crypto/rand"
	"encoding/base64"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"slices"
	"strings"
	"sync"
	"testing"

	"jethook/pkg/secret"
	"jethook/pkg/signature"
)

// The places where something can come out.
const (
	inLog     = "the log of a replica"
	inMetrics = "/metrics, /healthz or /readyz"
	inCommand = "a command"
	whenAsked = "a command that was asked for secrets"
	inLetter  = "dlq list or show"
	inStream  = "a stream"
	inWord    = "what an endpoint's owner is told"
	inBucket  = "the bucket of endpoints"
	onDisk    = "the data directory"
	onWire    = "a request"
	inTraces  = "the traces"
)

// canaries are planted where nothing of them may come out but in the places that
// the table names, in which they must: one that is seen nowhere proves nothing.
type canaries []struct {
	what   string
	text   *string
	places []string
}

// planted are the texts of the canaries. What is not set is made up.
type planted struct {
	signing, overlap, made, master, natsPassword, natsToken, proxyPassword string
	authorization, apiKey, ordinary, query, answer, answerHeader           string
	basic, bearer, clientSecret, accessToken, extra, tlsKey                string
	payload, ceHeader, otherHeader, exporter                               string
	brokenSecret, brokenQuery, refused                                     string
	basicEncoded, natsEncoded, proxyEncoded                                string
	slack, smtpPassword, address                                           string
}

func (p *planted) table() canaries {
	return canaries{
		{"a signing secret", &p.signing, []string{whenAsked}},
		{"one that expires", &p.overlap, []string{whenAsked}},
		{"one that rotate-secret made", &p.made, []string{whenAsked}},
		{"the credential in an Authorization header", &p.authorization, []string{whenAsked, onWire}},
		{"the credential in an X-Api-Key header", &p.apiKey, []string{whenAsked, onWire}},
		{"the password of basic authentication", &p.basic, []string{whenAsked, onWire}},
		{"user and password of basic authentication as they are sent", &p.basicEncoded, []string{onWire}},
		{"user and password of NATS in that form", &p.natsEncoded, nil},
		{"user and password of an egress proxy in that form", &p.proxyEncoded, nil},
		{"a bearer token", &p.bearer, []string{whenAsked, onWire}},
		{"the client's secret of OAuth 2", &p.clientSecret, []string{whenAsked, onWire}},
		{"the access token of OAuth 2", &p.accessToken, []string{onWire}},
		{"the secret of an extra signature", &p.extra, []string{whenAsked}},
		{"the private key of a client certificate", &p.tlsKey, []string{whenAsked}},
		{"the password of NATS", &p.natsPassword, nil},
		{"a token in the URL of NATS", &p.natsToken, nil},
		{"the password of an egress proxy", &p.proxyPassword, nil},
		{"a master key", &p.master, nil},
		{"the URL of an incoming webhook", &p.slack, []string{whenAsked, onWire}},
		{"the password of a mail server", &p.smtpPassword, nil},
		{"a contact's e-mail address", &p.address, []string{inCommand, whenAsked, inBucket, onDisk}},
		{"a value that was refused", &p.refused, nil},
		{"a secret in a document that is broken", &p.brokenSecret, []string{inBucket, onDisk}},
		{"the query string of a document that is broken", &p.brokenQuery, []string{inBucket, onDisk}},
		{"a query string", &p.query, []string{whenAsked, inBucket, onDisk, onWire}},
		{"a header whose name says nothing", &p.ordinary, []string{whenAsked, onWire}},
		{"a payload", &p.payload, []string{inLetter, inStream, onDisk, onWire}},
		{"a header of an event", &p.ceHeader, []string{inLetter, inStream, onDisk, onWire}},
		{"a header of an event that is not passed on", &p.otherHeader, []string{inStream, onDisk}},
		{"the beginning of an answer", &p.answer, []string{inCommand, whenAsked, inLetter, inStream, inBucket, onDisk}},
		{"a header of an answer", &p.answerHeader, nil},
		{"the credential of the exporter of traces", &p.exporter, nil},
	}
}

// canaryRun is a system with canaries in it, and all that came out.
type canaryRun struct {
	*testing.T
	planted
	far *httptest.Server
	to  *collector // of traces
	url string     // of NATS
	env []string   // of replicas and commands

	mu  sync.Mutex
	out map[string]*strings.Builder // by place
}

func TestCanariesComeOutNowhereElse(t *testing.T) {
	t.Parallel()
	t.Run("with a NATS server", func(t *testing.T) {
		t.Parallel()
		r := newCanaryRun(t)
		server := startNATS(t, "--user", "jethook", "--pass", r.natsPassword)
		r.url = strings.Replace(server.url, "://", "://jethook:"+r.natsPassword+"@", 1)
		r.master = secret.NewMasterKey().Reveal()
		r.env = append(r.env, "NATS_URL="+r.url, "JETHOOK_MASTER_KEYS="+r.master)
		r.scenario(server.store, serve(t, r.env...), serve(t, append(r.env, "JETHOOK_LOG_FORMAT=console")...), r.proxied(), r.tokened())
	})
	t.Run("with NATS inside", func(t *testing.T) {
		t.Parallel()
		r := newCanaryRun(t)
		port, data := freePort(t), t.TempDir()
		r.url = "nats://127.0.0.1:" + port
		r.env = append(r.env, "JETHOOK_NATS_LISTEN=127.0.0.1:"+port, "JETHOOK_DATA_DIR="+data)
		replica := serve(t, r.env...)
		keys, err := os.ReadFile(secret.KeyFile(data))
		r.must(err)
		lines := strings.Fields(string(keys))
		r.master = lines[len(lines)-1]
		r.env = append(r.env, "NATS_URL="+r.url)
		r.scenario(data, replica)
	})
}

func newCanaryRun(t *testing.T) *canaryRun {
	t.Helper()
	r := &canaryRun{T: t, out: map[string]*strings.Builder{}}
	for _, c := range r.table() {
		*c.text = rand.Text()
	}
	r.made = "" // by a command
	for password, encoded := range map[string]*string{r.basic: &r.basicEncoded, r.natsPassword: &r.natsEncoded, r.proxyPassword: &r.proxyEncoded} {
		*encoded = base64.StdEncoding.EncodeToString([]byte("jethook:" + password))
	}
	body := func() string { return strings.TrimPrefix(signature.NewSecret().Reveal(), "whsec_") }
	r.signing, r.overlap = body(), body()
	r.far = httptest.NewServer(r)
	t.Cleanup(r.far.Close)
	r.to = newCollector(t)
	r.env = append(environment(trial...), "JETHOOK_LOG_LEVEL=trace", "CANARY_PASSWORD="+r.basic, "JETHOOK_NOTIFY_AFTER=100ms",
		"OTEL_EXPORTER_OTLP_ENDPOINT="+r.to.URL, "OTEL_EXPORTER_OTLP_HEADERS=authorization="+r.exporter,
		"JETHOOK_SMTP_URL=smtp://jethook:"+r.smtpPassword+"@127.0.0.1:"+freePort(t), "JETHOOK_SMTP_FROM=jethook@example.com")
	return r
}

// record notes what came out at a place.
func (r *canaryRun) record(place string, text ...string) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.out[place] == nil {
		r.out[place] = &strings.Builder{}
	}
	r.out[place].WriteString(strings.Join(text, "\n") + "\n")
}

func (r *canaryRun) seen(place, text string) bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.out[place] != nil && strings.Contains(r.out[place].String(), text)
}

// ServeHTTP is the far side: an authorization server, and receivers that repeat
// in their answers what they were sent to keep to themselves.
func (r *canaryRun) ServeHTTP(w http.ResponseWriter, req *http.Request) {
	body, _ := io.ReadAll(req.Body) // what is missing is not seen
	user, password, _ := req.BasicAuth()
	r.record(onWire, req.URL.String(), fmt.Sprint(req.Header), user, password, string(body))
	if req.URL.Path == "/token" {
		w.Header().Set("Content-Type", "application/json")
		fmt.Fprintf(w, `{"access_token": %q, "token_type": "Bearer", "expires_in": 3600}`, r.accessToken)
		return
	}
	if req.URL.Path == "/"+r.slack {
		return
	}
	w.Header().Set("X-Answer", r.answerHeader)
	w.WriteHeader(map[string]int{"/good": http.StatusOK, "/flaky": saysNothing, "/down": http.StatusServiceUnavailable, "/refusing": http.StatusBadRequest}[req.URL.Path])
	fmt.Fprintf(w, "%s %q %q %q", r.answer, req.Header.Get("X-Api-Key"), req.URL.RawQuery, req.Header.Get("Authorization"))
}

// look compares what came out with the table.
func (r *canaryRun) look() {
	all := []string{inLog, inMetrics, inCommand, whenAsked, inLetter, inStream, inWord, inBucket, onDisk, onWire, inTraces}
	for _, place := range all {
		if r.out[place] == nil || r.out[place].Len() < 100 {
			r.Errorf("nothing came out in %s: this shows little", place)
		}
	}
	for _, c := range r.table() {
		for _, place := range all {
			allowed := slices.Contains(c.places, place)
			if *c.text == "" {
				r.Errorf("%s was not planted", c.what)
			} else if seen := r.seen(place, *c.text); seen != allowed {
				r.Errorf("%s: in %s it is %v, want %v%s", c.what, place, seen, allowed, r.where(place, *c.text, seen))
			}
		}
	}
}

// where quotes what stands around a canary.
func (r *canaryRun) where(place, text string, seen bool) string {
	if !seen {
		return ""
	}
	all := r.out[place].String()
	i := strings.Index(all, text)
	return fmt.Sprintf(": %q", all[max(0, i-150):min(len(all), i+len(text)+30)])
}

func (r *canaryRun) must(err error) {
	r.Helper()
	if err != nil {
		r.Fatal(err)
	}
}
