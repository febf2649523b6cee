package endpoint

import (
	"iter"
	"net/http"
	"slices"
	"time"

	"jethook/pkg/secret"
)

// SigningSecret is a secret that signs requests, for good or until it expires.
type SigningSecret struct {
	Secret secret.Secret
	// ExpiresAt ends its signatures. Zero is never.
	ExpiresAt time.Time
}

// Expired reports whether the secret signs no more.
func (s SigningSecret) Expired(now time.Time) bool {
	return !s.ExpiresAt.IsZero() && !now.Before(s.ExpiresAt)
}

// ExtraSignature is an HMAC-SHA256 in a form that some other sender gave it.
type ExtraSignature struct {
	// Header is the request header that carries it. Required, each once.
	Header string
	// Secret is the key, its text byte for byte. Required.
	Secret secret.Secret
	// Over is what is signed, with {id}, {timestamp} and {body} in it. {body} by
	// default.
	Over string
	// Encoding of the signature is hex, by default, or base64.
	Encoding string
	// Value is the header's value, with {signature}, {id} and {timestamp} in it.
	// {signature} by default.
	Value string
}

// The encodings of an ExtraSignature.
const (
	EncodingHex    = "hex"
	EncodingBase64 = "base64"
)

// Auth is what a receiver asks for beside signatures: exactly one of these.
type Auth struct {
	// Basic is a user name and a password.
	Basic *BasicAuth
	// Bearer is a token, sent as it is.
	Bearer secret.Secret
	// OAuth2 asks an authorization server for tokens.
	OAuth2 *OAuth2
}

// BasicAuth is HTTP's basic authentication, RFC 7617.
type BasicAuth struct {
	User     string
	Password secret.Secret
}

// OAuth2 is the client credentials grant, RFC 6749 section 4.4.
type OAuth2 struct {
	// TokenURL is the authorization server's. It is judged like an endpoint's.
	TokenURL     string
	ClientID     string
	ClientSecret secret.Secret
	// Scopes to ask for; none by default.
	Scopes []string
	// Audience is a parameter that some authorization servers want.
	Audience string
}

func (a *Auth) clone() *Auth {
	if a == nil {
		return nil
	}
	c := *a
	if a.Basic != nil {
		c.Basic = new(*a.Basic)
	}
	if a.OAuth2 != nil {
		c.OAuth2 = new(*a.OAuth2)
		c.OAuth2.Scopes = slices.Clone(a.OAuth2.Scopes)
	}
	return &c
}

// TLS changes how connections to an endpoint are secured. Each is text in PEM, or
// "file:" and the path of a file on the replica, which is read again when it
// changes.
type TLS struct {
	// Cert and Key are the client's certificate, with what it takes to verify it,
	// and its private key. They go together.
	Cert string
	Key  secret.Secret
	// CA is what the endpoint's certificate is verified with instead of the
	// system's authorities.
	CA string
}

// eachSecret yields the secrets of the document, to be read or, in a clone, to be
// replaced, each with what it is about: the endpoint and the field. All Secrets
// are about the same, because they change places when they are rotated. Every
// header counts: a name does not tell whether its value lets somebody in.
func (d *Document) eachSecret() iter.Seq2[string, *secret.Secret] {
	return func(yield func(about string, s *secret.Secret) bool) {
		each := func(field string, s *secret.Secret) bool {
			return *s == "" || yield(d.Name()+" "+field, s)
		}
		for i := range d.Secrets {
			if !each("secrets", &d.Secrets[i].Secret) {
				return
			}
		}
		for i := range d.ExtraSignatures {
			extra := &d.ExtraSignatures[i]
			if !each("extra_signatures."+http.CanonicalHeaderKey(extra.Header), &extra.Secret) {
				return
			}
		}
		if !d.Auth.each(each) || !d.Contact.each(each) {
			return
		}
		if d.TLS != nil && !isFileReference(d.TLS.Key.Reveal()) && !each("tls.key", &d.TLS.Key) {
			return
		}
		for name, value := range d.Headers {
			s := secret.Secret(value)
			more := each(headerField(http.CanonicalHeaderKey(name)), &s)
			if s.Reveal() != value {
				d.Headers[name] = s.Reveal()
			}
			if !more {
				return
			}
		}
	}
}

// each visits the secrets of nil or one kind of Auth until visit returns false.
func (a *Auth) each(visit func(field string, s *secret.Secret) bool) bool {
	return a == nil || visit("auth.bearer", &a.Bearer) &&
		(a.Basic == nil || visit("auth.basic.password", &a.Basic.Password)) &&
		(a.OAuth2 == nil || visit("auth.oauth2.client_secret", &a.OAuth2.ClientSecret))
}

// Sealed reports whether any secret of the document is sealed.
func (d Document) Sealed() bool { return d.has(secret.Secret.Sealed) }

// has reports whether any secret of the document is so.
func (d Document) has(so func(secret.Secret) bool) bool {
	for _, s := range d.eachSecret() {
		if so(*s) {
			return true
		}
	}
	return false
}
