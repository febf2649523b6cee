package endpoint

import (
	"errors"
	"fmt"
	"math"
	"slices"
	"strings"
	"testing"
	"time"

	"jethook/pkg/secret"
	"jethook/pkg/signature"
)

func many[T any](n int, make func(i int) T) []T {
	list := []T{}
	for i := range n {
		list = append(list, make(i))
	}
	return list
}

func secrets(texts ...secret.Secret) []SigningSecret {
	list := make([]SigningSecret, len(texts))
	for i, text := range texts {
		list[i] = SigningSecret{Secret: text}
	}
	return list
}

func headers(n int) map[string]string {
	m := make(map[string]string)
	for i := range n {
		m[fmt.Sprintf("X-%d", i)] = "v"
	}
	return m
}

// expiring is secrets of which all but the first expire.
func expiring(texts ...secret.Secret) []SigningSecret {
	list := secrets(texts...)
	for i := range list[1:] {
		list[i+1].ExpiresAt = time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)
	}
	return list
}

func extra(i int) ExtraSignature {
	return ExtraSignature{Header: fmt.Sprintf("X-Signature-%d", i), Secret: "CANARY"}
}

func TestValidateAccepts(t *testing.T) {
	id, other := testIdentity(t, 0), testIdentity(t, 1)
	for name, change := range map[string]func(*Document){
		"as it is":            func(*Document) {},
		"most patterns":       func(d *Document) { d.Events = many(64, func(i int) string { return fmt.Sprintf("e%d", i) }) },
		"description":         func(d *Document) { d.Description = "Ünïcode,\n\ttwo lines" },
		"longest description": func(d *Document) { d.Description = strings.Repeat("ü", 1024) },
		"secrets of both":     func(d *Document) { d.Secrets = secrets(testSecret, testPrivateKey) },
		"v1a":                 func(d *Document) { d.Signing = SigningV1a },
		"none":                func(d *Document) { d.Signing = SigningNone },
		"shortest timeout":    func(d *Document) { d.Timeout = Duration(100 * time.Millisecond) },
		"longest timeout":     func(d *Document) { d.Timeout = Duration(5 * time.Minute) },
		"no retry":            func(d *Document) { d.Retry.MaxAttempts = 1 },
		"retry on":            func(d *Document) { d.RetryOn = []int{400, 404, 499} },
		"shortest wait":       func(d *Document) { d.ExpireAfter = Duration(time.Second) },
		"longest wait":        func(d *Document) { d.ExpireAfter = Duration(30 * day) },
		"soonest disabled":    func(d *Document) { d.DisableAfter = Duration(time.Minute) },
		"latest disabled":     func(d *Document) { d.DisableAfter = Duration(8760 * time.Hour) },
		"ordered":             func(d *Document) { d.Ordered = true },
		"ordered, hold":       func(d *Document) { d.Ordered, d.OnFailure = true, OnFailureHold },
		"ordered, skip":       func(d *Document) { d.Ordered, d.OnFailure = true, OnFailureSkip },
		"ordered, longest":    func(d *Document) { d.Ordered, d.ExpireAfter = true, Duration(144*time.Hour) },
		"rate limit":          func(d *Document) { d.RateLimit = &RateLimit{PerSecond: 0.1, Burst: 1} },
		"highest rate limit":  func(d *Document) { d.RateLimit = &RateLimit{PerSecond: 1e6, Burst: 1e6} },
		"least in flight":     func(d *Document) { d.MaxInFlight = 1 },
		"most in flight":      func(d *Document) { d.MaxInFlight = 10000 },
		"most headers":        func(d *Document) { d.Headers = headers(32) },
		"odd header":          func(d *Document) { d.Headers = map[string]string{"x_!#$%&'*+.^`|~9": "a\tb é", "Te-St": ""} },
		"lane":                func(d *Document) { d.Lane = "gold" },
		"paused":              func(d *Document) { d.Paused = true },
		"disabled":            func(d *Document) { d.Disabled = &Disabled{Reason: "410 Gone"} },
		"expiring secret":     func(d *Document) { d.Secrets = expiring(testSecret, testSecret2) },
		"longest header": func(d *Document) {
			d.ExtraSignatures = []ExtraSignature{{Header: strings.Repeat("X", 128), Secret: "s"}}
		},
		"most extra": func(d *Document) { d.ExtraSignatures = many(4, extra) },
		"github": func(d *Document) {
			d.ExtraSignatures = []ExtraSignature{{Header: "X-Hub-Signature-256", Secret: "s", Encoding: EncodingHex, Value: "sha256={signature}"}}
		},
		"stripe": func(d *Document) {
			d.ExtraSignatures = []ExtraSignature{{Header: "Stripe-Signature", Secret: "s", Over: "{timestamp}.{body}", Value: "t={timestamp},v1={signature}"}}
		},
		"basic":         func(d *Document) { d.Auth = &Auth{Basic: &BasicAuth{User: "ü", Password: "p:ü"}} },
		"bearer":        func(d *Document) { d.Auth = &Auth{Bearer: secret.Secret(strings.Repeat("x", 4096))} },
		"sealed bearer": func(d *Document) { d.Auth = &Auth{Bearer: "sealed:v1:00000000:AAAA"} },
		"oauth2": func(d *Document) {
			d.Auth = &Auth{OAuth2: &OAuth2{TokenURL: "https://a.example.com/t", ClientID: "c", ClientSecret: "s", Scopes: many(32, func(i int) string { return fmt.Sprint(i) }), Audience: "a"}}
		},
		"client certificate":    func(d *Document) { d.TLS = &TLS{Cert: id.cert, Key: secret.Secret(id.key)} },
		"another's authorities": func(d *Document) { d.TLS = &TLS{CA: id.cert + other.cert} },
		"files":                 func(d *Document) { d.TLS = &TLS{Cert: "file:a", Key: "file:b", CA: "file:c"} },
		"a file and a text":     func(d *Document) { d.TLS = &TLS{Cert: id.cert, Key: "file:b"} },
		"a sealed key":          func(d *Document) { d.TLS = &TLS{Cert: id.cert, Key: "sealed:v1:00000000:AAAA"} },
		"most addresses": func(d *Document) {
			d.Contact = &Contact{Email: many(10, func(i int) string { return fmt.Sprintf("o.p+%d@x-%d.example.com", i, i) })}
		},
		"Slack alone":   func(d *Document) { d.Contact = &Contact{Slack: "https://hooks.slack.com/services/T0/B0/x"} },
		"sealed Slack":  func(d *Document) { d.Contact = &Contact{Slack: "sealed:v1:00000000:AAAA"} },
		"largest body":  func(d *Document) { d.MaxBody = 64 << 20 },
		"smallest body": func(d *Document) { d.MaxBody = 1 },
	} {
		d := testDocument()
		change(&d)
		if err := d.Validate(Rules{}); err != nil {
			t.Errorf("%s: %v", name, err)
		}
	}
}

