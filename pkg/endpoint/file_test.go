package endpoint

import (
	"errors"
	"fmt"
	"reflect"
	"slices"
	"strings"
	"testing"
	"time"

	"jethook/pkg/retry"
	"jethook/pkg/secret"
)

const fullFile = `# all fields
endpoints:
  - tenant: acme
    id: crm
    url: https://crm.example.com/hooks
    events: ["order.*", "invoice.paid"]
    description: optional text
    contact: {email: [ops@example.com, b@example.com], slack: https://hooks.example.com/services/T0/B0/x}
    secrets:
    - ` + testSecret + `
    - {secret: ` + testSecret2 + `, expires_at: 2030-01-02T03:04:05Z}
    signing: v1
    extra_signatures:
    - {header: X-Hub-Signature-256, secret: hub, value: "sha256={signature}"}
    - {header: X-Shop, secret: "shop", over: "{id}.{body}", encoding: base64}
    auth:
      oauth2: {token_url: https://auth.example.com/t, client_id: c, client_secret: s, scopes: [a, b], audience: crm}
    tls: {cert: "file:cert.pem", key: file:key.pem, ca: file:ca.pem}
    max_body: 65536
    timeout: 10s
    retry: {base: 10s, factor: 3, max_delay: 2h30m, max_attempts: 5, jitter: equal}
    retry_on: [404]
    expire_after: 6d
    disable_after: 30d
    rate_limit: {per_second: 50, burst: 100}
    max_in_flight: 8
    headers: {X-Env: prod}
    lane: gold
    ordered: true
    on_failure: skip
    paused: true
  - tenant: acme
    id: small
    url: https://example.com
    events:
    - ">"
    retry:
      schedule: [5s, 5m, 30m]
lanes:
  - id: gold
    filters: ["*.auth.>", acme.order.created]
    weight: 4
  - {id: plain}
`

func TestParseFile(t *testing.T) {
	full := testDocument()
	full.Events = []string{"order.*", "invoice.paid"}
	full.Description = "optional text"
	full.Contact = &Contact{Email: []string{"ops@example.com", "b@example.com"}, Slack: "https://hooks.example.com/services/T0/B0/x"}
	full.Secrets = secrets(testSecret, testSecret2)
	full.Secrets[1].ExpiresAt = time.Date(2030, 1, 2, 3, 4, 5, 0, time.UTC)
	full.ExtraSignatures = []ExtraSignature{
		{Header: "X-Hub-Signature-256", Secret: "hub", Value: "sha256={signature}"},
		{Header: "X-Shop", Secret: "shop", Over: "{id}.{body}", Encoding: EncodingBase64},
	}
	full.Auth = &Auth{OAuth2: &OAuth2{TokenURL: "https://auth.example.com/t", ClientID: "c", ClientSecret: "s", Scopes: []string{"a", "b"}, Audience: "crm"}}
	full.TLS = &TLS{Cert: "file:cert.pem", Key: "file:key.pem", CA: "file:ca.pem"}
	full.MaxBody = 65536
	full.Timeout = Duration(10 * time.Second)
	full.Retry = retry.Policy{Base: 10 * time.Second, Factor: 3, MaxDelay: 150 * time.Minute, MaxAttempts: 5, Jitter: retry.JitterEqual}
	full.RetryOn = []int{404}
	full.ExpireAfter = Duration(6 * day)
	full.DisableAfter = Duration(30 * day)
	full.RateLimit = &RateLimit{PerSecond: 50, Burst: 100}
	full.MaxInFlight = 8
	full.Headers = map[string]string{"X-Env": "prod"}
	full.Lane = "gold"
	full.Ordered, full.OnFailure = true, OnFailureSkip
	full.Paused = true
	small := testDocument()
	small.ID, small.URL, small.Events = "small", "https://example.com", []string{">"}
	small.KeepPaused = true
	small.Retry = retry.Policy{Schedule: []time.Duration{5 * time.Second, 5 * time.Minute, 30 * time.Minute}}

	file, err := ParseFile("endpoints.yaml", []byte(fullFile), Rules{})
	if err != nil {
		t.Fatal(err)
	}
	documents := file.Endpoints
	if want := []Document{full, small}; !reflect.DeepEqual(documents, want) {
		t.Errorf("got\n%s\nwant\n%s", encodeAll(t, documents), encodeAll(t, want))
	}
	lanes := []Lane{{ID: "gold", Filters: []string{"*.auth.>", "acme.order.created"}, Weight: 4}, {ID: "plain", Weight: 1}}
	if !reflect.DeepEqual(file.Lanes, lanes) {
		t.Errorf("got the lanes %+v, want %+v", file.Lanes, lanes)
	}
	crlf, err := ParseFile("endpoints.yaml", []byte(strings.ReplaceAll(fullFile, "\n", "\r\n")), Rules{})
	if err != nil || !reflect.DeepEqual(crlf, file) {
		t.Errorf("with CRLF got %s, %v", encodeAll(t, crlf.Endpoints), err)
	}
}

