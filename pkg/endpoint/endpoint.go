package endpoint

import (
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"strings"
	"sync"
	"sync/atomic"
	"time"
	"weak"

	"github.com/rs/zerolog"

	"jethook/pkg/retry"
	"jethook/pkg/secret"
	"jethook/pkg/signature"
)

// Endpoint is a document made ready for the hot path: shared by all deliveries
// and never changed. A changed document makes a new Endpoint, so its fields are
// to be read only, and what may be sealed by way of Parsed alone. A replica holds
// every endpoint there is, so each byte here counts a hundred thousand times, and
// each piece of memory: whenever garbage is collected, each is looked at.
type Endpoint struct {
	// By a pointer, because Go collects pieces of more than 512 bytes in another
	// way, which takes half as long again.
	*Document

	// Revision is that of the document in the bucket, 0 for one from elsewhere.
	Revision uint64

	name    string
	created int64 // when the revision was written: a new bucket counts from 1 again
	opens   *opener
	event   [1]string        // the place of Events, which are seldom more
	secret  [1]SigningSecret // likewise of Secrets

	mu     sync.Mutex
	sealed bool // whether the document has secrets that are
	parsed weak.Pointer[Parsed]
	// locked says that a secret is sealed and cannot be opened here.
	locked atomic.Bool
}

// Parsed is what requests take of a document's text. It is shared between them
// and to be read only.
type Parsed struct {
	// Target is the parsed URL.
	Target *url.URL
	// Header has the document's headers under their canonical names. Nil when
	// it has none.
	Header http.Header
	// Contact, ExtraSignatures, Auth and TLS are the document's, opened.
	Contact         *Contact
	ExtraSignatures []ExtraSignature
	Auth            *Auth
	TLS             *TLS

	keys    []signature.Key
	expires []time.Time // of each key; nil if none does
}

// Keys returns the keys that sign requests at a time, in the order of the
// document's secrets. None when the endpoint's requests are not signed.
func (p *Parsed) Keys(now time.Time) []signature.Key {
	if p.expires == nil {
		return p.keys
	}
	keys := make([]signature.Key, 0, len(p.keys))
	for i, key := range p.keys {
		if at := p.expires[i]; at.IsZero() || now.Before(at) {
			keys = append(keys, key)
		}
	}
	return keys
}

// opener is what opens secrets for all endpoints of a registry, and where it is said
// of one that it is tampered with.
type opener struct {
	ring *secret.Ring
	log  zerolog.Logger
}

// Compile makes a document ready, and fails when it cannot be parsed. What is sealed
// in it stays so, and the endpoint locked. It does not validate the rest: documents
// from files and from the bucket are validated when read.
func Compile(d Document) (*Endpoint, error) { return compile(d, &opener{log: zerolog.Nop()}) }

// compile makes a document ready that is the endpoint's alone from now on. What is
// sealed in it is opened when it is needed: that is costly, and most of a hundred
// thousand endpoints are quiet.
func compile(d Document, opens *opener) (*Endpoint, error) {
	e := &Endpoint{Document: &d, opens: opens}
	for _, s := range e.eachSecret() {
		if s.Sealed() {
			e.sealed = true
			e.locked.Store(e.locked.Load() || !opens.ring.Opens(*s))
		}
	}
	if !e.sealed {
		if _, err := parse(d); err != nil {
			return nil, err
		}
	}
	e.share()
	return e, nil
}

// ErrLocked is returned for an endpoint with a sealed secret that cannot be opened
// here: it is sealed with a master key that is not in the ring, or tampered with.
var ErrLocked = errors.New("its secrets cannot be opened with these master keys")

// Parsed returns what the endpoint's requests are made of, or an error that is
// ErrLocked. It is parsed when it is needed and kept for as long as the garbage
// collector leaves it, which is from request to request where there are many: kept
// for good, it would double what an endpoint takes of the memory.
func (e *Endpoint) Parsed() (*Parsed, error) {
	e.mu.Lock()
	defer e.mu.Unlock()
	if p := e.parsed.Value(); p != nil {
		return p, nil
	}
	if e.locked.Load() {
		return nil, ErrLocked
	}
	if err := e.unseal(); err != nil {
		return nil, e.lock(err)
	}
	p, err := parse(*e.Document)
	if err != nil { // compile saw that it can be, unless it was sealed
		return nil, e.lock(err)
	}
	e.parsed = weak.Make(p)
	return p, nil
}

