package endpoint

import (
	"fmt"
	"net/http"
	"net/url"
	"strings"
	"sync"
	"weak"

	"jethook/pkg/retry"
	"jethook/pkg/signature"
)

// Endpoint is a document made ready for the hot path: shared by all deliveries
// and never changed. A changed document makes a new Endpoint, so its fields are
// to be read only. A replica holds every endpoint there is, so each byte here
// counts a hundred thousand times.
type Endpoint struct {
	Document

	// Revision is that of the document in the bucket, 0 for one from elsewhere.
	Revision uint64

	name    string
	created int64 // when the revision was written: a new bucket counts from 1 again

	mu     sync.Mutex
	parsed weak.Pointer[Parsed]
}

// Parsed is what requests take of a document's text. It is shared between them
// and to be read only.
type Parsed struct {
	// Target is the parsed URL.
	Target *url.URL
	// Keys sign the requests, in the order of the document's secrets. Empty
	// when the endpoint's requests are not signed.
	Keys []signature.Key
	// Header has the document's headers under their canonical names. Nil when
	// it has none.
	Header http.Header
}

// Compile makes a document ready, and fails when it cannot be parsed. It does
// not validate the rest: documents from files and from the bucket are validated
// when read.
func Compile(d Document) (*Endpoint, error) {
	if _, err := parse(d); err != nil {
		return nil, err
	}
	e := &Endpoint{Document: d}
	e.share()
	return e, nil
}

// Parsed returns what the endpoint's requests are made of. It is parsed when it
// is needed and kept for as long as the garbage collector leaves it, which is
// from request to request where there are many: kept for good, it would double
// what an endpoint takes of the memory.
func (e *Endpoint) Parsed() *Parsed {
	e.mu.Lock()
	defer e.mu.Unlock()
	if p := e.parsed.Value(); p != nil {
		return p
	}
	p, _ := parse(e.Document) // Compile saw that it can be
	e.parsed = weak.Make(p)
	return p
}

func parse(d Document) (*Parsed, error) {
	target, err := url.Parse(d.URL)
	if err != nil {
		// The parser's error would repeat the URL, and with it its secrets.
		return nil, fmt.Errorf("compile endpoint %s: its url cannot be parsed", d.Name())
	}
	p := &Parsed{Target: target}
	for i, secret := range d.Secrets {
		key, err := signature.ParseKey(secret)
		if err != nil {
			return nil, fmt.Errorf("compile endpoint %s: secrets[%d]: %w", d.Name(), i, err)
		}
		p.Keys = append(p.Keys, key)
	}
	for name, value := range d.Headers {
		if p.Header == nil {
			p.Header = make(http.Header, len(d.Headers))
		}
		p.Header.Set(name, value)
	}
	return p, nil
}

// share lets equal strings use the same bytes.
func (e *Endpoint) share() {
	e.name = e.Tenant + "/" + e.ID
	e.Tenant, e.ID = e.name[:len(e.Tenant)], e.name[len(e.Tenant)+1:]
	same(&e.Lane, DefaultLane)
	same(&e.Signing, SigningV1, SigningV1a, SigningNone)
	same(&e.OnFailure, OnFailureHold, OnFailureSkip)
	same(&e.Retry.Jitter, retry.JitterFull, retry.JitterEqual, retry.JitterProportional, retry.JitterNone)
	e.URL = strings.Clone(e.URL)
}

// same replaces a string with the constant that it equals.
func same[T ~string](s *T, constants ...T) {
	for _, c := range constants {
		if *s == c {
			*s = c
		}
	}
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
