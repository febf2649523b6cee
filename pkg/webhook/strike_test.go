package webhook

import (
	"encoding/json"
	"fmt"
	"net/http"
	"runtime"
	"slices"
	"strings"
	"testing"
	"unicode/utf8"

	"jethook/pkg/egress"
	"jethook/pkg/endpoint"
)

// What of an answer is shown has no credential in it, wherever it lies.
func TestStrike(t *testing.T) {
	const token = "account1-SECRETSECRETSECRETabcdefghijklmn"
	for name, c := range map[string]struct {
		sent       credentials
		text, want string
	}{
		"none":                  {nil, "fine", "fine"},
		"nothing of it":         {credentials{token}, `fine, \n says "account2"`, `fine, \n says "account2"`},
		"as it is":              {credentials{token}, "bad token " + token + "!", "bad token ***!"},
		"one in another":        {credentials{"account1", token}, "bad token " + token + "!", "bad token ***!"},
		"one in another's end":  {credentials{token, token[1:] + "!"}, "bad token " + token + "!", "bad token ***"},
		"again and again":       {credentials{token}, strings.Repeat(token, 3) + " " + token, "*** ***"},
		"cut in two":            {credentials{token}, strings.Repeat(token, 3) + token[:37], "***"},
		"nearly":                {credentials{token}, token[:40] + "N" + token[:5], token[:40] + "N" + token[:5]},
		"JSON by PHP":           {credentials{"a/b/c/é"}, `{"is": "a\/b\/c\/\u00e9"}`, `{"is": "***"}`},
		"JSON by Go":            {credentials{`"a"<&>`}, `{"is": "\"a\"\u003c\u0026\u003E"}`, `{"is": "***"}`},
		"JSON, a pair":          {credentials{"secret🔑"}, `"secret\ud83d\udd11"`, `"***"`},
		"JSON, not all of it":   {credentials{`a\b/c/d`}, `a\\b\/c/d \n \x a\b/c/d`, `*** \n \x ***`},
		"cut in an escape":      {credentials{"secret<>"}, `secret\u003`, "***"},
		"cut at an escape":      {credentials{`secret"x`}, `secret\`, "***"},
		"cut in a pair":         {credentials{"secret🔑"}, `secret\ud83d\udd`, "***"},
		"escapes that are none": {credentials{"secret"}, `\u00zzsecret\ud83dsecret\u+123`, `\u00zz***\ud83d***\u+123`},
	} {
		if got := c.sent.strike(c.text); got != c.want {
			t.Errorf("%s: %s, want %s", name, got, c.want)
		}
	}
}

// Whoever can make an answer long and credentials many cannot make us work much:
// what is looked at does not grow with the answer, and no credential counts twice.
// A text that is looked at takes as much memory.
func TestStrikingIsBounded(t *testing.T) {
	for name, change := range greedy() {
		ep := newEndpoint(t, "https://example.com/hooks", change)
		cost := func(res egress.Response) (bytes, times uint64) {
			s := NewSender(clientFunc(func(*http.Request) (egress.Response, error) { return res, nil }), "test")
			d := given()
			var before, after runtime.MemStats
			runtime.ReadMemStats(&before)
			s.Attempt(t.Context(), d, ep)
			runtime.ReadMemStats(&after)
			return after.TotalAlloc - before.TotalAlloc, after.Mallocs - before.Mallocs
		}
		cost(short()) // the first parses the document
		fewBytes, fewTimes := cost(short())
		bytes, times := cost(long())
		if bytes > fewBytes+128<<10 || times > fewTimes+800 {
			t.Errorf("%s: allocates %d times and %d bytes for an answer of some bytes, %d and %d for a long one", name, fewTimes, fewBytes, times, bytes)
		}
		parsed, err := ep.Parsed()
		if err != nil {
			t.Fatal(err)
		}
		sent := sentCredentials(parsed, "")
		if n := len(slices.Compact(slices.Sorted(slices.Values(sent)))); n < len(sent) {
			t.Errorf("%s: %d credentials are looked for, which are %d", name, len(sent), n)
		}
	}
}

// greedy are endpoints with as many and as long credentials as there may be.
func greedy() map[string]func(*endpoint.Document) {
	headers := func(value string) func(*endpoint.Document) {
		return func(d *endpoint.Document) {
			d.Headers = make(map[string]string)
			for i := range 32 {
				d.Headers[fmt.Sprintf("X-%d", i)] = value[:len(value)-2-i] + "x"
			}
		}
	}
	return map[string]func(*endpoint.Document){
		"a long query": func(d *endpoint.Document) {
			for i := range 200 {
				d.URL += fmt.Sprintf("&=%%30%05d", i)
			}
			d.URL = strings.Replace(d.URL, "&", "?", 1)
		},
		"equal values": func(d *endpoint.Document) { d.URL += "?" + strings.Repeat("&=000001", 250) },
		"quotes":       headers(strings.Repeat(`"`, 4096)),
		"words":        headers("aaaaaa " + strings.Repeat("a", 4089)),
	}
}

func short() egress.Response {
	return egress.Response{Status: 400, Header: http.Header{"Server": {"x"}}, Body: []byte("bad")}
}

// long is an answer of as many bytes as are read.
func long() egress.Response {
	h := http.Header{"A": make([]string, 1400)}
	for i := range h["A"] {
		h["A"][i] = strings.Repeat("b", 40)
	}
	for _, name := range []string{"Content-Type", "Server", "Via", "Retry-After", "Location", "Allow", headerDelivery,
		"X-Request-Id", "Request-Id", "X-Correlation-Id", "X-Trace-Id", "Traceresponse", "Cf-Ray",
		"X-Amzn-Requestid", "X-Amzn-Trace-Id", "X-Cloud-Trace-Context", "X-Vercel-Id", "Fly-Request-Id"} {
		h[name] = []string{strings.Repeat("a", 1000) + `\"0`}
	}
	return egress.Response{Status: 400, Header: h, Body: []byte(strings.Repeat("a", 500) + `\"0` + strings.Repeat(`a\"0`, egress.MaxBody/4))}
}

func BenchmarkStrike(b *testing.B) {
	for name, change := range greedy() {
		b.Run(name, func(b *testing.B) {
			res := long()
			s := NewSender(clientFunc(func(*http.Request) (egress.Response, error) { return res, nil }), "test")
			d, ep := given(), newEndpoint(b, "https://example.com/hooks", change)
			b.ReportAllocs()
			for b.Loop() {
				s.Attempt(b.Context(), d, ep)
			}
		})
	}
}

// Nothing that is left is a credential, whatever they are.
func FuzzStrike(f *testing.F) {
	f.Add("bad token account1-SECRET", "account1", "account1-SECRET")
	f.Add(`{"is": "a\/b\u003c\ud83d\udd11"}`, "a/b<🔑", "")
	f.Add("aaaaaaaaaaaab", "aaaaaa", "aaaaab")
	f.Fuzz(func(t *testing.T, text, a, b string) {
		for _, one := range []string{a, b} {
			if len(one) < minHidden || strings.Contains(one, "*") {
				return
			}
		}
		struck := credentials{a, b}.strike(text)
		quoted, err := json.Marshal(a + b)
		if err != nil {
			t.Fatal(err)
		}
		var plain string
		if !utf8.ValidString(a+b) || json.Unmarshal([]byte(credentials{a, b}.strike(string(quoted))), &plain) != nil {
			plain = "" // a credential that itself looks like an escape
		}
		for _, one := range []string{a, b} {
			if strings.Contains(struck, one) || strings.Contains(plain, one) {
				t.Fatalf("%q in %q or %q", one, struck, plain)
			}
		}
	})
}
