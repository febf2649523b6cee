package attempt

import (
	"errors"
	"time"

	"jethook/streams"
)

// Filter says which records are meant. The zero value means all; each field that
// is set means fewer.
type Filter struct {
	Tenant   string    // only this tenant's
	Endpoint string    // only this endpoint's; needs Tenant
	Type     string    // event type, with NATS wildcards
	EventID  string    // only this event's
	Failed   bool      // only attempts that did not deliver
	Since    time.Time // made at this time or later
	Until    time.Time // made before this time
	Limit    int       // only the oldest so many; 0 is all
}

// Validate returns an error that names the field and what is allowed.
func (f Filter) Validate() error {
	if err := streams.CheckScope(f.Tenant, f.Endpoint); err != nil {
		return err
	}
	if err := streams.CheckSpan(f.Since, f.Until); err != nil {
		return err
	}
	if f.Limit < 0 {
		return errors.New("limit: must not be negative")
	}
	return nil
}

// subject returns the subject that the records are under, with wildcards.
func (f Filter) subject(n streams.Names) string {
	tenant, endpoint := "*", "*"
	if f.Tenant != "" {
		tenant = f.Tenant
	}
	if f.Endpoint != "" {
		endpoint = f.Endpoint
	}
	return n.Attempt(tenant, endpoint)
}

// matches reports whether a record under the subject is meant, Limit aside.
func (f Filter) matches(r *Record) bool {
	switch {
	case f.EventID != "" && f.EventID != r.EventID,
		f.Type != "" && !streams.Matches(f.Type, r.EventType),
		f.Failed && !r.Failed(),
		r.At.Before(f.Since),
		!f.Until.IsZero() && !r.At.Before(f.Until):
		return false
	}
	return true
}

// slack is by how much later than it began an attempt may be stored: it may take
// its endpoint's longest timeout, and as long as NATS is patiently waited for.
const slack = 10 * time.Minute

// beyond reports whether what was stored at a time comes after all that is meant.
func (f Filter) beyond(stored time.Time) bool {
	return !f.Until.IsZero() && stored.After(f.Until.Add(slack))
}
