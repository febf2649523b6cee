package endpoint

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"reflect"
	"runtime"
	"strings"
	"sync"
	"testing"
	"time"
	"unsafe"

	"github.com/rs/zerolog"

	"jethook/pkg/retry"
	"jethook/pkg/secret"
)

// fullDocument sets every field to something other than its default.
func fullDocument() Document {
	d := testDocument()
	d.Description = "Ünïcode"
	d.Contact = &Contact{Email: []string{"ops@example.com", "on-call@example.com"}, Slack: "https://hooks.example.com/services/CANARY-SLACK"}
	d.Secrets = secrets(testSecret, testPrivateKey)
	d.Secrets[1].ExpiresAt = time.Date(2030, 1, 2, 3, 4, 5, 6, time.UTC)
	d.Signing = SigningV1a
	d.ExtraSignatures = []ExtraSignature{{Header: "X-Hub-Signature-256", Secret: "CANARY-HUB", Over: "{timestamp}.{body}", Encoding: EncodingBase64, Value: "t={timestamp},v1={signature}"}}
	d.Auth = &Auth{OAuth2: &OAuth2{TokenURL: "https://auth.example.com/token", ClientID: "jethook", ClientSecret: "CANARY-CLIENT", Scopes: []string{"a", "b"}, Audience: "crm"}}
	d.TLS = &TLS{Cert: "file:cert.pem", Key: "file:key.pem", CA: "file:ca.pem"}
	d.MaxBody = 1 << 20
	d.Timeout = Duration(2500 * time.Millisecond)
	d.Retry = retry.Policy{Schedule: []time.Duration{5 * time.Second, 5 * time.Minute}, Jitter: retry.JitterEqual}
	d.RetryOn = []int{404, 409}
	d.ExpireAfter = Duration(6 * day)
	d.DisableAfter = Duration(time.Hour)
	d.RateLimit = &RateLimit{PerSecond: 0.5, Burst: 3}
	d.MaxInFlight = 3
	d.Headers = map[string]string{"X-Env": "prod", "x-api-key": "CANARY-HEADER"}
	d.Lane = "gold"
	d.Ordered, d.OnFailure, d.OrderedFrom, d.EventsFrom = true, OnFailureSkip, 42, 43
	d.Paused = true
	d.PausedAt, d.AvailableSince = time.Date(2026, 1, 2, 3, 4, 5, 7, time.UTC), time.Date(2026, 1, 2, 3, 4, 5, 8, time.UTC)
	d.MadeAt = time.Date(2026, 1, 2, 3, 4, 5, 9, time.UTC)
	d.Disabled = &Disabled{Reason: "410 Gone", At: time.Date(2026, 1, 2, 3, 4, 5, 6, time.UTC)}
	return d
}

func TestFullDocumentIsFull(t *testing.T) {
	full, defaults := reflect.ValueOf(fullDocument()), reflect.ValueOf(NewDocument())
	for i := range full.NumField() {
		name := full.Type().Field(i).Name
		if name != "KeepPaused" && reflect.DeepEqual(full.Field(i).Interface(), defaults.Field(i).Interface()) { // which is a file's alone
			t.Errorf("%s has its default", name)
		}
	}
}

func mustEncode(t testing.TB, d Document) []byte {
	t.Helper()
	data, err := Encode(d)
	if err != nil {
		t.Fatal(err)
	}
	return data
}

func TestEncodeDecode(t *testing.T) {
	exponential := testDocument()
	exponential.Retry = retry.Policy{Base: time.Second, Factor: 1.5, MaxDelay: time.Hour, MaxAttempts: 3, Jitter: retry.JitterNone}
	none := testDocument()
	none.Signing = SigningNone
	all := map[string]Document{"small": testDocument(), "full": fullDocument(), "exponential": exponential, "unsigned": none}
	for _, auth := range authKinds {
		all[auth] = withCredentials(t, testDocument(), auth)
	}
	for name, d := range all {
		got, err := Decode(mustEncode(t, d), Rules{})
		if err != nil {
			t.Errorf("%s: %v", name, err)
		}
		if !reflect.DeepEqual(got, d) {
			t.Errorf("%s: got back\n%s, want\n%s", name, mustEncode(t, got), mustEncode(t, d))
		}
	}
}