func encodeAll(t *testing.T, documents []Document) string {
	var lines []string
	for _, d := range documents {
		lines = append(lines, string(mustEncode(t, d)))
	}
	return strings.Join(lines, "\n")
}

// A document is the same in a file as in the bucket, whatever is in it.
func TestParseFileReadsJSON(t *testing.T) {
	all := []Document{fullDocument()}
	for _, auth := range authKinds {
		d := withCredentials(t, fullDocument(), auth)
		d.ID = auth
		all = append(all, d)
	}
	for i := range all {
		all[i].Disabled, all[i].OrderedFrom, all[i].EventsFrom, all[i].PausedAt, all[i].AvailableSince, all[i].MadeAt = nil, 0, 0, time.Time{}, time.Time{}, time.Time{}
	}
	data := `{"endpoints": [` + strings.ReplaceAll(encodeAll(t, all), "\n", ",") + "]}\n"
	file, err := ParseFile("endpoints.json", []byte(data), Rules{})
	if documents := file.Endpoints; err != nil || !reflect.DeepEqual(documents, all) {
		t.Errorf("got %s, %v, want\n%s", encodeAll(t, documents), err, data)
	}
}

func TestParseFileOfNoEndpoints(t *testing.T) {
	for _, data := range []string{"endpoints: []", "endpoints:", "endpoints: null", "---\nendpoints: []\n", "lanes: []", "lanes:"} {
		if file, err := ParseFile("f", []byte(data), Rules{}); err != nil || len(file.Endpoints)+len(file.Lanes) != 0 {
			t.Errorf("%q: got %+v, %v", data, file, err)
		}
	}
}

func TestParseFileFollowsAliases(t *testing.T) {
	file, err := ParseFile("f", []byte(`endpoints:
- {tenant: a, id: x, url: https://example.com, events: &all [">"], retry: &r {max_attempts: 3}}
- {tenant: a, id: y, url: https://example.com, events: *all, retry: *r}
`), Rules{})
	documents := file.Endpoints
	if err != nil || len(documents) != 2 {
		t.Fatalf("got %d documents, %v", len(documents), err)
	}
	if d := documents[1]; d.Retry.MaxAttempts != 3 || !slices.Equal(d.Events, []string{">"}) {
		t.Errorf("got %d attempts, events %q", d.Retry.MaxAttempts, d.Events)
	}
}

// valid is an endpoint in the form that the table below appends lines to.
const valid = "endpoints:\n- tenant: acme\n  id: crm\n  url: https://example.com\n  events: [a]\n"

