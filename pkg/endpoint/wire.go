package endpoint

import (
	"fmt"

	"jethook/pkg/secret"
)

// storedText is a secret as the bucket holds it: other than a Secret it has its
// text in JSON. It lives between a document and its bytes, and fmt hides it.
type storedText string

// Format prints nothing of it, whatever the verb.
func (storedText) Format(f fmt.State, _ rune) { hide(f) }

// Format prints nothing of it, as that of Contact.
func (wireContact) Format(f fmt.State, _ rune) { hide(f) }

// Format prints nothing of it, as that of Auth.
func (wireAuth) Format(f fmt.State, _ rune) { hide(f) }

// The kinds of credentials as JSON spells them, field for field as in a Document.
type (
	wireExtra struct {
		Header   string     `json:"header"`
		Secret   storedText `json:"secret"`
		Over     string     `json:"over,omitempty"`
		Encoding string     `json:"encoding,omitempty"`
		Value    string     `json:"value,omitempty"`
	}
	wireAuth struct {
		Basic  *wireBasic  `json:"basic,omitempty"`
		Bearer storedText  `json:"bearer,omitempty"`
		OAuth2 *wireOAuth2 `json:"oauth2,omitempty"`
	}
	wireBasic struct {
		User     string     `json:"user"`
		Password storedText `json:"password"`
	}
	wireOAuth2 struct {
		TokenURL     string     `json:"token_url"`
		ClientID     string     `json:"client_id"`
		ClientSecret storedText `json:"client_secret"`
		Scopes       []string   `json:"scopes,omitempty"`
		Audience     string     `json:"audience,omitempty"`
	}
	wireContact struct {
		Email []string   `json:"email,omitempty"`
		Slack storedText `json:"slack,omitempty"`
	}
	wireTLS struct {
		Cert string     `json:"cert,omitempty"`
		Key  storedText `json:"key,omitempty"`
		CA   string     `json:"ca,omitempty"`
	}
)

func toWireExtras(extras []ExtraSignature) (wires []wireExtra) {
	for _, e := range extras {
		wires = append(wires, wireExtra{Header: e.Header, Secret: storedText(e.Secret), Over: e.Over, Encoding: e.Encoding, Value: e.Value})
	}
	return wires
}

func (w wire) extras() (extras []ExtraSignature) {
	for _, e := range w.Extra {
		extras = append(extras, ExtraSignature{Header: e.Header, Secret: secret.Secret(e.Secret), Over: e.Over, Encoding: e.Encoding, Value: e.Value})
	}
	return extras
}

func toWireAuth(a *Auth) *wireAuth {
	if a == nil {
		return nil
	}
	w := &wireAuth{Bearer: storedText(a.Bearer)}
	if b := a.Basic; b != nil {
		w.Basic = &wireBasic{User: b.User, Password: storedText(b.Password)}
	}
	if o := a.OAuth2; o != nil {
		w.OAuth2 = &wireOAuth2{TokenURL: o.TokenURL, ClientID: o.ClientID, ClientSecret: storedText(o.ClientSecret), Scopes: o.Scopes, Audience: o.Audience}
	}
	return w
}

func (w *wireAuth) auth() *Auth {
	if w == nil {
		return nil
	}
	a := &Auth{Bearer: secret.Secret(w.Bearer)}
	if b := w.Basic; b != nil {
		a.Basic = &BasicAuth{User: b.User, Password: secret.Secret(b.Password)}
	}
	if o := w.OAuth2; o != nil {
		a.OAuth2 = &OAuth2{TokenURL: o.TokenURL, ClientID: o.ClientID, ClientSecret: secret.Secret(o.ClientSecret), Scopes: o.Scopes, Audience: o.Audience}
	}
	return a
}

func toWireTLS(t *TLS) *wireTLS {
	if t == nil {
		return nil
	}
	return &wireTLS{Cert: t.Cert, Key: storedText(t.Key), CA: t.CA}
}

func (w *wireTLS) tls() *TLS {
	if w == nil {
		return nil
	}
	return &TLS{Cert: w.Cert, Key: secret.Secret(w.Key), CA: w.CA}
}

func toWireContact(c *Contact) *wireContact {
	if c == nil {
		return nil
	}
	return &wireContact{Email: c.Email, Slack: storedText(c.Slack)}
}

func (w *wireContact) contact() *Contact {
	if w == nil {
		return nil
	}
	return &Contact{Email: w.Email, Slack: secret.Secret(w.Slack)}
}