func TestEncodeIsReadable(t *testing.T) {
	const want = `{"tenant":"acme","id":"crm","url":"https://crm.example.com/hooks","events":["order.*"],"signing":"v1",` +
		`"timeout":"15s","retry":{"base":"30s","factor":2,"max_delay":"4h","max_attempts":16,"jitter":"full"},` +
		`"expire_after":"72h","disable_after":"120h","max_in_flight":64,"lane":"default"}`
	if got := string(mustEncode(t, testDocument())); got != want {
		t.Errorf("got  %s\nwant %s", got, want)
	}
}

func TestDecodeFillsDefaults(t *testing.T) {
	d, err := Decode([]byte(`{"tenant":"acme","id":"crm","url":"https://crm.example.com/hooks","events":["order.*"]}`), Rules{})
	if err != nil || !reflect.DeepEqual(d, testDocument()) {
		t.Errorf("got %s, %v", mustEncode(t, d), err)
	}
}

func TestDecodeRefuses(t *testing.T) {
	valid := string(mustEncode(t, testDocument()))
	for name, tt := range map[string]struct{ data, want string }{
		"nothing":       {"", "EOF"},
		"no JSON":       {"tenant: acme", "invalid"},
		"a list":        {"[]", "cannot unmarshal array"},
		"null":          {"null", "tenant: is required"},
		"unknown field": {strings.Replace(valid, `"lane"`, `"line"`, 1), `unknown field "line"`},
		"unknown retry": {strings.Replace(valid, `"base"`, `"bass"`, 1), `unknown field "bass"`},
		"wrong type":    {strings.Replace(valid, `64`, `"64"`, 1), "cannot unmarshal string"},
		"bare duration": {strings.Replace(valid, `"15s"`, `"15"`, 1), "with a unit"},
		"two":           {valid + valid, "followed by something else"},
		"invalid":       {strings.Replace(valid, `"crm"`, `"CRM"`, 1), "id: "},
		"secret":        {strings.Replace(valid, `"signing"`, `"secrets":[7],"signing"`, 1), "must be a string, or {secret, expires_at}"},
		"expiry":        {strings.Replace(valid, `"signing"`, `"secrets":[{"secret":"CANARY","expires_at":"soon"}],"signing"`, 1), "with a time such as"},
		"secret field":  {strings.Replace(valid, `"signing"`, `"secrets":[{"key":"CANARY"}],"signing"`, 1), "must be a string, or {secret, expires_at}"},
		"unknown auth":  {strings.Replace(valid, `"signing"`, `"auth":{"digest":{}},"signing"`, 1), `unknown field "digest"`},
		"two auths":     {strings.Replace(valid, `"signing"`, `"auth":{"bearer":"a","basic":{"user":"u","password":"p"}},"signing"`, 1), "auth: must be one of"},
		"both retries":  {strings.Replace(valid, `"base"`, `"schedule":["1s"],"base"`, 1), "retry.base: must be left out"},
	} {
		if _, err := Decode([]byte(tt.data), Rules{}); err == nil || !strings.Contains(err.Error(), tt.want) || strings.Contains(err.Error(), "CANARY") {
			t.Errorf("%s: got %v, want an error with %q", name, err, tt.want)
		}
	}
}