// Each problem at its place. Lines added to valid begin at line 6.
func TestParseFileReportsPlaces(t *testing.T) {
	for _, tt := range []struct {
		name, data string
		want       []string
	}{
		{"empty", "", []string{`f:1:1: endpoints: is required: the list of endpoints`}},
		{"only a comment", "# nothing\n", []string{`f:1:1: endpoints: is required: the list of endpoints`}},
		{"text", "hello", []string{`f:1:1: must be a mapping of fields to values, not text`}},
		{"a list", "- a", []string{`f:1:1: must be a mapping of fields to values, not a list`}},
		{"no YAML", "endpoints: [\n", []string{`f:1:12: is not YAML: sequence end token ']' not found`}},
		{"a tab", "endpoints:\n\t- a: b\n", []string{`f:2:1: is not YAML: `}},
		{"two documents", "endpoints: []\n---\nendpoints: []\n", []string{`f:3:1: a file holds one YAML document`}},
		{"unknown root", "endpoint: []\n", []string{`f:1:1: endpoint: is not a field that jethook knows: did you mean endpoints?`}},
		{"mapping", "endpoints: {a: b}", []string{`f:1:12: endpoints: must be a list, not a mapping`}},
		{"item", "endpoints:\n- acme\n", []string{`f:2:3: endpoints[0]: must be an endpoint, a mapping of fields to values, not text`}},
		{"null item", "endpoints:\n- ~\n", []string{`f:2:3: endpoints[0]: must be an endpoint, a mapping of fields to values, not nothing`}},
		{"nothing given", "endpoints:\n  - description: x\n", []string{
			`f:2:5: endpoints[0].tenant: is required`, `f:2:5: endpoints[0].id: is required`,
			`f:2:5: endpoints[0].url: is required`, `f:2:5: endpoints[0].events: must list 1 to 64 patterns`}},
		{"unknown field", valid + "  timout: 3s\n", []string{`f:6:3: endpoints[0].timout: is not a field that jethook knows: did you mean timeout?`}},
		{"far from known", valid + "  'x y': 1\n", []string{`f:6:3: endpoints[0]."x y": is not a field that jethook knows`}},
		{"twice", valid + "  id: other\n", []string{`f:6:3: endpoints[0].id: is given twice, first at line 3`}},
		{"merge", valid + "  <<: {lane: x}\n", []string{`f:6:3: endpoints[0]: has a key that is not a plain name; merge keys (<<) are not supported`}},
		{"list key", valid + "  [a]: b\n", []string{`f:`}},
		{"dead alias", valid + "  lane: *nowhere\n", []string{`f:6:9: endpoints[0].lane: must be text, not an alias that leads nowhere`}},
		{"alias to itself", valid + "  retry_on: &a [*a]\n", []string{`f:6:17: endpoints[0].retry_on[0]: must be a whole number, not a list`}},
		{"tag", valid + "  lane: !!str x\n", []string{`f:6:9: endpoints[0].lane: must be text, not a value with a tag (!)`}},

		{"tenant", "endpoints:\n- tenant: Acme\n  id: crm\n  url: https://example.com\n  events: [a]\n", []string{`f:2:11: endpoints[0].tenant: "Acme" must be`}},
		{"number for text", "endpoints:\n- tenant: acme\n  id: 12\n  url: https://example.com\n  events: [a]\n", []string{`f:3:7: endpoints[0].id: must be text, not a number: put it in quotes`}},
		{"url", "endpoints:\n- tenant: acme\n  id: crm\n  url: ftp://example.com\n  events: [a]\n", []string{`f:4:8: endpoints[0].url: must begin with https://`}},
		{"events", "endpoints:\n- tenant: acme\n  id: crm\n  url: https://example.com\n  events:\n  - a\n  - b*\n", []string{`f:7:5: endpoints[0].events[1]: "b*": token`}},
		{"event for events", "endpoints:\n- tenant: acme\n  id: crm\n  url: https://example.com\n  events: a\n", []string{`f:5:11: endpoints[0].events: must be a list, not text`}},
		{"description", valid + "  description: [a]\n", []string{`f:6:16: endpoints[0].description: must be text, not a list`}},
		{"secret", valid + "  secrets:\n  - " + testSecret + "\n  - CANARY\n", []string{`f:8:5: endpoints[0].secrets[1]: a key must begin with whsec_`}},
		{"secret as number", valid + "  secrets: [1234]\n", []string{`f:6:13: endpoints[0].secrets[0]: must be text, not a number`}},
		{"signing", valid + "  signing: v3\n", []string{`f:6:12: endpoints[0].signing: must be v1, v1a or none, not "v3"`}},
		{"signing none", valid + "  secrets: [" + testSecret + "]\n  signing: none\n", []string{`f:6:12: endpoints[0].secrets: must be left out`}},
		{"timeout", valid + "  timeout: 15\n", []string{`f:6:12: endpoints[0].timeout: must be a duration with a unit`}},
		{"timeout too long", valid + "  timeout: 6m\n", []string{`f:6:12: endpoints[0].timeout: must be from 100ms to 5m, not 6m`}},
		{"retry", valid + "  retry: full\n", []string{`f:6:10: endpoints[0].retry: must be a mapping of fields to values, not text`}},
		{"retry.base", valid + "  retry:\n    factor: 2\n    base: 0s\n", []string{`f:8:11: endpoints[0].retry.base: must be from 1ms`}},
		{"retry.factor", valid + "  retry: {factor: x}\n", []string{`f:6:19: endpoints[0].retry.factor: must be a number, not text`}},
		{"retry.max_delay", valid + "  retry: {max_delay: 1}\n", []string{`f:6:22: endpoints[0].retry.max_delay: must be a duration with a unit`}},
		{"retry.max_attempts", valid + "  retry: {max_attempts: 1.5}\n", []string{`f:6:25: endpoints[0].retry.max_attempts: must be a whole number, not a number`}},
		{"retry.jitter", valid + "  retry: {jitter: half}\n", []string{`f:6:19: endpoints[0].retry.jitter: must be full, equal`}},
		{"retry.schedule", valid + "  retry: {schedule: [1s, 2]}\n", []string{`f:6:26: endpoints[0].retry.schedule[1]: must be a duration with a unit`}},
		{"retry both", valid + "  retry: {schedule: [1s], factor: 2}\n", []string{`f:6:35: endpoints[0].retry.factor: must be left out`}},
		{"retry unknown", valid + "  retry: {attempts: 2}\n", []string{`f:6:11: endpoints[0].retry.attempts: is not a field that jethook knows: did you mean max_attempts?`}},
		{"retry_on", valid + "  retry_on: [404, 503]\n", []string{`f:6:19: endpoints[0].retry_on[1]: must be a status from 400 to 499, not 503`}},
		{"retry_on text", valid + "  retry_on: ['404']\n", []string{`f:6:14: endpoints[0].retry_on[0]: must be a whole number, not text`}},
		{"expire_after", valid + "  expire_after: 31d\n", []string{`f:6:17: endpoints[0].expire_after: must be from 1s to 30d, not 31d`}},
		{"rate_limit", valid + "  rate_limit: 5\n", []string{`f:6:15: endpoints[0].rate_limit: must be a mapping`}},
		{"rate_limit.per_second", valid + "  rate_limit: {per_second: -1, burst: 1}\n", []string{`f:6:28: endpoints[0].rate_limit.per_second: must be more than 0`}},
		{"rate_limit.burst", valid + "  rate_limit: {per_second: 1}\n", []string{`f:6:15: endpoints[0].rate_limit.burst: must be from 1`}},
		{"max_in_flight", valid + "  max_in_flight: 0\n", []string{`f:6:18: endpoints[0].max_in_flight: must be from 1 to 10000, not 0`}},
		{"huge number", valid + "  max_in_flight: 18446744073709551615\n", []string{`f:6:18: endpoints[0].max_in_flight: must be a whole number of a sensible size`}},
		{"header name", valid + "  headers:\n    X-A: b\n    Host: c\n", []string{`f:8:5: endpoints[0].headers.Host: header Host is set by jethook`}},
		{"header value", valid + "  headers: {X: \"CANARY\\n\"}\n", []string{`f:6:13: endpoints[0].headers.X: value must be one line`}},
		{"header as number", valid + "  headers: {X: 1}\n", []string{`f:6:13: endpoints[0].headers.X: must be text, not a number: put it in quotes`}},
		{"header twice", valid + "  headers: {X: a, X: b}\n", []string{`f:6:19: endpoints[0].headers.X: is given twice, first at line 6`}},
		{"headers list", valid + "  headers: [X]\n", []string{`f:6:12: endpoints[0].headers: must be a mapping`}},
		{"lane", valid + "  lane: Gold\n", []string{`f:6:9: endpoints[0].lane: "Gold" must be`}},
		{"ordered", valid + "  ordered: yes\n", []string{`f:6:12: endpoints[0].ordered: must be true or false, not text`}},
		{"ordered_from", valid + "  ordered: true\n  ordered_from: 7\n", []string{"f:7:17: endpoints[0].ordered_from: is set by jethook itself: leave it out"}},
		{"ordered for long", valid + "  ordered: true\n  expire_after: 145h\n", []string{`f:7:17: endpoints[0].expire_after: must be at most 144h with ordered: true, not 145h`}},
		{"on_failure", valid + "  ordered: true\n  on_failure: stop\n", []string{`f:7:15: endpoints[0].on_failure: must be hold or skip, not "stop"`}},
		{"on_failure alone", valid + "  on_failure: hold\n", []string{`f:6:15: endpoints[0].on_failure: takes ordered: true`}},
		{"disable_after", valid + "  disable_after: 59s\n", []string{`f:6:18: endpoints[0].disable_after: must be from 1m to 365d, not 59s`}},
		{"paused", valid + "  paused: yes\n", []string{`f:6:11: endpoints[0].paused: must be true or false, not text`}},
		{"dates", valid + "  paused_at: 2026-01-01T00:00:00Z\n  available_since: 2026-01-01T00:00:00Z\n  made_at: 2026-01-01T00:00:00Z\n", []string{"f:6:14: endpoints[0].paused_at: is set by jethook itself: leave it out", "f:7:20: endpoints[0].available_since: is set by jethook itself: leave it out", "f:8:12: endpoints[0].made_at: is set by jethook itself: leave it out"}},
		{"disabled", valid + "  disabled: {reason: x}\n", []string{"f:6:13: endpoints[0].disabled: is set by jethook itself: leave it out, and use `jethook endpoint enable`"}},

		{"secret field", valid + "  secrets:\n  - {secret: " + testSecret + ", until: x}\n", []string{`f:7:`}},
		{"secret's end", valid + "  secrets: [" + testSecret + ", {secret: " + testSecret2 + ", expires_at: 2030-01-02}]\n", []string{`f:6:`}},
		{"secret sealed", valid + "  secrets: [sealed:v1:CANARY]\n", []string{`f:6:13: endpoints[0].secrets[0]: must be the secret itself, not what it is sealed as`}},
		{"all secrets end", valid + "  secrets: [{secret: " + testSecret + ", expires_at: 2030-01-02T03:04:05Z}]\n", []string{`f:6:12: endpoints[0].secrets: must have one without expires_at`}},
		{"many secrets", valid + "  secrets: [" + strings.Repeat("CANARY, ", 257) + "]\n", []string{`f:6:12: endpoints[0].secrets: is a list far longer than is allowed`}},
		{"secrets as text", valid + "  secrets: " + testSecret + "\n", []string{`f:6:12: endpoints[0].secrets: must be a list, not text`}},
		{"extra_signatures", valid + "  extra_signatures:\n  - {header: X-A, secret: CANARY}\n  - {header: Host, secret: CANARY, encoding: HEX}\n", []string{
			`f:8:14: endpoints[0].extra_signatures[1].header: header Host is set by`, `f:8:46: endpoints[0].extra_signatures[1].encoding: must be hex or base64`}},
		{"extra field", valid + "  extra_signatures: [{header: X-A, secret: CANARY, overr: x}]\n", []string{
			`f:6:52: endpoints[0].extra_signatures[0].overr: is not a field that jethook knows: did you mean over?`}},
		{"extra as text", valid + "  extra_signatures: [X-A]\n", []string{`f:6:22: endpoints[0].extra_signatures[0]: must be a mapping of fields to values, not text`}},
		{"auth", valid + "  auth: {bearer: CANARY, basic: {user: u, password: CANARY}}\n", []string{`f:6:9: endpoints[0].auth: must be one of basic, bearer and oauth2`}},
		{"auth unknown", valid + "  auth: {token: CANARY}\n", []string{`f:6:10: endpoints[0].auth.token: is not a field that jethook knows`}},
		{"auth as text", valid + "  auth: CANARY\n", []string{`f:6:9: endpoints[0].auth: must be a mapping of fields to values, not text`}},
		{"bearer", valid + "  auth: {bearer: \"CANARY\\n\"}\n", []string{`f:6:18: endpoints[0].auth.bearer: must be one line`}},
		{"bearer sealed", valid + "  auth: {bearer: sealed:v1:CANARY}\n", []string{`f:6:18: endpoints[0].auth.bearer: must be the secret itself`}},
		{"basic", valid + "  auth:\n    basic: {user: 'a:b', password: CANARY}\n", []string{`f:7:19: endpoints[0].auth.basic.user: must not have a colon`}},
		{"password as number", valid + "  auth: {basic: {user: a, password: 12345}}\n", []string{`f:6:37: endpoints[0].auth.basic.password: must be text, not a number`}},
		{"oauth2", valid + "  auth: {oauth2: {token_url: http://a, client_id: c, scopes: [a b], client_secret: CANARY}}\n", []string{
			`f:6:30: endpoints[0].auth.oauth2.token_url: must begin with https://`, `f:6:63: endpoints[0].auth.oauth2.scopes[0]: must be one word`}},
		{"contact", valid + "  contact: {email: [ops@example.com, Ops <ops@example.com>, ops@example.com], slack: http://example.com/CANARY}\n", []string{
			`f:6:38: endpoints[0].contact.email[1]: "Ops <ops@example.com>" must be an address alone, such as ops@example.com`,
			`f:6:61: endpoints[0].contact.email[2]: repeats contact.email[0]`,
			`f:6:86: endpoints[0].contact.slack: must begin with https://`}},
		{"no contact", valid + "  contact: {}\n", []string{`f:6:12: endpoints[0].contact: must have email, a list of addresses, or slack`}},
		{"contact as text", valid + "  contact: ops@example.com\n", []string{`f:6:12: endpoints[0].contact: must be a mapping of fields to values, not text`}},
		{"contact's field", valid + "  contact: {mail: [a@b.c]}\n", []string{`f:6:13: endpoints[0].contact.mail: is not a field that jethook knows: did you mean email?`}},
		{"email as text", valid + "  contact: {email: ops@example.com}\n", []string{`f:6:20: endpoints[0].contact.email: must be a list, not text`}},
		{"slack as list", valid + "  contact: {slack: [CANARY]}\n", []string{`f:6:20: endpoints[0].contact.slack: must be text, not a list`}},
		{"slack sealed", valid + "  contact: {slack: sealed:v1:CANARY}\n", []string{`f:6:20: endpoints[0].contact.slack: must be the secret itself`}},
		{"slack elsewhere", valid + "  contact: {slack: env:HOME}\n", []string{`f:6:20: endpoints[0].contact.slack: must be the value itself here, not where it is`}},
		{"tls", valid + "  tls: {cert: file:c}\n", []string{`f:6:8: endpoints[0].tls: needs cert and key both`}},
		{"tls key", valid + "  tls:\n    cert: file:c\n    key: CANARY\n", []string{`f:8:10: endpoints[0].tls.key: must be a private key in PEM`}},
		{"tls key sealed", valid + "  tls: {cert: file:c, key: sealed:v1:CANARY}\n", []string{`f:6:28: endpoints[0].tls.key: must be the secret itself`}},
		{"max_body", valid + "  max_body: 1MiB\n", []string{`f:6:13: endpoints[0].max_body: must be a whole number, not text`}},
		{"reference", valid + "  auth: {bearer: env:HOME}\n", []string{`f:6:18: endpoints[0].auth.bearer: must be the value itself here, not where it is`}},

		{"lane item", "lanes: [gold]", []string{`f:1:9: lanes[0]: must be a lane, a mapping of fields to values, not text`}},
		{"lane list", "lanes: {id: a}", []string{`f:1:8: lanes: must be a list, not a mapping`}},
		{"lane field", "lanes: [{id: a, filter: [a.b]}]", []string{`f:1:17: lanes[0].filter: is not a field that jethook knows: did you mean filters?`}},
		{"lane from", "lanes: [{id: a, from: 7}]", []string{`f:1:17: lanes[0].from: is not a field that jethook knows`}},
		{"lane id", "lanes:\n- id: default\n- filters: [a.b]\n", []string{`f:2:7: lanes[0].id: must not be "default"`, `f:3:3: lanes[1].id: is required`}},
		{"lane filters", "lanes: [{id: a, filters: [acme.>, 7]}]", []string{
			`f:1:35: lanes[0].filters[1]: must be text, not a number`}},
		{"lane filter", "lanes: [{id: a, filters: [acme.>, '*.b.>', Acme.b]}]", []string{
			`f:1:35: lanes[0].filters[1]: "*.b.>" and filters[0], "acme.>", cross`,
			`f:1:44: lanes[0].filters[2]: tenant "Acme" must be`}},
		{"lane weight", "lanes: [{id: a, weight: 101}]", []string{`f:1:25: lanes[0].weight: must be from 1 to 100, not 101`}},
		{"lane twice", "lanes:\n- {id: a}\n- {id: a}\n", []string{`f:3:8: lanes[1].id: lane a is at line 2 already`}},
		{"many lanes", "lanes: [" + strings.Join(many(17, func(i int) string { return fmt.Sprintf("{id: l%d}", i) }), ", ") + "]",
			[]string{`f:1:8: lanes: must be at most 16 lanes, not 17`}},

		{"all at once", valid + "  timeout: 1\n- tenant: acme\n  id: crm\n  url: x\n  evens: [a]\n", []string{
			`f:6:12: endpoints[0].timeout: must be a duration`, `f:7:3: endpoints[1].events: must list`,
			`f:8:7: endpoints[1].id: endpoint acme/crm is at line 3 already`,
			`f:9:8: endpoints[1].url: must begin with`, `f:10:3: endpoints[1].evens: is not a field`}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			file, err := ParseFile("f", []byte(tt.data), Rules{})
			var problems Problems
			if !errors.As(err, &problems) || file.Endpoints != nil || file.Lanes != nil {
				t.Fatalf("got %+v and %v, want Problems alone", file, err)
			}
			if lines := strings.Split(err.Error(), "\n"); !slices.EqualFunc(lines, tt.want, strings.HasPrefix) {
				t.Errorf("got\n%s\nwant\n%s", err, strings.Join(tt.want, "\n"))
			}
			if strings.Contains(err.Error(), "CANARY") {
				t.Errorf("the error repeats a secret: %v", err)
			}
		})
	}
}

