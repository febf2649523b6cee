package deadletter

import (
	"errors"
	"fmt"
	"math"
	"slices"
	"strings"
	"time"

	"jethook/pkg/delivery"
	"jethook/pkg/endpoint"
	"jethook/streams"
)

// Filter says which dead letters are meant. The zero value means all; each
// field that is set means fewer.
type Filter struct {
	Tenant   string          // only this tenant's
	Endpoint string          // only this endpoint's; needs Tenant
	Type     string          // event type, with NATS wildcards
	Reason   delivery.Reason // why they are dead
	Since    time.Time       // dead at this time or later
	Until    time.Time       // dead before this time
	Seqs     []uint64        // only these sequences
	Limit    int             // only the oldest so many; 0 is all
}

// Validate returns an error that names the field and what is allowed.
func (f Filter) Validate() error {
	if f.Tenant != "" {
		if err := streams.CheckName(f.Tenant); err != nil {
			return fmt.Errorf("tenant %q: %w", f.Tenant, err)
		}
	}
	if f.Endpoint != "" {
		if f.Tenant == "" {
			return fmt.Errorf("endpoint %q: needs the tenant too", f.Endpoint)
		}
		if err := streams.CheckName(f.Endpoint); err != nil {
			return fmt.Errorf("endpoint %q: %w", f.Endpoint, err)
		}
	}
	if f.Type != "" {
		if err := endpoint.CheckPattern(f.Type); err != nil {
			return fmt.Errorf("type: %w", err)
		}
	}
	if f.Reason != "" && !slices.Contains(delivery.Reasons(), f.Reason) {
		return fmt.Errorf("reason %q: must be one of %s", f.Reason, reasons())
	}
	if !f.Since.IsZero() && !f.Until.IsZero() && !f.Since.Before(f.Until) {
		return fmt.Errorf("since %s: must be before until %s", f.Since.Format(time.RFC3339), f.Until.Format(time.RFC3339))
	}
	if slices.Contains(f.Seqs, 0) {
		return errors.New("seq 0: sequences begin with 1")
	}
	if f.Limit < 0 {
		return fmt.Errorf("limit %d: must not be negative", f.Limit)
	}
	return nil
}

func reasons() string {
	var all []string
	for _, r := range delivery.Reasons() {
		all = append(all, string(r))
	}
	return strings.Join(all, ", ")
}

// subject returns the subject that the letters are under, with wildcards.
func (f Filter) subject(names streams.Names) string {
	tenant, endpoint := "*", "*"
	if f.Tenant != "" {
		tenant = f.Tenant
	}
	if f.Endpoint != "" {
		endpoint = f.Endpoint
	}
	return names.DeadLetter(tenant, endpoint)
}

// whole reports whether all letters under the subject are meant.
func (f Filter) whole() bool {
	return f.Type == "" && f.Reason == "" && f.Since.IsZero() && f.Until.IsZero() && len(f.Seqs) == 0 && f.Limit == 0
}

// matches reports whether a letter under the subject is meant, Limit aside.
func (f Filter) matches(l *Letter) bool {
	switch {
	case f.Type != "" && !matchType(f.Type, l.EventType),
		f.Reason != "" && f.Reason != l.Reason,
		l.DeadAt.Before(f.Since),
		!f.Until.IsZero() && !l.DeadAt.Before(f.Until),
		len(f.Seqs) > 0 && !slices.Contains(f.Seqs, l.Seq):
		return false
	}
	return true
}

// span returns the sequences between which the letters lie, where the filter
// tells. The first is 1 where only Since bounds it.
func (f Filter) span() (first, last uint64) {
	if len(f.Seqs) == 0 {
		return 1, math.MaxUint64
	}
	return slices.Min(f.Seqs), slices.Max(f.Seqs)
}

// matchType reports whether an event type matches a pattern of NATS.
func matchType(pattern, eventType string) bool {
	if eventType == "" {
		return false
	}
	p, t := strings.Split(pattern, "."), strings.Split(eventType, ".")
	for i, token := range p {
		switch {
		case token == ">":
			return i < len(t)
		case i >= len(t), token != "*" && token != t[i]:
			return false
		}
	}
	return len(p) == len(t)
}
