package endpoint

import (
	"crypto/tls"
	"crypto/x509"
	"encoding/pem"
	"fmt"
	"net/http"
	"slices"
	"strings"

	"jethook/pkg/secret"
)

const (
	maxExtraSignatures = 4
	maxTemplate        = 256
	maxCredential      = 4096
	maxScopes          = 32
	maxPEM             = 64 << 10
)

// checkCredential checks a secret that travels in a header or signs. Whoever sealed
// one that is sealed saw to it.
func checkCredential(report func(field, message string), field string, s secret.Secret) {
	if !s.Sealed() {
		checkLine(report, field, s.Reveal())
	}
}

// checkLine checks what goes with a secret. It never repeats it.
func checkLine(report func(field, message string), field, text string) {
	switch {
	case text == "":
		report(field, "is required")
	case len(text) > maxCredential:
		report(field, fmt.Sprintf("must be at most %d bytes long, not %d", maxCredential, len(text)))
	case strings.ContainsFunc(text, func(c rune) bool { return c < ' ' || c == 0x7f }):
		report(field, "must be one line without control characters")
	}
}

func (d Document) checkExtraSignatures(report func(field, message string)) {
	if n := len(d.ExtraSignatures); n > maxExtraSignatures {
		report("extra_signatures", fmt.Sprintf("must be at most %d, not %d", maxExtraSignatures, n))
		return
	}
	var seen []string
	for i, extra := range d.ExtraSignatures {
		field := item("extra_signatures", i)
		canonical := http.CanonicalHeaderKey(extra.Header)
		switch message := headerNameProblem(extra.Header); {
		case message != "":
			report(field+".header", message)
		case slices.Contains(seen, canonical) || hasHeader(d.Headers, canonical):
			report(field+".header", "header "+canonical+" is given twice")
		}
		seen = append(seen, canonical)
		checkCredential(report, field+".secret", extra.Secret)
		switch extra.Encoding {
		case "", EncodingHex, EncodingBase64:
		default:
			report(field+".encoding", "must be hex or base64, not "+quote(extra.Encoding))
		}
		checkTemplate(report, field+".over", extra.Over, "{body}", "{id}", "{timestamp}")
		checkTemplate(report, field+".value", extra.Value, "{signature}", "{id}", "{timestamp}")
	}
}

// checkTemplate checks a template that must hold the first of the names and may
// hold the others. Empty is its default.
func checkTemplate(report func(field, message string), field, template string, names ...string) {
	if template == "" {
		return
	}
	rest := template
	for _, name := range names {
		rest = strings.ReplaceAll(rest, name, "")
	}
	switch {
	case len(template) > maxTemplate || strings.ContainsFunc(template, func(c rune) bool { return c < ' ' || c > '~' }):
		report(field, fmt.Sprintf("must be at most %d printable ASCII characters", maxTemplate))
	case strings.Count(template, names[0]) != 1:
		report(field, "must have "+names[0]+" in it, once")
	case strings.ContainsAny(rest, "{}"):
		report(field, "can have "+strings.Join(names, ", ")+" in braces, and nothing else")
	}
}

func hasHeader(headers map[string]string, canonical string) bool {
	for name := range headers {
		if http.CanonicalHeaderKey(name) == canonical {
			return true
		}
	}
	return false
}

func (d Document) checkAuth(rules Rules, report func(field, message string)) {
	a := d.Auth
	if a == nil {
		return
	}
	kinds := 0
	if a.Basic != nil {
		kinds++
		if strings.Contains(a.Basic.User, ":") {
			report("auth.basic.user", "must not have a colon, which would end it")
		}
		checkLine(report, "auth.basic.user", a.Basic.User)
		checkCredential(report, "auth.basic.password", a.Basic.Password)
	}
	if a.Bearer != "" {
		kinds++
		checkCredential(report, "auth.bearer", a.Bearer)
	}
	if a.OAuth2 != nil {
		kinds++
		a.OAuth2.check(rules, report)
	}
	if kinds != 1 {
		report("auth", "must be one of basic, bearer and oauth2")
	}
	if hasHeader(d.Headers, "Authorization") || slices.ContainsFunc(d.ExtraSignatures, isAuthorization) {
		report("auth", "excludes the header Authorization, which it sets")
	}
}

func isAuthorization(extra ExtraSignature) bool {
	return http.CanonicalHeaderKey(extra.Header) == "Authorization"
}

func (o *OAuth2) check(rules Rules, report func(field, message string)) {
	if err := CheckURL(o.TokenURL, rules.AllowHTTP); err != nil {
		report("auth.oauth2.token_url", err.Error())
	}
	checkLine(report, "auth.oauth2.client_id", o.ClientID)
	checkCredential(report, "auth.oauth2.client_secret", o.ClientSecret)
	if len(o.Scopes) > maxScopes {
		report("auth.oauth2.scopes", fmt.Sprintf("must be at most %d scopes, not %d", maxScopes, len(o.Scopes)))
	}
	for i, scope := range o.Scopes {
		if scope == "" || len(scope) > maxTemplate || strings.ContainsFunc(scope, func(c rune) bool { return c <= ' ' || c > '~' }) {
			report(item("auth.oauth2.scopes", i), "must be one word of printable ASCII characters")
		}
	}
	if o.Audience != "" {
		checkLine(report, "auth.oauth2.audience", o.Audience)
	}
}

// checkTLS checks what is there as text. Files are the replicas' to read.
func (d Document) checkTLS(report func(field, message string)) {
	t := d.TLS
	if t == nil {
		return
	}
	switch {
	case t.Cert == "" && t.Key == "" && t.CA == "":
		report("tls", "must have cert and key, or ca")
	case (t.Cert == "") != (t.Key == ""):
		report("tls", "needs cert and key both, or neither")
	}
	key := t.Key.Reveal()
	certOK := checkPEM(report, "tls.cert", t.Cert, "a certificate", func() bool { return holdsPEM(t.Cert, "CERTIFICATE") })
	keyOK := t.Key.Sealed() || checkPEM(report, "tls.key", key, "a private key", func() bool { return holdsPEM(key, "PRIVATE KEY") })
	checkPEM(report, "tls.ca", t.CA, "certificates", func() bool { return x509.NewCertPool().AppendCertsFromPEM([]byte(t.CA)) })
	if !certOK || !keyOK || !inline(t.Cert) || !inline(key) || t.Key.Sealed() {
		return
	}
	if _, err := tls.X509KeyPair([]byte(t.Cert), []byte(key)); err != nil {
		report("tls.key", "must be the certificate's private key, without a passphrase")
	}
}

// inline reports whether a field of TLS is there as text.
func inline(text string) bool { return text != "" && !isFileReference(text) }

// checkPEM checks what is there as text by its size and by what ok says.
func checkPEM(report func(field, message string), field, text, what string, ok func() bool) bool {
	switch {
	case len(text) > maxPEM:
		report(field, fmt.Sprintf("must be at most %d bytes, not %d", maxPEM, len(text)))
	case text == fileReference:
		report(field, "must have the path of a file behind "+fileReference)
	case inline(text) && !ok():
		report(field, "must be "+what+" in PEM, or "+fileReference+" and the path of a file on the replicas")
	default:
		return true
	}
	return false
}

// holdsPEM reports whether the text holds a block of a type that ends so.
func holdsPEM(text, blockType string) bool {
	for rest := []byte(text); ; {
		var block *pem.Block
		if block, rest = pem.Decode(rest); block == nil {
			return false
		}
		if strings.HasSuffix(block.Type, blockType) {
			return true
		}
	}
}
