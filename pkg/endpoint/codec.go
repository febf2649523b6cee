package endpoint

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"time"

	"jethook/pkg/retry"
	"jethook/pkg/secret"
)

// wire is a document as JSON spells it. The file reader fills the same struct,
// so that both formats have the same fields and the same defaults.
type wire struct {
	Tenant       string            `json:"tenant"`
	ID           string            `json:"id"`
	URL          string            `json:"url"`
	Events       []string          `json:"events"`
	Description  string            `json:"description,omitempty"`
	Contact      *wireContact      `json:"contact,omitempty"`
	Secrets      []wireSecret      `json:"secrets,omitempty"`
	Signing      Signing           `json:"signing"`
	Extra        []wireExtra       `json:"extra_signatures,omitempty"`
	Auth         *wireAuth         `json:"auth,omitempty"`
	TLS          *wireTLS          `json:"tls,omitempty"`
	MaxBody      int               `json:"max_body,omitempty"`
	Timeout      Duration          `json:"timeout"`
	Retry        *wireRetry        `json:"retry,omitempty"`
	RetryOn      []int             `json:"retry_on,omitempty"`
	ExpireAfter  Duration          `json:"expire_after"`
	DisableAfter Duration          `json:"disable_after"`
	RateLimit    *RateLimit        `json:"rate_limit,omitempty"`
	MaxInFlight  int               `json:"max_in_flight"`
	Headers      map[string]string `json:"headers,omitempty"`
	Lane         string            `json:"lane"`
	Ordered      bool              `json:"ordered,omitempty"`
	OnFailure    OnFailure         `json:"on_failure,omitempty"`
	OrderedFrom  uint64            `json:"ordered_from,omitempty"`
	EventsFrom   uint64            `json:"events_from,omitempty"`
	Paused       bool              `json:"paused,omitempty"`
	PausedAt     time.Time         `json:"paused_at,omitzero"`
	Disabled     *Disabled         `json:"disabled,omitempty"`
	Available    time.Time         `json:"available_since,omitzero"`
	MadeAt       time.Time         `json:"made_at,omitzero"`
}

// wireRetry tells a field that is absent from one that is zero, because a
// schedule excludes the others, and they have defaults without one.
type wireRetry struct {
	Base        *Duration    `json:"base,omitempty"`
	Factor      *float64     `json:"factor,omitempty"`
	MaxDelay    *Duration    `json:"max_delay,omitempty"`
	MaxAttempts *int         `json:"max_attempts,omitempty"`
	Jitter      retry.Jitter `json:"jitter,omitempty"`
	Schedule    []Duration   `json:"schedule,omitempty"`
}

// newWire returns the defaults, over which a document is read.
func newWire() wire { return toWire(NewDocument()) }

func toWire(d Document) wire {
	w := wire{
		Tenant: d.Tenant, ID: d.ID, URL: d.URL, Events: d.Events, Description: d.Description, Contact: toWireContact(d.Contact),
		Signing: d.Signing, Extra: toWireExtras(d.ExtraSignatures), Auth: toWireAuth(d.Auth), TLS: toWireTLS(d.TLS), MaxBody: d.MaxBody, Timeout: d.Timeout, RetryOn: d.RetryOn, ExpireAfter: d.ExpireAfter, DisableAfter: d.DisableAfter,
		RateLimit: d.RateLimit, MaxInFlight: d.MaxInFlight, Headers: d.Headers, Lane: d.Lane,
		Ordered: d.Ordered, OnFailure: d.OnFailure, OrderedFrom: d.OrderedFrom, EventsFrom: d.EventsFrom, Paused: d.Paused, PausedAt: d.PausedAt, Disabled: d.Disabled, Available: d.AvailableSince, MadeAt: d.MadeAt,
	}
	for _, s := range d.Secrets {
		w.Secrets = append(w.Secrets, wireSecret{storedText(s.Secret), s.ExpiresAt})
	}
	w.Retry = toWireRetry(d.Retry)
	return w
}

func toWireRetry(p retry.Policy) *wireRetry {
	w := &wireRetry{Jitter: p.Jitter}
	for _, d := range p.Schedule {
		w.Schedule = append(w.Schedule, Duration(d))
	}
	if w.Schedule == nil {
		w.Base, w.MaxDelay = new(Duration(p.Base)), new(Duration(p.MaxDelay))
		w.Factor, w.MaxAttempts = &p.Factor, &p.MaxAttempts
	}
	return w
}

