package endpoint

import (
	"fmt"
	"io"
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/rs/zerolog"

	"jethook/pkg/retry"
	"jethook/streams"
)

// Signing says how the requests of an endpoint are signed.
type Signing string

// The kinds of signing: v1 is HMAC-SHA256 with a shared secret, v1a is ed25519
// with a private key, none sends no signature. The endpoint's secrets decide
// which signatures are sent; v1 or v1a decides what kind of secret is made
// when the document has none.
const (
	SigningV1   Signing = "v1"
	SigningV1a  Signing = "v1a"
	SigningNone Signing = "none"
)

// OnFailure says what an ordered endpoint does when an event cannot be delivered.
type OnFailure string

// What an ordered endpoint can do about an event that failed for good: hold the
// events behind it until somebody has seen to it, or skip it and go on.
const (
	OnFailureHold OnFailure = "hold"
	OnFailureSkip OnFailure = "skip"
)

// Document is what an operator writes about an endpoint. NewDocument gives one
// with every default in place; Validate says what each field allows.
type Document struct {
	// Tenant and ID name the endpoint, together TENANT/ID. Both are required.
	Tenant, ID string
	// URL is where events are posted to. Required.
	URL string
	// Events lists the patterns over event types that the endpoint wants, with
	// NATS wildcards: * stands for one token, > for all that follow. Required.
	Events []string
	// Description is for people; nothing depends on it.
	Description string
	// Contact is whom to tell of trouble beside jethook's own events. Nil, the
	// default, is nobody.
	Contact *Contact
	// Secrets sign the requests, each adding a signature until it expires. One is
	// made when the endpoint is stored without any, unless Signing is none.
	Secrets []SigningSecret
	// Signing is v1 by default; none excludes Secrets.
	Signing Signing
	// ExtraSignatures are sent beside those of Standard Webhooks, in forms that
	// receivers expect who knew another sender before.
	ExtraSignatures []ExtraSignature
	// Auth is what the receiver asks for beside signatures. Nil is nothing.
	Auth *Auth
	// TLS changes how connections are secured. Nil is the system's way.
	TLS *TLS
	// MaxBody bounds the bodies that are sent, in bytes. An event with a larger
	// one becomes a dead letter. 0, the default, is what the stream allows.
	MaxBody int
	// Timeout bounds one attempt as a whole. 15s by default.
	Timeout Duration
	// Retry says when failed attempts are repeated. retry.Default by default.
	Retry retry.Policy
	// RetryOn lists statuses from 400 to 499 to retry beside the usual ones.
	RetryOn []int
	// ExpireAfter bounds how long events wait for an endpoint that is paused
	// or disabled. 72h by default.
	ExpireAfter Duration
	// DisableAfter bounds how long an endpoint may fail: after so long of
	// nothing but failures it is disabled. 120h by default.
	DisableAfter Duration
	// RateLimit bounds attempts over time. Nil, the default, is no bound.
	RateLimit *RateLimit
	// MaxInFlight bounds attempts at one time. 64 by default.
	MaxInFlight int
	// Headers are added to each request, their values treated as secrets. jethook's
	// own cannot be replaced.
	Headers map[string]string
	// Lane names the lane of the endpoint's attempts, whatever the event's lane
	// is. "default" by default, and in effect where there is no lane of that name.
	Lane string
	// Ordered asks for one event at a time, in the order in which they were
	// published. At most MaxOrdered endpoints can.
	Ordered bool
	// OnFailure says what becomes of the events behind one that failed. It
	// takes Ordered; empty is OnFailureHold.
	OnFailure OnFailure
	// OrderedFrom is the first event that comes in order, by its sequence in
	// the stream of events. The store sets it when Ordered is switched on, never
	// a file, and keeps it as long as that stays.
	OrderedFrom uint64
	// EventsFrom is the first event that Events is for where the endpoint is
	// ordered: those before it come by what Events was then. The store sets it,
	// never a file. 0 is from before this was written down.
	EventsFrom uint64
	// Paused makes the endpoint's events wait.
	Paused bool
	// KeepPaused leaves it to the bucket whether the endpoint is paused. A file
	// that does not say so asks for it: applying it anew, as every replica does
	// at its start, must not resume what an operator paused.
	KeepPaused bool
	// PausedAt is when the endpoint was paused. The store sets it, never a file.
	// Zero is not paused, or paused before this was written down.
	PausedAt time.Time
	// Disabled is set by jethook itself, never by a file. Nil is enabled.
	Disabled *Disabled
	// AvailableSince is when the endpoint was last resumed or enabled. The store
	// sets it, never a file: what ends because an endpoint fails must not count the
	// time in which nothing could be attempted. Zero is never.
	AvailableSince time.Time
	// MadeAt is when the endpoint was made, by the clock of the server that stores
	// events, and tells it from one of that name that was removed before. The store
	// sets it, never a file. Zero is from before this was written down.
	MadeAt time.Time
}

