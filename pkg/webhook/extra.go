package webhook

import (
	"cmp"
	"crypto/hmac"
	"crypto/sha256"
	"encoding/base64"
	"encoding/hex"
	"net/http"
	"strings"

	"jethook/pkg/endpoint"
)

// message is what an extra signature is about.
type message struct {
	id, timestamp string
	body          []byte
}

// signExtra sets the headers of an endpoint's extra signatures.
func signExtra(h http.Header, extras []endpoint.ExtraSignature, m message) {
	for _, x := range extras {
		h[http.CanonicalHeaderKey(x.Header)] = []string{extraSignature(x, m)}
	}
}

// extraSignature returns the header's value. Templates are filled one name after
// the other: no id, time or signature has a brace in it.
func extraSignature(x endpoint.ExtraSignature, m message) string {
	fill := func(template string) string {
		return strings.ReplaceAll(strings.ReplaceAll(template, "{id}", m.id), "{timestamp}", m.timestamp)
	}
	mac := hmac.New(sha256.New, []byte(x.Secret.Reveal()))
	before, after, withBody := strings.Cut(cmp.Or(x.Over, "{body}"), "{body}")
	mac.Write([]byte(fill(before)))
	if withBody {
		mac.Write(m.body) // as it is: it may be large
	}
	mac.Write([]byte(fill(after)))
	encode := hex.EncodeToString
	if x.Encoding == endpoint.EncodingBase64 {
		encode = base64.StdEncoding.EncodeToString
	}
	return strings.Replace(fill(cmp.Or(x.Value, "{signature}")), "{signature}", encode(mac.Sum(nil)), 1)
}