// What a person or a log could see of a document must not hold its secrets.
func TestDocumentHidesSecrets(t *testing.T) {
	d := fullDocument()
	d.URL += "?token=CANARY-QUERY"
	e, err := Compile(d)
	if err != nil {
		t.Fatal(err)
	}
	var out bytes.Buffer
	log := zerolog.New(&out)
	given := []any{d, &d, []Document{d}, e}
	for _, auth := range authKinds {
		d := withCredentials(t, testDocument(), auth)
		shown, err := json.Marshal(d)
		if err != nil || strings.Count(string(shown), `"***"`) != 9 {
			t.Errorf("JSON for people is %s, %v; want 9 secrets hidden", shown, err)
		}
		out.Write(shown)
		e, err := Compile(d)
		if err != nil {
			t.Fatal(err)
		}
		given = append(given, d, d.Auth, *d.Auth, d.Secrets, d.ExtraSignatures, d.TLS, *d.TLS, parsed(t, e), struct{ A, B any }{d.Auth, d.TLS},
			d.Auth.Basic, d.Auth.OAuth2, toWire(d).Auth)
	}
	for _, v := range given {
		for _, verb := range []string{"%v", "%+v", "%#v", "%s", "%q", "%d", "%x"} {
			fmt.Fprintf(&out, verb+"\n", v)
		}
	}
	log.Info().Interface("d", d).Any("p", &d).Object("o", d).Any("e", e).Send()
	// Nothing in it is random but the certificates' base64, which has neither - nor _.
	for _, canary := range append(canaries(t), "CANARY-", "whsec_", "whsk_") {
		if strings.Contains(out.String(), canary) {
			t.Errorf("the output holds %q:\n%s", canary, out.String())
		}
	}

	shown, err := json.Marshal(d)
	if err != nil {
		t.Fatal(err)
	}
	if !strings.Contains(string(shown), `"secrets":["***",{"secret":"***","expires_at":"2030-01-02T03:04:05.000000006Z"}]`) || strings.Contains(string(shown), "whs") || strings.Contains(string(shown), "CANARY-") {
		t.Errorf("JSON for people is %s", shown)
	}
}

func FuzzDocumentJSON(f *testing.F) {
	f.Add(mustEncode(f, testDocument()))
	f.Add(mustEncode(f, fullDocument()))
	f.Add([]byte(`{"retry":null,"headers":{"":""},"secrets":[null]}`))
	for _, auth := range authKinds {
		f.Add(mustEncode(f, withCredentials(f, testDocument(), auth)))
	}
	sealed, err := seal(ringOf(f, oldKey).Sealer(), withCredentials(f, testDocument(), "bearer"))
	if err != nil {
		f.Fatal(err)
	}
	f.Add(mustEncode(f, sealed))
	ring := ringOf(f, oldKey)
	f.Fuzz(func(t *testing.T, data []byte) {
		d, err := Decode(data, Rules{AllowHTTP: true})
		if err != nil {
			return
		}
		if _, err := Compile(d); err != nil {
			t.Fatalf("a valid document does not compile: %v", err)
		}
		again, err := Decode(mustEncode(t, d), Rules{AllowHTTP: true})
		if err != nil {
			t.Fatalf("what Encode wrote is refused: %v", err)
		}
		if shown, err := json.Marshal(d); err != nil {
			t.Fatalf("it cannot be shown: %s, %v", shown, err)
		}
		if e, err := compile(again.clone(), &opener{ring, zerolog.Nop()}); err != nil {
			t.Fatalf("with keys it does not compile: %v", err)
		} else if _, err := e.Parsed(); err != nil && !errors.Is(err, ErrLocked) {
			t.Fatalf("got %v", err)
		}
		if !bytes.Equal(mustEncode(t, again), mustEncode(t, d)) {
			t.Fatalf("got back %s, want %s", mustEncode(t, again), mustEncode(t, d))
		}
	})
}

func parsed(t *testing.T, e *Endpoint) *Parsed {
	t.Helper()
	p, err := e.Parsed()
	if err != nil {
		t.Error(err)
		p = &Parsed{}
	}
	return p
}

