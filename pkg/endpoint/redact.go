package endpoint

import "net/url"

// RedactedURL returns the endpoint's address as it may be shown and stored:
// without the query, where credentials live.
func (e *Endpoint) RedactedURL() string {
	u := url.URL{Scheme: e.Target.Scheme, Host: e.Target.Host, Path: e.Target.Path, RawPath: e.Target.RawPath}
	return u.String()
}
