package endpoint

import (
	"fmt"
	"net/http"
	"net/url"
	"strings"

	"jethook/pkg/signature"
)

// Endpoint is a document made ready for the hot path: parsed once, shared by
// all deliveries and never changed. A changed document makes a new Endpoint,
// so its fields are to be read only.
type Endpoint struct {
	Document

	// Target is the parsed URL.
	Target *url.URL
	// Keys sign the requests, in the order of the document's secrets. Empty
	// when the endpoint's requests are not signed.
	Keys []signature.Key
	// Header has the document's headers under their canonical names. Nil when
	// it has none. Its values are shared between requests.
	Header http.Header
	// Revision is that of the document in the bucket, 0 for one from elsewhere.
	Revision uint64

	name    string
	created int64 // when the revision was written: a new bucket counts from 1 again
}

// Compile parses what the document holds as text. It does not validate the
// rest: documents from files and from the bucket are validated when read.
func Compile(d Document) (*Endpoint, error) {
	target, err := url.Parse(d.URL)
	if err != nil {
		// The parser's error would repeat the URL, and with it its secrets.
		return nil, fmt.Errorf("compile endpoint %s: its url cannot be parsed", d.Name())
	}
	e := &Endpoint{Document: d, Target: target}
	for i, secret := range d.Secrets {
		key, err := signature.ParseKey(secret)
		if err != nil {
			return nil, fmt.Errorf("compile endpoint %s: secrets[%d]: %w", d.Name(), i, err)
		}
		if e.Keys == nil {
			e.Keys = make([]signature.Key, 0, len(d.Secrets))
		}
		e.Keys = append(e.Keys, key)
	}
	for name, value := range d.Headers {
		if e.Header == nil {
			e.Header = make(http.Header, len(d.Headers))
		}
		e.Header.Set(name, value)
	}
	e.share()
	return e, nil
}

// share lets equal strings use the same bytes. A replica holds every endpoint
// there is, so each byte here counts a hundred thousand times.
func (e *Endpoint) share() {
	e.name = e.Tenant + "/" + e.ID
	e.Tenant, e.ID = e.name[:len(e.Tenant)], e.name[len(e.Tenant)+1:]
	if e.Lane == DefaultLane {
		e.Lane = DefaultLane
	}
	for _, s := range []Signing{SigningV1, SigningV1a, SigningNone} {
		if e.Signing == s {
			e.Signing = s
		}
	}
	e.URL = strings.Clone(e.URL)
}

// Name returns TENANT/ID.
func (e *Endpoint) Name() string { return e.name }

// The reasons for which an endpoint is not available.
const (
	ReasonDisabled = "disabled"
	ReasonPaused   = "paused"
)

// Unavailable says whether the endpoint gets no attempts for now, and why. Its
// events wait; they match it nevertheless.
func (e *Endpoint) Unavailable() (reason string, unavailable bool) {
	switch {
	case e.Disabled != nil:
		return ReasonDisabled, true
	case e.Paused:
		return ReasonPaused, true
	}
	return "", false
}
