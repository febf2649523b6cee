package endpoint

import (
	"errors"
	"time"

	"github.com/goccy/go-yaml/ast"

	"jethook/pkg/secret"
)

var (
	secretFields         = []string{"secret", "expires_at"}
	extraSignatureFields = []string{"header", "secret", "over", "encoding", "value"}
	authFields           = []string{"basic", "bearer", "oauth2"}
	basicFields          = []string{"user", "password"}
	oauth2Fields         = []string{"token_url", "client_id", "client_secret", "scopes", "audience"}
	tlsFields            = []string{"cert", "key", "ca"}
)

// resolved reads a text, or what the text refers to.
func (s *section) resolved(node ast.Node) (string, error) {
	value, err := text(node)
	switch {
	case err != nil || !isReference(value):
	case s.rules.Resolve == nil:
		return "", errors.New("must be the value itself here, not where it is (env: or file:)")
	default:
		value, err = s.rules.Resolve(value)
	}
	if err == nil && secret.Secret(value).Sealed() {
		return "", errors.New("must be the secret itself, not what it is sealed as in the bucket")
	}
	return value, err
}

func (s *section) secret(node ast.Node) (storedText, error) {
	value, err := s.resolved(node)
	return storedText(value), err
}

func (s *section) readSecrets(w *wire, node ast.Node) {
	s.each("secrets", node, func(field string, node ast.Node) {
		var one wireSecret
		if _, ok := s.resolve(node).(ast.MapNode); !ok {
			scalar(s, field, node, &one.Secret, s.secret)
		} else {
			s.fields(node, field, secretFields, func(name string, value ast.Node) {
				switch name {
				case "secret":
					scalar(s, field+".secret", value, &one.Secret, s.secret)
				case "expires_at":
					scalar(s, field+".expires_at", value, &one.ExpiresAt, instant)
				}
			})
		}
		w.Secrets = append(w.Secrets, one)
	})
}

func (s *section) readExtraSignatures(w *wire, node ast.Node) {
	s.each("extra_signatures", node, func(field string, node ast.Node) {
		var one wireExtra
		s.fields(node, field, extraSignatureFields, func(name string, value ast.Node) {
			switch field := field + "." + name; name {
			case "header":
				scalar(s, field, value, &one.Header, text)
			case "secret":
				scalar(s, field, value, &one.Secret, s.secret)
			case "over":
				scalar(s, field, value, &one.Over, text)
			case "encoding":
				scalar(s, field, value, &one.Encoding, text)
			case "value":
				scalar(s, field, value, &one.Value, text)
			}
		})
		w.Extra = append(w.Extra, one)
	})
}

func (s *section) readAuth(w *wire, node ast.Node) {
	w.Auth = &wireAuth{}
	s.fields(node, "auth", authFields, func(name string, value ast.Node) {
		switch name {
		case "basic":
			w.Auth.Basic = &wireBasic{}
			s.readBasic(w.Auth.Basic, value)
		case "bearer":
			scalar(s, "auth.bearer", value, &w.Auth.Bearer, s.secret)
		case "oauth2":
			w.Auth.OAuth2 = &wireOAuth2{}
			s.readOAuth2(w.Auth.OAuth2, value)
		}
	})
}

func (s *section) readBasic(b *wireBasic, node ast.Node) {
	s.fields(node, "auth.basic", basicFields, func(name string, value ast.Node) {
		switch field := "auth.basic." + name; name {
		case "user":
			scalar(s, field, value, &b.User, text)
		case "password":
			scalar(s, field, value, &b.Password, s.secret)
		}
	})
}

func (s *section) readOAuth2(o *wireOAuth2, node ast.Node) {
	s.fields(node, "auth.oauth2", oauth2Fields, func(name string, value ast.Node) {
		switch field := "auth.oauth2." + name; name {
		case "token_url":
			scalar(s, field, value, &o.TokenURL, text)
		case "client_id":
			scalar(s, field, value, &o.ClientID, text)
		case "client_secret":
			scalar(s, field, value, &o.ClientSecret, s.secret)
		case "scopes":
			list(s, field, value, &o.Scopes, text)
		case "audience":
			scalar(s, field, value, &o.Audience, text)
		}
	})
}

// inlinePEM leaves references to files as they are: the replicas read them, and
// again when they change.
func (s *section) inlinePEM(node ast.Node) (string, error) {
	if value, err := text(node); err != nil || isFileReference(value) {
		return value, err
	}
	return s.resolved(node)
}

func (s *section) readTLS(w *wire, node ast.Node) {
	w.TLS = &wireTLS{}
	s.fields(node, "tls", tlsFields, func(name string, value ast.Node) {
		switch field := "tls." + name; name {
		case "cert":
			scalar(s, field, value, &w.TLS.Cert, s.inlinePEM)
		case "key":
			scalar(s, field, value, (*string)(&w.TLS.Key), s.inlinePEM)
		case "ca":
			scalar(s, field, value, &w.TLS.CA, s.inlinePEM)
		}
	})
}

// each calls read for every item of a list, with the item's field.
func (s *section) each(field string, node ast.Node, read func(field string, node ast.Node)) {
	nodes, ok := s.items(node, join(s.path, field))
	if !ok {
		s.bad = append(s.bad, field)
		return
	}
	if len(nodes) > maxItems {
		s.refuse(field, "is a list far longer than is allowed")
		return
	}
	for i, n := range nodes {
		s.at[item(field, i)] = position(n)
		read(item(field, i), n)
	}
}

// instant reads a point in time.
func instant(node ast.Node) (time.Time, error) {
	value, err := text(node)
	if err != nil {
		return time.Time{}, err
	}
	var at time.Time
	if at.UnmarshalText([]byte(value)) != nil { // as JSON does, more strictly than time.Parse
		return time.Time{}, errors.New("must be a time such as 2026-01-02T15:04:05Z")
	}
	return at, nil
}
