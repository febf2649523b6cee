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
	if err := streams.CheckScope(f.Tenant, f.Endpoint); err != nil {
		return err
	}
	if f.Type != "" {
		if err := endpoint.CheckPattern(f.Type); err != nil {
			return fmt.Errorf("type: %w", err)
		}
	}
	if f.Reason != "" && !slices.Contains(delivery.Reasons(), f.Reason) {
		return fmt.Errorf("reason %q: must be one of %s", f.Reason, reasons())
	}
	if err := streams.CheckSpan(f.Since, f.Until); err != nil {
		return err
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
	case f.Type != "" && (l.EventType == "" || !streams.Matches(f.Type, l.EventType)),
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
