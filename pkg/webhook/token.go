package webhook

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strings"
	"time"

	"golang.org/x/oauth2"
	"golang.org/x/oauth2/clientcredentials"

	"jethook/pkg/delivery"
	"jethook/pkg/egress"
	"jethook/pkg/endpoint"
)

// maxToken bounds what is kept and sent of a token: servers take few headers that
// are larger.
const maxToken = 8 << 10

// token is what an authorization server gave.
type token struct {
	text string
	end  time.Time // zero if the server did not say
}

// noToken is the error of a request that goes nowhere without a token. Its text
// names the authorization server's host and nothing else of what was asked.
func noToken(fault delivery.Fault, text string) *unsent {
	return &unsent{fault, "no access token: " + text}
}

// tokenClient asks authorization servers for tokens, by way of the client that
// judges addresses and bounds what is read.
type tokenClient struct {
	client    Client
	userAgent string
}

// ask makes the client credentials grant, within ctx. Servers are to take the
// client's credentials in the Authorization header; some want them in the form
// instead, and say no more than that they refuse.
func (c tokenClient) ask(ctx context.Context, o *endpoint.OAuth2) (token, error) {
	config := clientcredentials.Config{
		ClientID: o.ClientID, ClientSecret: o.ClientSecret.Reveal(), TokenURL: o.TokenURL, Scopes: o.Scopes,
		AuthStyle: oauth2.AuthStyleInHeader,
	}
	if o.Audience != "" {
		config.EndpointParams = url.Values{"audience": {o.Audience}}
	}
	ctx = context.WithValue(ctx, oauth2.HTTPClient, &http.Client{
		Transport:     c,
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
	})
	t, err := config.Token(ctx)
	if refused(err) {
		config.AuthStyle = oauth2.AuthStyleInParams
		t, err = config.Token(ctx)
	}
	if err != nil {
		return token{}, explain(err, o)
	}
	if len(t.AccessToken) > maxToken || strings.ContainsFunc(t.AccessToken, func(r rune) bool { return r <= ' ' || r > '~' }) {
		return token{}, explain(nil, o)
	}
	// A clone, because the text may be a part of the whole answer.
	return token{strings.Clone(t.AccessToken), t.Expiry}, nil
}

// refused reports whether the server may have refused for the place in which the
// credentials were.
func refused(err error) bool {
	r, ok := errors.AsType[*oauth2.RetrieveError](err)
	return ok && r.Response.StatusCode < 500 && r.Response.StatusCode >= 400 && r.Response.StatusCode != http.StatusTooManyRequests
}

// explain makes the error that the endpoint's owner sees.
func explain(err error, o *endpoint.OAuth2) *unsent {
	if e, ok := errors.AsType[*egress.Error](err); ok {
		return noToken(faultOf(e), e.Error())
	}
	text := "the authorization server at " + host(o)
	if r, ok := errors.AsType[*oauth2.RetrieveError](err); ok {
		text += fmt.Sprintf(" answered %d", r.Response.StatusCode)
		if code := r.ErrorCode; isErrorCode(code) && !strings.Contains(o.ClientSecret.Reveal(), code) && !strings.Contains(code, o.ClientSecret.Reveal()) {
			text += ": " + code
		}
	} else {
		text += " did not answer with a token that can be used"
	}
	// There is no way to the receiver without a token.
	return noToken(delivery.FaultConnect, text)
}

func host(o *endpoint.OAuth2) string {
	if u, err := url.Parse(o.TokenURL); err == nil { // it was when the document was written
		return u.Hostname()
	}
	return "its address"
}

// isErrorCode reports whether a stranger's text looks like the codes of RFC 6749,
// such as invalid_client.
func isErrorCode(code string) bool {
	return code != "" && len(code) <= 40 && !strings.ContainsFunc(code, func(r rune) bool { return r != '_' && (r < 'a' || r > 'z') })
}

// RoundTrip lets golang.org/x/oauth2 use the client.
func (c tokenClient) RoundTrip(req *http.Request) (*http.Response, error) {
	req.Header.Set("User-Agent", c.userAgent)
	req.Header.Set("Accept", "application/json")
	res, err := c.client.Do(req)
	if err != nil {
		return nil, err
	}
	return &http.Response{
		StatusCode: res.Status, Header: res.Header, Request: req, ContentLength: int64(len(res.Body)),
		Body: io.NopCloser(bytes.NewReader(res.Body)),
	}, nil
}
