package endpoint

import (
	"bytes"
	"encoding/json"
	"fmt"
	"reflect"
	"runtime"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/rs/zerolog"

	"jethook/pkg/retry"
	"jethook/pkg/signature"
)

// fullDocument sets every field to something other than its default.
func fullDocument() Document {
	d := testDocument()
	d.Description = "Ünïcode"
	d.Secrets = secrets(testSecret, testPrivateKey)
	d.Signing = SigningV1a
	d.Timeout = Duration(2500 * time.Millisecond)
	d.Retry = retry.Policy{Schedule: []time.Duration{5 * time.Second, 5 * time.Minute}, Jitter: retry.JitterEqual}
	d.RetryOn = []int{404, 409}
	d.ExpireAfter = Duration(6 * day)
	d.DisableAfter = Duration(time.Hour)
	d.RateLimit = &RateLimit{PerSecond: 0.5, Burst: 3}
	d.MaxInFlight = 3
	d.Headers = map[string]string{"X-Env": "prod", "authorization": "Bearer CANARY-HEADER"}
	d.Lane = "gold"
	d.Ordered, d.OnFailure, d.OrderedFrom = true, OnFailureSkip, 42
	d.Paused = true
	d.Disabled = &Disabled{Reason: "410 Gone", At: time.Date(2026, 1, 2, 3, 4, 5, 6, time.UTC)}
	return d
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
	for name, d := range map[string]Document{"small": testDocument(), "full": fullDocument(), "exponential": exponential, "unsigned": none} {
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
		"both retries":  {strings.Replace(valid, `"base"`, `"schedule":["1s"],"base"`, 1), "retry.base: must be left out"},
	} {
		if _, err := Decode([]byte(tt.data), Rules{}); err == nil || !strings.Contains(err.Error(), tt.want) {
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
	for _, v := range []any{d, &d, []Document{d}, e} {
		for _, verb := range []string{"%v", "%+v", "%#v", "%s", "%q", "%d", "%x"} {
			fmt.Fprintf(&out, verb+"\n", v)
		}
	}
	log.Info().Interface("d", d).Any("p", &d).Object("o", d).Any("e", e).Send()
	for _, canary := range []string{testSecret[6:], testPrivateKey[5:], "CANARY", "whs"} {
		if strings.Contains(out.String(), canary) {
			t.Errorf("the output holds %q:\n%s", canary, out.String())
		}
	}

	shown, err := json.Marshal(d)
	if err != nil {
		t.Fatal(err)
	}
	if !strings.Contains(string(shown), `"secrets":["***","***"]`) || strings.Contains(string(shown), "whs") {
		t.Errorf("JSON for people is %s", shown)
	}
}

func FuzzDocumentJSON(f *testing.F) {
	f.Add(mustEncode(f, testDocument()))
	f.Add(mustEncode(f, fullDocument()))
	f.Add([]byte(`{"retry":null,"headers":{"":""},"secrets":[null]}`))
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
		if !bytes.Equal(mustEncode(t, again), mustEncode(t, d)) {
			t.Fatalf("got back %s, want %s", mustEncode(t, again), mustEncode(t, d))
		}
	})
}

func TestCompile(t *testing.T) {
	e, err := Compile(fullDocument())
	if err != nil {
		t.Fatal(err)
	}
	if e.Name() != "acme/crm" || e.Tenant != "acme" || e.ID != "crm" || e.Parsed().Target.Host != "crm.example.com" {
		t.Errorf("got %s (%s, %s) at %s", e.Name(), e.Tenant, e.ID, e.Parsed().Target.Host)
	}
	if len(e.Parsed().Keys) != 2 || e.Parsed().Keys[0].Version() != "v1" || e.Parsed().Keys[1].Version() != "v1a" {
		t.Errorf("got keys %v", e.Parsed().Keys)
	}
	if got := e.Parsed().Header.Get("Authorization"); got != "Bearer CANARY-HEADER" || len(e.Parsed().Header) != 2 {
		t.Errorf("got %d headers", len(e.Parsed().Header))
	}
	for _, secret := range []signature.Secret{"CANARY", ""} {
		d := testDocument()
		d.Secrets = []signature.Secret{secret}
		if _, err := Compile(d); err == nil || strings.Contains(err.Error(), "CANARY") {
			t.Errorf("secret %q: got %v, want an error without it", secret.Reveal(), err)
		}
	}
	d := testDocument()
	d.URL = "https://example.com/%zz?CANARY"
	if _, err := Compile(d); err == nil || strings.Contains(err.Error(), "CANARY") {
		t.Errorf("got %v, want an error without the URL", err)
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
	first := e.Parsed()
	for range 8 {
		wg.Go(func() {
			if e.Parsed() != first {
				t.Error("parsed twice")
			}
		})
	}
	wg.Wait()
	runtime.GC()
	if e.Parsed() != first {
		t.Error("parsed again while it was in use")
	}
	host := first.Target.Host
	runtime.GC()
	if e.parsed.Value() != nil {
		t.Error("kept while nobody used it")
	}
	if again := e.Parsed(); again.Target.Host != host || len(again.Keys) != 2 || len(again.Header) != 2 {
		t.Errorf("parsed again: %+v", again)
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
