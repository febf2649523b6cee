package receiver

import (
	"bufio"
	"bytes"
	"net/http"
	"net/http/httptest"
	"testing"

	"jethook/pkg/signature"
)

// Whatever comes in is answered and counted once, and nothing that nobody signed
// with the key passes for verified.
func FuzzServeHTTP(f *testing.F) {
	k, err := signature.ParseKey(signature.NewSecret())
	if err != nil {
		f.Fatal(err)
	}
	const head = "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 2\r\n"
	for _, s := range []string{
		head + "webhook-id: a\r\nwebhook-timestamp: 1\r\nwebhook-signature: v1,AAAA v1a,AAAA\r\n\r\n{}",
		head + "webhook-attempt: 99999999999999999999\r\nwebhook-event-time: 9999-12-31T23:59:59Z\r\nwebhook-replay: true\r\n\r\n{}",
		"GET / HTTP/1.1\r\nHost: a\r\nwebhook-signature: ,,, v1 ,\r\n\r\n", "POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n2\r\n{}\r\n0\r\n\r\n",
	} {
		f.Add([]byte(s))
	}
	f.Fuzz(func(t *testing.T, wire []byte) {
		hr, err := http.ReadRequest(bufio.NewReader(bytes.NewReader(wire)))
		if err != nil {
			return // net/http's to refuse
		}
		var got []Request
		r := New(Options{Keys: []signature.Key{k}, OnRequest: func(r Request) { got = append(got, r) }})
		answer := httptest.NewRecorder()
		r.ServeHTTP(answer, hr)
		if err := r.Close(); err != nil {
			t.Fatal(err)
		}
		if len(got) != 1 || got[0].Status != answer.Code || got[0].Verified == Yes || answer.Code < 400 || r.Stats().Requests != 1 {
			t.Fatalf("answered %d, reported %+v", answer.Code, got)
		}
	})
}