func (w wire) document() Document {
	return Document{
		Tenant: w.Tenant, ID: w.ID, URL: w.URL, Events: w.Events, Description: w.Description, Contact: w.Contact.contact(),
		Signing: w.Signing, ExtraSignatures: w.extras(), Auth: w.Auth.auth(), TLS: w.TLS.tls(), MaxBody: w.MaxBody, Timeout: w.Timeout, Retry: w.Retry.policy(), RetryOn: w.RetryOn,
		ExpireAfter: w.ExpireAfter, DisableAfter: w.DisableAfter, RateLimit: w.RateLimit, MaxInFlight: w.MaxInFlight,
		Headers: w.Headers, Lane: w.Lane, Ordered: w.Ordered, OnFailure: w.OnFailure, OrderedFrom: w.OrderedFrom, EventsFrom: w.EventsFrom,
		Paused: w.Paused, PausedAt: w.PausedAt, Disabled: w.Disabled, AvailableSince: w.Available, MadeAt: w.MadeAt, Secrets: w.secrets(),
	}
}

func (w wire) secrets() (secrets []SigningSecret) {
	for _, s := range w.Secrets {
		secrets = append(secrets, SigningSecret{secret.Secret(s.Secret), s.ExpiresAt})
	}
	return secrets
}

// policy puts the defaults where the document is silent, which with a schedule
// is nowhere.
func (w *wireRetry) policy() retry.Policy {
	if w == nil {
		return retry.Default()
	}
	var p retry.Policy
	if len(w.Schedule) == 0 {
		p = retry.Default()
	}
	set(&p.Base, (*time.Duration)(w.Base))
	set(&p.Factor, w.Factor)
	set(&p.MaxDelay, (*time.Duration)(w.MaxDelay))
	set(&p.MaxAttempts, w.MaxAttempts)
	if w.Jitter != "" {
		p.Jitter = w.Jitter
	}
	for _, d := range w.Schedule {
		p.Schedule = append(p.Schedule, time.Duration(d))
	}
	return p
}

func set[T any](field, value *T) {
	if value != nil {
		*field = *value
	}
}

// Encode gives the document as the bucket holds it: JSON, with its secrets.
func Encode(d Document) ([]byte, error) { return toWire(d).encode() }

// MarshalJSON gives the document as Encode does, but with *** for its secrets and
// for the queries of its addresses.
func (d Document) MarshalJSON() ([]byte, error) {
	d = d.clone()
	for _, s := range d.eachSecret() {
		*s = secret.Secret(s.String())
	}
	d.URL = withoutQuery(d.URL)
	if d.Auth != nil && d.Auth.OAuth2 != nil {
		d.Auth.OAuth2.TokenURL = withoutQuery(d.Auth.OAuth2.TokenURL)
	}
	return toWire(d).encode()
}

// wireSecret is a signing secret as JSON spells it: its text alone, or with when
// it expires.
type wireSecret struct {
	Secret    storedText
	ExpiresAt time.Time
}

type expiringSecret struct {
	Secret    storedText `json:"secret"`
	ExpiresAt time.Time  `json:"expires_at,omitzero"`
}

// MarshalJSON gives a secret that never expires as a string.
func (s wireSecret) MarshalJSON() ([]byte, error) {
	if s.ExpiresAt.IsZero() {
		return encodeReadable(s.Secret)
	}
	return encodeReadable(expiringSecret(s))
}

// UnmarshalJSON reads either form. Its errors do not repeat what it reads.
func (s *wireSecret) UnmarshalJSON(data []byte) error {
	if json.Unmarshal(data, &s.Secret) == nil {
		return nil
	}
	decoder := json.NewDecoder(bytes.NewReader(data))
	decoder.DisallowUnknownFields()
	if decoder.Decode((*expiringSecret)(s)) != nil {
		return errors.New("a secret must be a string, or {secret, expires_at} with a time such as 2026-01-02T15:04:05Z")
	}
	return nil
}

func (w wire) encode() ([]byte, error) {
	data, err := encodeReadable(w)
	if err != nil {
		return nil, fmt.Errorf("encode endpoint %s/%s: %w", w.Tenant, w.ID, err)
	}
	return data, nil
}

// encodeReadable leaves ">" as it is: people read it, and it is a pattern.
func encodeReadable(v any) ([]byte, error) {
	var b bytes.Buffer
	e := json.NewEncoder(&b)
	e.SetEscapeHTML(false)
	if err := e.Encode(v); err != nil {
		return nil, err
	}
	return bytes.TrimSuffix(b.Bytes(), []byte("\n")), nil
}

// Decode reads and validates a document as the bucket holds it. What is absent
// gets its default; what is unknown is an error. Its errors repeat no values.
func Decode(data []byte, rules Rules) (Document, error) {
	w := newWire()
	w.Retry = nil
	decoder := json.NewDecoder(bytes.NewReader(data))
	decoder.DisallowUnknownFields()
	if err := decoder.Decode(&w); err != nil {
		return Document{}, fmt.Errorf("endpoint document is not valid JSON of its kind: %w", err)
	}
	if _, err := decoder.Token(); !errors.Is(err, io.EOF) {
		return Document{}, errors.New("endpoint document is followed by something else")
	}
	d := w.document()
	if err := d.Validate(rules); err != nil {
		return Document{}, err
	}
	return d, nil
}
