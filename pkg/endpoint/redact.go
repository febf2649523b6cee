package endpoint

import "net/url"

// RedactedURL returns the endpoint's address as it may be shown and stored:
// without the query, where credentials live.
func (e *Endpoint) RedactedURL() string {
	target := e.Parsed().Target
	u := url.URL{Scheme: target.Scheme, Host: target.Host, Path: target.Path, RawPath: target.RawPath}
	return u.String()
}