// A syntax error anywhere in the file shows nothing of the file.
func TestParseFileAsksForASecretOfTheKind(t *testing.T) {
	for _, tt := range []struct {
		signing Signing
		secrets []secret.Secret
		wants   string // that they begin with, where there is none
	}{
		{SigningV1, nil, ""},
		{SigningV1a, nil, ""},
		{SigningV1, []secret.Secret{testSecret}, ""},
		{SigningV1a, []secret.Secret{testPrivateKey}, ""},
		{SigningV1, []secret.Secret{testSecret, testPrivateKey}, ""},
		{SigningV1a, []secret.Secret{testSecret, testPrivateKey}, ""},
		{SigningV1, []secret.Secret{testPrivateKey}, "whsec_"},
		{SigningV1a, []secret.Secret{testSecret, testSecret2}, "whsk_"},
	} {
		d := testDocument()
		d.Signing, d.Secrets = tt.signing, secrets(tt.secrets...)
		data := mustEncode(t, d)
		if _, err := Decode(data, Rules{}); err != nil {
			t.Errorf("stored with %s: %v", tt.signing, err)
		}
		_, err := ParseFile("f", fmt.Appendf(nil, "endpoints: [%s]", data), Rules{})
		if (err != nil) != (tt.wants != "") || err != nil && !strings.Contains(err.Error(), "endpoints[0].secrets: must have one that begins with "+tt.wants) {
			t.Errorf("%s with %d secrets: %v", tt.signing, len(tt.secrets), err)
		}
	}
}

