package webhook

import (
	"context"
	"encoding/base64"

	"jethook/pkg/endpoint"
)

const bearer = "Bearer "

// authorization returns the Authorization header that an endpoint asks for, empty
// if it asks for none. A token may have to be fetched first, within ctx; the error
// is then an *unsent.
func (s *Sender) authorization(ctx context.Context, a *endpoint.Auth) (string, error) {
	switch {
	case a == nil:
		return "", nil
	case a.Basic != nil:
		return "Basic " + base64.StdEncoding.EncodeToString([]byte(a.Basic.User+":"+a.Basic.Password.Reveal())), nil
	case a.OAuth2 != nil:
		token, err := s.tokens.get(ctx, a.OAuth2)
		if err != nil {
			return "", err
		}
		return bearer + token, nil
	}
	return bearer + a.Bearer.Reveal(), nil
}