// unseal opens the document's secrets for good: opened anew for each garbage
// collection, they would cost more than all else.
func (e *Endpoint) unseal() error {
	if !e.sealed {
		return nil
	}
	for about, s := range e.eachSecret() {
		var err error
		if *s, err = e.opens.ring.Open(*s, about); err != nil {
			return err
		}
	}
	e.sealed = false
	return nil
}

// lock makes the endpoint unavailable until there is another document.
func (e *Endpoint) lock(err error) error {
	e.locked.Store(true)
	e.opens.log.Error().Err(err).Str("endpoint", e.name).Msg("a secret in the bucket is of no use: the endpoint's events are held until it is applied anew with its secrets")
	return fmt.Errorf("%w: %w", ErrLocked, err)
}

func parse(d Document) (*Parsed, error) {
	target, err := url.Parse(d.URL)
	if err != nil {
		// The parser's error would repeat the URL, and with it its secrets.
		return nil, fmt.Errorf("compile endpoint %s: its url cannot be parsed", d.Name())
	}
	same(&target.Scheme, "https", "http") // connections keep it for as long as they are open
	p := &Parsed{Target: target, Contact: d.Contact, ExtraSignatures: d.ExtraSignatures, Auth: d.Auth, TLS: d.TLS}
	for i, s := range d.Secrets {
		key, err := signature.ParseKey(s.Secret)
		if err != nil {
			return nil, fmt.Errorf("compile endpoint %s: secrets[%d]: %w", d.Name(), i, err)
		}
		if !key.CanSign() {
			return nil, fmt.Errorf("compile endpoint %s: secrets[%d] is a public key, which cannot sign", d.Name(), i)
		}
		p.keys = append(p.keys, key)
		if !s.ExpiresAt.IsZero() {
			if p.expires == nil {
				p.expires = make([]time.Time, len(d.Secrets))
			}
			p.expires[i] = s.ExpiresAt
		}
	}
	for name, value := range d.Headers {
		if p.Header == nil {
			p.Header = make(http.Header, len(d.Headers))
		}
		p.Header.Set(name, value)
	}
	return p, nil
}

// share lets equal strings use the same bytes, and puts those that every endpoint
// has into two pieces of memory: its name and patterns, which maps may keep when it
// is gone, and its URL and secrets, which nothing may.
func (e *Endpoint) share() {
	same(&e.Lane, DefaultLane)
	same(&e.Signing, SigningV1, SigningV1a, SigningNone)
	same(&e.OnFailure, OnFailureHold, OnFailureSkip)
	same(&e.Retry.Jitter, retry.JitterFull, retry.JitterEqual, retry.JitterProportional, retry.JitterNone)

	e.name = e.Tenant + "/" + e.ID
	e.Events = append(e.event[:0], e.Events...)
	public := []*string{&e.name}
	for i := range e.Events {
		public = append(public, &e.Events[i])
	}
	adjoin(public)
	e.Tenant, e.ID = e.name[:len(e.Tenant)], e.name[len(e.Tenant)+1:]

	e.Secrets = append(e.secret[:0], e.Secrets...)
	private := []*string{&e.URL}
	if !e.sealed { // or else the texts go when they are opened
		for i := range e.Secrets {
			private = append(private, (*string)(&e.Secrets[i].Secret))
		}
	}
	adjoin(private)
}

// adjoin puts texts side by side into a piece of memory of their own.
func adjoin(texts []*string) {
	size := 0
	for _, text := range texts {
		size += len(*text)
	}
	var all strings.Builder
	all.Grow(size)
	for _, text := range texts {
		all.WriteString(*text)
	}
	rest := all.String()
	for _, text := range texts {
		n := len(*text)
		*text, rest = rest[:n], rest[n:]
	}
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
	ReasonLocked   = "locked" // see ErrLocked
)

// Unavailable says whether the endpoint gets no attempts for now, and why. Its
// events wait; they match it nevertheless.
func (e *Endpoint) Unavailable() (reason string, unavailable bool) {
	switch {
	case e.Disabled != nil:
		return ReasonDisabled, true
	case e.Paused:
		return ReasonPaused, true
	case e.locked.Load():
		return ReasonLocked, true
	}
	return "", false
}