func TestValidateRefuses(t *testing.T) {
	id, other := testIdentity(t, 0), testIdentity(t, 1)
	signed := func(change func(*ExtraSignature)) func(*Document) {
		return func(d *Document) {
			one := extra(0)
			change(&one)
			d.ExtraSignatures = []ExtraSignature{one}
		}
	}
	oauth := func(change func(*OAuth2)) func(*Document) {
		return func(d *Document) {
			o := &OAuth2{TokenURL: "https://auth.example.com/token?CANARY", ClientID: "c", ClientSecret: "CANARY"}
			change(o)
			d.Auth = &Auth{OAuth2: o}
		}
	}
	basic := func(user string, password secret.Secret) func(*Document) {
		return func(d *Document) { d.Auth = &Auth{Basic: &BasicAuth{User: user, Password: password}} }
	}
	bearer := func(token secret.Secret) func(*Document) { return func(d *Document) { d.Auth = &Auth{Bearer: token} } }
	secured := func(one TLS) func(*Document) { return func(d *Document) { d.TLS = &one } }
	garbage := "-----BEGIN CERTIFICATE-----\nQ0FOQVJZ\n-----END CERTIFICATE-----\n"
	for _, tt := range []struct {
		field, message string
		change         func(*Document)
	}{
		{"tenant", "is required", func(d *Document) { d.Tenant = "" }},
		{"contact", "must have email", func(d *Document) { d.Contact = &Contact{} }},
		{"contact.email", "at most 10 addresses, not 11", func(d *Document) {
			d.Contact = &Contact{Email: many(11, func(i int) string { return fmt.Sprintf("o%d@example.com", i) })}
		}},
		{"contact.email[0]", "must be an address alone", func(d *Document) { d.Contact = &Contact{Email: []string{"ops"}} }},
		{"contact.email[0]", "must be an address alone", func(d *Document) { d.Contact = &Contact{Email: []string{"ops@example.com\r\nBcc: x@y.z"}} }},
		{"contact.email[0]", "must be an address alone", func(d *Document) { d.Contact = &Contact{Email: []string{"öps@example.com"}} }},
		{"contact.email[0]", "must be an address alone", func(d *Document) { d.Contact = &Contact{Email: []string{strings.Repeat("a", 251) + "@b.c"}} }},
		{"contact.slack", "must begin with https://", func(d *Document) { d.Contact = &Contact{Slack: "hooks.slack.com/CANARY"} }},
		{"contact.slack", "is no valid URL", func(d *Document) { d.Contact = &Contact{Slack: "https://hooks.slack.com/%zz/CANARY"} }},
		{"tenant", `"Acme" must be 1 to 63`, func(d *Document) { d.Tenant = "Acme" }},
		{"id", "is required", func(d *Document) { d.ID = "" }},
		{"id", "must be 1 to 63", func(d *Document) { d.ID = "a.b" }},
		{"url", "is required", func(d *Document) { d.URL = "" }},
		{"url", "JETHOOK_ALLOW_HTTP", func(d *Document) { d.URL = "http://example.com" }},
		{"events", `must list 1 to 64 patterns, such as "order.*", not 0`, func(d *Document) { d.Events = nil }},
		{"events", "not 65", func(d *Document) { d.Events = many(65, func(i int) string { return fmt.Sprintf("e%d", i) }) }},
		{"events[1]", "mixes a wildcard", func(d *Document) { d.Events = []string{"a", "b*"} }},
		{"events[2]", `repeats events[0], "a"`, func(d *Document) { d.Events = []string{"a", "b", "a"} }},
		{"description", "at most 1024 characters long, not 1025", func(d *Document) { d.Description = strings.Repeat("ü", 1025) }},
		{"description", "without control characters", func(d *Document) { d.Description = "\x1b[2J" }},
		{"description", "without control characters", func(d *Document) { d.Description = "\xff" }},
		{"signing", "v1, v1a or none", func(d *Document) { d.Signing = "v2" }},
		{"signing", "v1, v1a or none", func(d *Document) { d.Signing = "" }},
		{"secrets", "must be left out with signing: none", func(d *Document) { d.Signing, d.Secrets = SigningNone, secrets(testSecret) }},
		{"secrets", "at most 10", func(d *Document) {
			d.Secrets = many(11, func(int) SigningSecret { return SigningSecret{Secret: signature.NewSecret()} })
		}},
		{"secrets[1]", "must begin with whsec_", func(d *Document) { d.Secrets = secrets(testSecret, "CANARY") }},
		{"secrets[0]", "24 to 64 bytes", func(d *Document) { d.Secrets = secrets("whsec_Q0FOQVJZ") }},
		{"secrets[0]", "public key cannot sign", func(d *Document) { d.Secrets = secrets(testPublicKey) }},
		{"secrets[1]", "repeats secrets[0]", func(d *Document) { d.Secrets = secrets(testSecret, testSecret) }},
		{"secrets", "must have one without expires_at", func(d *Document) { d.Secrets = expiring(testSecret, testSecret2)[1:] }},
		{"secrets[1]", "repeats secrets[0]", func(d *Document) { d.Secrets = expiring(testSecret, testSecret) }},
		{"extra_signatures", "must be at most 4, not 5", func(d *Document) { d.ExtraSignatures = many(5, extra) }},
		{"extra_signatures[0].header", "letters, digits and hyphens", signed(func(e *ExtraSignature) { e.Header = "" })},
		{"extra_signatures[0].header", "set by jethook", signed(func(e *ExtraSignature) { e.Header = "webhook-signature" })},
		{"extra_signatures[0].header", "set by jethook", signed(func(e *ExtraSignature) { e.Header = "Host" })},
		{"extra_signatures[1].header", "X-A is given twice", func(d *Document) {
			d.ExtraSignatures = []ExtraSignature{{Header: "X-A", Secret: "CANARY"}, {Header: "x-a", Secret: "CANARY"}}
		}},
		{"extra_signatures[0].header", "X-Signature-0 is given twice", func(d *Document) {
			d.ExtraSignatures, d.Headers = []ExtraSignature{extra(0)}, map[string]string{"x-signature-0": "CANARY"}
		}},
		{"extra_signatures[0].secret", "is required", signed(func(e *ExtraSignature) { e.Secret = "" })},
		{"extra_signatures[0].secret", "at most 4096 bytes long, not 4097", signed(func(e *ExtraSignature) { e.Secret = secret.Secret(strings.Repeat("x", 4097)) })},
		{"extra_signatures[0].secret", "one line", signed(func(e *ExtraSignature) { e.Secret = "CANARY\nb" })},
		{"extra_signatures[0].encoding", `hex or base64, not "HEX"`, signed(func(e *ExtraSignature) { e.Encoding = "HEX" })},
		{"extra_signatures[0].over", "must have {body} in it, once", signed(func(e *ExtraSignature) { e.Over = "{id}" })},
		{"extra_signatures[0].over", "must have {body} in it, once", signed(func(e *ExtraSignature) { e.Over = "{body}{body}" })},
		{"extra_signatures[0].over", "can have {body}, {id}, {timestamp} in braces", signed(func(e *ExtraSignature) { e.Over = "{body}{url}" })},
		{"extra_signatures[0].over", "at most 256 printable", signed(func(e *ExtraSignature) { e.Over = "{body}" + strings.Repeat("x", 251) })},
		{"extra_signatures[0].value", "must have {signature} in it, once", signed(func(e *ExtraSignature) { e.Value = "sha256" })},
		{"extra_signatures[0].value", "in braces, and nothing else", signed(func(e *ExtraSignature) { e.Value = "{signature}}" })},
		{"extra_signatures[0].value", "printable ASCII", signed(func(e *ExtraSignature) { e.Value = "{signature}\r\nX: y" })},
		{"auth", "must be one of basic, bearer and oauth2", func(d *Document) { d.Auth = &Auth{} }},
		{"auth", "must be one of basic, bearer and oauth2", func(d *Document) { d.Auth = &Auth{Bearer: "CANARY", Basic: &BasicAuth{User: "u", Password: "CANARY"}} }},
		{"auth", "excludes the header Authorization", func(d *Document) {
			d.Auth, d.Headers = &Auth{Bearer: "CANARY"}, map[string]string{"authorization": "CANARY"}
		}},
		{"auth", "excludes the header Authorization", func(d *Document) {
			d.Auth, d.ExtraSignatures = &Auth{Bearer: "CANARY"}, []ExtraSignature{{Header: "authorization", Secret: "CANARY"}}
		}},
		{"auth.basic.user", "is required", basic("", "CANARY")},
		{"auth.basic.user", "must not have a colon", basic("u:v", "CANARY")},
		{"auth.basic.user", "one line", basic("CANARY\x00", "CANARY")},
		{"auth.basic.password", "is required", basic("u", "")},
		{"auth.basic.password", "one line", basic("u", "CANARY\r")},
		{"auth.bearer", "one line", bearer("CANARY\r\nX: y")},
		{"auth.bearer", "at most 4096", bearer(secret.Secret(strings.Repeat("CANARY", 700)))},
		{"auth.oauth2.token_url", "is missing", oauth(func(o *OAuth2) { o.TokenURL = "" })},
		{"auth.oauth2.token_url", "JETHOOK_ALLOW_HTTP", oauth(func(o *OAuth2) { o.TokenURL = "http://auth.example.com/CANARY" })},
		{"auth.oauth2.token_url", "user name or password", oauth(func(o *OAuth2) { o.TokenURL = "https://CANARY:b@auth.example.com" })},
		{"auth.oauth2.client_id", "is required", oauth(func(o *OAuth2) { o.ClientID = "" })},
		{"auth.oauth2.client_secret", "is required", oauth(func(o *OAuth2) { o.ClientSecret = "" })},
		{"auth.oauth2.scopes", "at most 32 scopes, not 33", oauth(func(o *OAuth2) { o.Scopes = many(33, func(int) string { return "s" }) })},
		{"auth.oauth2.scopes[1]", "one word", oauth(func(o *OAuth2) { o.Scopes = []string{"a", "b c"} })},
		{"auth.oauth2.scopes[0]", "one word", oauth(func(o *OAuth2) { o.Scopes = []string{""} })},
		{"auth.oauth2.audience", "one line", oauth(func(o *OAuth2) { o.Audience = "sealed:CANARY\n" })},
		{"tls", "must have cert and key, or ca", secured(TLS{})},
		{"tls", "needs cert and key both", secured(TLS{Cert: id.cert})},
		{"tls", "needs cert and key both", secured(TLS{Key: "file:key.pem", CA: id.cert})},
		{"tls.cert", "must be a certificate in PEM, or file: and the path", secured(TLS{Cert: "CANARY", Key: "file:k"})},
		{"tls.cert", "must be a certificate in PEM", secured(TLS{Cert: id.key, Key: "file:k"})},
		{"tls.cert", "must have the path of a file behind file:", secured(TLS{Cert: "file:", Key: "file:k"})},
		{"tls.key", "must be a private key in PEM", secured(TLS{Cert: "file:c", Key: "CANARY"})},
		{"tls.key", "must be a private key in PEM", secured(TLS{Cert: "file:c", Key: secret.Secret(id.cert)})},
		{"tls.key", "the certificate's private key", secured(TLS{Cert: id.cert, Key: secret.Secret(other.key)})},
		{"tls.key", "the certificate's private key", secured(TLS{Cert: garbage, Key: secret.Secret(id.key)})},
		{"tls.ca", "must be certificates in PEM", secured(TLS{CA: "CANARY"})},
		{"tls.ca", "must be certificates in PEM", secured(TLS{CA: garbage})},
		{"tls.ca", "at most 65536 bytes, not 65537", secured(TLS{CA: strings.Repeat("x", 65537)})},
		{"max_body", "must be from 1 to 67108864 bytes, or 0 for what", func(d *Document) { d.MaxBody = -1 }},
		{"max_body", "not 67108865", func(d *Document) { d.MaxBody = 64<<20 + 1 }},
		{"timeout", "must be from 100ms to 5m, not 99ms", func(d *Document) { d.Timeout = Duration(99 * time.Millisecond) }},
		{"timeout", "must be from 100ms to 5m, not 5m1s", func(d *Document) { d.Timeout = Duration(301 * time.Second) }},
		{"retry.base", "must be from 1ms", func(d *Document) { d.Retry.Base = 0 }},
		{"retry.factor", "must be from 1 to 100", func(d *Document) { d.Retry.Factor = math.NaN() }},
		{"retry.max_attempts", "must be from 1 to 100", func(d *Document) { d.Retry.MaxAttempts = 0 }},
		{"retry.jitter", "full, equal, proportional or none", func(d *Document) { d.Retry.Jitter = "some" }},
		{"retry.base", "left out", func(d *Document) { d.Retry.Schedule = []time.Duration{time.Second} }},
		{"retry_on", "at most 32", func(d *Document) { d.RetryOn = many(33, func(i int) int { return 450 + i }) }},
		{"retry_on[0]", "from 400 to 499, not 399", func(d *Document) { d.RetryOn = []int{399} }},
		{"retry_on[0]", "from 400 to 499, not 500", func(d *Document) { d.RetryOn = []int{500} }},
		{"retry_on[0]", "408 is retried anyway", func(d *Document) { d.RetryOn = []int{408} }},
		{"retry_on[0]", "425 is retried anyway", func(d *Document) { d.RetryOn = []int{425} }},
		{"retry_on[0]", "429 is retried anyway", func(d *Document) { d.RetryOn = []int{429} }},
		{"retry_on[0]", "410 disables", func(d *Document) { d.RetryOn = []int{410} }},
		{"retry_on[1]", "repeats status 404", func(d *Document) { d.RetryOn = []int{404, 404} }},
		{"expire_after", "must be from 1s to 30d, not 999ms", func(d *Document) { d.ExpireAfter = Duration(999 * time.Millisecond) }},
		{"expire_after", "must be from 1s to 30d, not 721h", func(d *Document) { d.ExpireAfter = Duration(721 * time.Hour) }},
		{"rate_limit.per_second", "more than 0", func(d *Document) { d.RateLimit = &RateLimit{PerSecond: 0, Burst: 1} }},
		{"rate_limit.per_second", "not NaN", func(d *Document) { d.RateLimit = &RateLimit{PerSecond: math.NaN(), Burst: 1} }},
		{"rate_limit.per_second", "at most 1000000", func(d *Document) { d.RateLimit = &RateLimit{PerSecond: math.Inf(1), Burst: 1} }},
		{"rate_limit.burst", "from 1 to 1000000, not 0", func(d *Document) { d.RateLimit = &RateLimit{PerSecond: 1} }},
		{"max_in_flight", "from 1 to 10000, not 0", func(d *Document) { d.MaxInFlight = 0 }},
		{"max_in_flight", "from 1 to 10000, not 10001", func(d *Document) { d.MaxInFlight = 10001 }},
		{"headers", "at most 32 headers, not 33", func(d *Document) { d.Headers = headers(33) }},
		{"headers.", "letters, digits and hyphens", func(d *Document) { d.Headers = map[string]string{"": "v"} }},
		{"headers.a b", "letters, digits and hyphens", func(d *Document) { d.Headers = map[string]string{"a b": "v"} }},
		{"headers.:path", "letters, digits and hyphens", func(d *Document) { d.Headers = map[string]string{":path": "v"} }},
		{"headers.é", "letters, digits and hyphens", func(d *Document) { d.Headers = map[string]string{"é": "v"} }},
		{"headers.x-env", "same header as X-Env", func(d *Document) { d.Headers = map[string]string{"X-Env": "a", "x-env": "b"} }},
		{"headers.X", "one line", func(d *Document) { d.Headers = map[string]string{"X": "CANARY\r\nY: z"} }},
		{"headers.X", "one line", func(d *Document) { d.Headers = map[string]string{"X": "CANARY\x00"} }},
		{"headers.X", "one line", func(d *Document) { d.Headers = map[string]string{"X": "CANARY\x7f"} }},
		{"headers.X", "at most 4096", func(d *Document) { d.Headers = map[string]string{"X": strings.Repeat("CANARY", 1000)} }},
		{"lane", "must be 1 to 63", func(d *Document) { d.Lane = "" }},
		{"lane", "must be 1 to 63", func(d *Document) { d.Lane = "Gold" }},
		{"disable_after", "must be from 1m to 365d, not 59.999s", func(d *Document) { d.DisableAfter = Duration(time.Minute - time.Millisecond) }},
		{"disable_after", "must be from 1m to 365d, not 8760h0m0.001s", func(d *Document) { d.DisableAfter = Duration(365*day + time.Millisecond) }},
		{"on_failure", "takes ordered: true", func(d *Document) { d.OnFailure = OnFailureHold }},
		{"on_failure", "takes ordered: true", func(d *Document) { d.OnFailure = OnFailureSkip }},
		{"on_failure", "must be hold or skip", func(d *Document) { d.Ordered, d.OnFailure = true, "stop" }},
		{"expire_after", "at most 144h with ordered: true", func(d *Document) { d.Ordered, d.ExpireAfter = true, Duration(144*time.Hour+1) }},
		{"expire_after", "must be from 1s to 30d", func(d *Document) { d.Ordered, d.ExpireAfter = true, Duration(31*day) }},
		{"disabled.reason", "without control", func(d *Document) { d.Disabled = &Disabled{Reason: "\x00"} }},
	} {
		t.Run(tt.field+" "+tt.message, func(t *testing.T) {
			d := testDocument()
			tt.change(&d)
			err := d.Validate(Rules{})
			var problems Problems
			if !errors.As(err, &problems) || len(problems) != 1 {
				t.Fatalf("Validate() = %v, want one problem", err)
			}
			if p := problems[0]; p.Field != tt.field || !strings.Contains(p.Message, tt.message) {
				t.Errorf("got %s: %s", p.Field, p.Message)
			}
			if strings.Contains(err.Error(), "CANARY") {
				t.Errorf("the error repeats the value: %v", err)
			}
		})
	}
}