func TestCompile(t *testing.T) {
	e, err := Compile(fullDocument())
	if err != nil {
		t.Fatal(err)
	}
	p := parsed(t, e)
	if e.Name() != "acme/crm" || e.Tenant != "acme" || e.ID != "crm" || p.Target.Host != "crm.example.com" {
		t.Errorf("got %s (%s, %s) at %s", e.Name(), e.Tenant, e.ID, p.Target.Host)
	}
	if keys := p.Keys(time.Now()); len(keys) != 2 || keys[0].Version() != "v1" || keys[1].Version() != "v1a" {
		t.Errorf("got keys %v", keys)
	}
	if got := p.Header.Get("X-Api-Key"); got != "CANARY-HEADER" || len(p.Header) != 2 {
		t.Errorf("got %d headers", len(p.Header))
	}
	for _, s := range []secret.Secret{"CANARY", ""} {
		d := testDocument()
		d.Secrets = secrets(s)
		if _, err := Compile(d); err == nil || strings.Contains(err.Error(), "CANARY") {
			t.Errorf("secret %q: got %v, want an error without it", s.Reveal(), err)
		}
	}
	d := testDocument()
	d.URL = "https://example.com/%zz?CANARY"
	if _, err := Compile(d); err == nil || strings.Contains(err.Error(), "CANARY") {
		t.Errorf("got %v, want an error without the URL", err)
	}
}

// A secret signs until it expires, and no request goes without a signature for it.
func TestKeysExpire(t *testing.T) {
	d := testDocument()
	d.Secrets = secrets(testSecret, testSecret2, testPrivateKey)
	at := time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)
	d.Secrets[1].ExpiresAt, d.Secrets[2].ExpiresAt = at, at.Add(time.Hour)
	e, err := Compile(d)
	if err != nil {
		t.Fatal(err)
	}
	for now, want := range map[time.Time]string{
		at.Add(-1): "v1 v1 v1a", at: "v1 v1a", at.Add(time.Hour - 1): "v1 v1a", at.Add(time.Hour): "v1", at.Add(24 * 365 * time.Hour): "v1",
	} {
		var versions []string
		for _, k := range parsed(t, e).Keys(now) {
			versions = append(versions, k.Version())
		}
		if got := strings.Join(versions, " "); got != want {
			t.Errorf("at %s: %s, want %s", now, got, want)
		}
		for _, s := range d.Secrets {
			if s.Expired(now) != (!s.ExpiresAt.IsZero() && !now.Before(s.ExpiresAt)) {
				t.Errorf("at %s, one that ends at %s counts otherwise", now, s.ExpiresAt)
			}
		}
	}
}

// What requests are made of is parsed once while it is in use, also by many at a
// time, and takes no memory while it is not.
func TestParsedIsForgotten(t *testing.T) {
	e, err := Compile(fullDocument())
	if err != nil {
		t.Fatal(err)
	}
	var wg sync.WaitGroup
	first := parsed(t, e)
	for range 8 {
		wg.Go(func() {
			if parsed(t, e) != first {
				t.Error("parsed twice")
			}
		})
	}
	wg.Wait()
	runtime.GC()
	if parsed(t, e) != first {
		t.Error("parsed again while it was in use")
	}
	host := first.Target.Host
	runtime.GC()
	if e.parsed.Value() != nil {
		t.Error("kept while nobody used it")
	}
	if again := parsed(t, e); again.Target.Host != host || len(again.keys) != 2 || len(again.Header) != 2 {
		t.Errorf("parsed again: %+v", again)
	}
}

// An endpoint is its document, with patterns and secrets in places of its own.
func TestCompileLeavesTheDocumentAlone(t *testing.T) {
	for _, events := range [][]string{{"a.b"}, {"a.b", ">", "c"}} {
		d := fullDocument()
		d.Events = events
		given, want := d.clone(), d.clone()
		e, err := Compile(given)
		if err != nil {
			t.Fatal(err)
		}
		if !reflect.DeepEqual(*e.Document, want) || e.Name() != want.Name() {
			t.Errorf("compiled is %#v", e.Events)
		}
		given.Events[0], given.Secrets[0].Secret = "other", "other"
		if !reflect.DeepEqual(*e.Document, want) {
			t.Error("the endpoint changes with the document that it was made from")
		}
	}
}