func TestParseFileSyntaxErrorHidesSecrets(t *testing.T) {
	for _, data := range []string{
		"endpoints:\n- secrets: [CANARY\n", "secrets: CANARY: CANARY", "a: \"CANARY", "a: 'CANARY", "- *CANARY: x: y", "{CANARY, [}",
	} {
		_, err := ParseFile("f", []byte(data), Rules{})
		if err == nil || strings.Contains(err.Error(), "CANARY") {
			t.Errorf("%q: got %v, want an error without CANARY", data, err)
		}
	}
}

func FuzzParseFile(f *testing.F) {
	f.Add([]byte(fullFile))
	f.Add([]byte(valid + "  headers: {X: &a b}\n  lane: *a\n"))
	f.Add([]byte(`{"endpoints": [{"tenant": "a", "retry": {"schedule": ["1s"]}}]}`))
	f.Add([]byte(valid + "  auth: {basic: {user: u, password: env:HOME}}\n  secrets: [{secret: &s " + testSecret + ", expires_at: 2030-01-02T03:04:05+14:00}, *s]\n"))
	f.Add([]byte(valid + "  tls: {key: file:k, cert: |\n    -----BEGIN CERTIFICATE-----\n    }\n  extra_signatures: [{header: A, secret: 's', over: '{body}{'}]\n"))
	f.Add([]byte("endpoints: &a [*a, *a]"))
	f.Add([]byte(`{"lanes": [{"id": "gold", "filters": ["*.a.>", ">"], "weight": 0}, {"id": "gold"}]}`))
	f.Add([]byte("endpoints:\n- ? a\n  : b\n- !!map {}\n- |\n x"))
	f.Fuzz(func(t *testing.T, data []byte) {
		file, err := ParseFile("f", data, Rules{})
		if err == nil {
			for _, d := range file.Endpoints {
				if d.has(secret.Secret.Sealed) {
					t.Fatal("accepted what is sealed")
				}
				if _, err := Decode(mustEncode(t, d), Rules{}); err != nil {
					t.Fatalf("the bucket's reader refuses it: %v", err)
				}
				if err := d.Validate(Rules{}); err != nil {
					t.Fatalf("accepted an invalid document: %v", err)
				}
			}
			for _, l := range file.Lanes {
				if err := l.Validate(); err != nil {
					t.Fatalf("accepted an invalid lane: %v", err)
				}
			}
			return
		}
		var problems Problems
		if !errors.As(err, &problems) || len(problems) == 0 || file.Endpoints != nil || file.Lanes != nil {
			t.Fatalf("got %+v and %v", file, err)
		}
		lines := 1 + strings.Count(string(data), "\n") + strings.Count(string(data), "\r")
		for _, p := range problems {
			if p.File != "f" || p.Line < 1 || p.Line > lines+1 || p.Column < 1 || p.Message == "" {
				t.Fatalf("problem without a place in the file: %+v", p)
			}
		}
	})
}