// The header names that would let a document forge or smuggle requests, in
// three spellings each.
func TestValidateRefusesOwnHeaders(t *testing.T) {
	for _, name := range []string{
		"Host", "Content-Length", "Transfer-Encoding", "TE", "Trailer", "Connection", "Keep-Alive", "Upgrade", "Expect",
		"Content-Type", "User-Agent", "Accept-Encoding", "Proxy-Authorization", "Proxy-Connection", "Proxy-",
		"webhook-id", "webhook-signature", "webhook-x", "Nats-Msg-Id", "Nats-Schedule",
	} {
		for _, spelling := range []string{name, strings.ToLower(name), strings.ToUpper(name)} {
			d := testDocument()
			d.Headers = map[string]string{spelling: "v"}
			if err := d.Validate(Rules{}); err == nil || !strings.Contains(err.Error(), "cannot be replaced") {
				t.Errorf("header %s: %v, want it refused", spelling, err)
			}
		}
	}
}

func TestValidateReportsEverything(t *testing.T) {
	var problems Problems
	if err := (Document{}).Validate(Rules{}); !errors.As(err, &problems) {
		t.Fatalf("got %v, want Problems", err)
	}
	var fields []string
	for _, p := range problems {
		fields = append(fields, p.Field)
	}
	want := []string{"tenant", "id", "url", "events", "signing", "timeout", "expire_after", "disable_after", "retry.max_delay", "max_in_flight", "lane"}
	if !slices.Equal(fields, want) {
		t.Errorf("got problems with %v, want %v", fields, want)
	}
}

func TestValidateAllowsHTTP(t *testing.T) {
	d := testDocument()
	d.URL = "http://example.com/hook"
	if err := d.Validate(Rules{AllowHTTP: true}); err != nil {
		t.Error(err)
	}
}
