package endpoint

import (
	"context"
	"time"
)

// Disable stores that the endpoint gets no more attempts, and why. One that is
// disabled already stays as it is.
func (s *Store) Disable(ctx context.Context, name, why string) error {
	_, err := s.Update(ctx, name, func(d *Document) error {
		if d.Disabled == nil {
			d.Disabled = &Disabled{Reason: why, At: time.Now().UTC()}
		}
		return nil
	})
	return err
}
