package replica

import (
	"errors"
	"slices"

	"github.com/rs/zerolog"
)

// undo stops what was started, the last first.
type undo struct{ steps []step }

type step struct {
	name string
	do   func() error
}

func (u *undo) add(name string, do func() error) { u.steps = append(u.steps, step{name, do}) }

func (u *undo) all(log zerolog.Logger) error {
	var errs []error
	for _, s := range slices.Backward(u.steps) {
		log.Debug().Str("part", s.name).Msg("stopping")
		errs = append(errs, s.do())
	}
	u.steps = nil
	return errors.Join(errs...)
}