// RateLimit bounds the attempts that an endpoint gets over time.
type RateLimit struct {
	// PerSecond is the lasting rate, more than 0.
	PerSecond float64 `json:"per_second"`
	// Burst is how many may go at once after a quiet time, at least 1.
	Burst int `json:"burst"`
}

// Disabled says why and since when jethook makes no attempts at an endpoint.
type Disabled struct {
	// Reason is in words for the operator.
	Reason string `json:"reason"`
	// At is when the endpoint was disabled.
	At time.Time `json:"at"`
}

// The defaults that are not another package's.
const (
	DefaultTimeout      = Duration(15 * time.Second)
	DefaultExpireAfter  = Duration(72 * time.Hour)
	DefaultDisableAfter = Duration(120 * time.Hour)
	DefaultMaxInFlight  = 64
	DefaultLane         = streams.DefaultLane
)

// NewDocument returns a document that has every default and still lacks a
// tenant, an id, a URL and events.
func NewDocument() Document {
	return Document{
		Signing:      SigningV1,
		Timeout:      DefaultTimeout,
		Retry:        retry.Default(),
		ExpireAfter:  DefaultExpireAfter,
		DisableAfter: DefaultDisableAfter,
		MaxInFlight:  DefaultMaxInFlight,
		Lane:         DefaultLane,
	}
}

// Name returns TENANT/ID, the endpoint's name everywhere outside of the bucket.
func (d Document) Name() string { return d.Tenant + "/" + d.ID }

// Format prints the name alone, whatever the verb: a document holds credentials
// in its secrets and often in its URL's query string and its headers, and none
// must reach a log by way of fmt. An error is fmt's own to keep: its State
// remembers it.
func (d Document) Format(f fmt.State, _ rune) { _, _ = io.WriteString(f, d.Name()) }

// MarshalZerologObject logs the name alone, for the same reason as Format.
func (d Document) MarshalZerologObject(e *zerolog.Event) { e.Str("endpoint", d.Name()) }

// clone returns a document that shares nothing with d that could be changed.
func (d Document) clone() Document {
	d.Events = slices.Clone(d.Events)
	d.Secrets = slices.Clone(d.Secrets)
	d.ExtraSignatures = slices.Clone(d.ExtraSignatures)
	d.Auth = d.Auth.clone()
	d.Contact = d.Contact.clone()
	if d.TLS != nil {
		d.TLS = new(*d.TLS)
	}
	d.RetryOn = slices.Clone(d.RetryOn)
	d.Retry.Schedule = slices.Clone(d.Retry.Schedule)
	d.Headers = maps.Clone(d.Headers)
	if d.RateLimit != nil {
		d.RateLimit = new(*d.RateLimit)
	}
	if d.Disabled != nil {
		d.Disabled = new(*d.Disabled)
	}
	return d
}

// ParseName splits TENANT/ID and checks both halves.
func ParseName(name string) (tenant, id string, err error) {
	tenant, id, found := strings.Cut(name, "/")
	if !found || !isName(tenant) || !isName(id) {
		return "", "", &NameError{Name: name}
	}
	return tenant, id, nil
}

// NameError is returned for what cannot be the name of an endpoint.
type NameError struct{ Name string }

// Error says what a name looks like.
func (e *NameError) Error() string {
	return "endpoint name " + quote(e.Name) + " must be TENANT/ENDPOINT, each " + nameRule
}
