package endpoint

import (
	"context"
	"strings"
	"time"
)

// Quote introduces, in the reason for which an endpoint is disabled, what its
// receiver answered. What stands before it is jethook's own words.
const Quote = ", the last one: "

// Plain returns the reason without what a receiver answered.
func (d Disabled) Plain() string {
	own, _, quotes := strings.Cut(d.Reason, Quote)
	if !quotes {
		return d.Reason
	}
	return own + ") and holds those behind it"
}

// Disable stores that the endpoint gets no more attempts, and why, and reports
// whether it got some before. One that is disabled already stays as it is.
func (s *Store) Disable(ctx context.Context, name, why string) (changed bool, err error) {
	_, err = s.Update(ctx, name, func(d *Document) error {
		changed = d.Disabled == nil
		if changed {
			d.Disabled = &Disabled{Reason: why, At: time.Now().UTC()}
		}
		return nil
	})
	return changed, err
}

// Exists reports whether the bucket has a document of that name, broken or not.
func (s *Store) Exists(ctx context.Context, name string) (bool, error) {
	current, err := s.read(ctx, name)
	return current.revision != 0, err
}