// A connection to a receiver keeps the scheme of the address that it was made for,
// and must not keep with it what an endpoint had that is gone.
func TestNoSecretsAreKeptWithAScheme(t *testing.T) {
	e, err := Compile(fullDocument())
	if err != nil {
		t.Fatal(err)
	}
	if scheme := parsed(t, e).Target.Scheme; scheme != "https" || unsafe.StringData(scheme) == unsafe.StringData(e.URL) {
		t.Errorf("%q is a part of the endpoint's URL", scheme)
	}
}

// Go's garbage collector looks at pieces of memory of up to 512 bytes together, and
// at larger ones each for itself. There are as many as there are endpoints.
func TestEndpointsAreSmallPieces(t *testing.T) {
	if document, e := unsafe.Sizeof(Document{}), unsafe.Sizeof(Endpoint{}); document > 512 || e > 512 {
		t.Errorf("a document has %d bytes and an endpoint %d", document, e)
	}
}

func TestUnavailable(t *testing.T) {
	for _, tt := range []struct {
		paused   bool
		disabled *Disabled
		want     string
	}{{false, nil, ""}, {true, nil, ReasonPaused}, {false, &Disabled{}, ReasonDisabled}, {true, &Disabled{}, ReasonDisabled}} {
		d := testDocument()
		d.Paused, d.Disabled = tt.paused, tt.disabled
		e, err := Compile(d)
		if err != nil {
			t.Fatal(err)
		}
		if reason, unavailable := e.Unavailable(); reason != tt.want || unavailable != (tt.want != "") {
			t.Errorf("paused %v, disabled %v: got %q, %v", tt.paused, tt.disabled != nil, reason, unavailable)
		}
	}
}

// What the bucket holds of credentials is spelled as it always was, and they go to
// JSON in no other way.
func TestCredentialsAreStoredAsText(t *testing.T) {
	want := map[string]string{
		"basic":  `"auth":{"basic":{"user":"jethook","password":"CANARY-PASSWORD"}}`,
		"bearer": `"auth":{"bearer":"CANARY-BEARER"}`,
		"oauth2": `"auth":{"oauth2":{"token_url":"https://auth.example.com/token","client_id":"jethook","client_secret":"CANARY-CLIENT","scopes":["hooks:write","b"],"audience":"https://crm.example.com"}}`,
	}
	for _, auth := range authKinds {
		d := withCredentials(t, testDocument(), auth)
		stored := string(mustEncode(t, d))
		for _, part := range []string{want[auth], `"secrets":["` + testSecret + `","` + testPrivateKey + `"]`,
			`"extra_signatures":[{"header":"x-hub-signature-256","secret":"CANARY-HUB","value":"sha256={signature}"},{"header":"X-Shop","secret":"CANARY-SHOP","over":"{id}.{timestamp}.{body}","encoding":"base64"}]`,
			`"key":"-----BEGIN PRIVATE KEY-----`} {
			if !strings.Contains(stored, part) {
				t.Errorf("stored is %s, without %s", stored, part)
			}
		}
		for _, part := range []any{d.Auth, d.TLS, d.ExtraSignatures, d.Secrets} {
			shown, err := json.Marshal(part)
			if err != nil {
				t.Error(err)
			}
			// The certificate's base64 has none of - _ and space.
			for _, of := range []string{"CANARY-", "whsec_", "whsk_", "PRIVATE KEY"} {
				if strings.Contains(string(shown), of) {
					t.Errorf("beside a document it is %s", shown)
				}
			}
		}
	}
}
