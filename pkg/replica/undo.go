package replica

import (
	"errors"
	"slices"
	"sync"

	"github.com/rs/zerolog"
)

// undo stops what was started, the last first.
type undo struct{ steps []step }

type step struct {
	name   string
	beside bool // what was added later may still be stopping
	do     func() error
}

// add adds what stops when all that is added later has stopped.
func (u *undo) add(name string, do func() error) { u.steps = append(u.steps, step{name, false, do}) }

// addBeside adds what stops while what is added later does, which does not need it.
func (u *undo) addBeside(name string, do func() error) {
	u.steps = append(u.steps, step{name, true, do})
}

func (u *undo) all(log zerolog.Logger) error {
	errs := make([]error, len(u.steps))
	var stopping sync.WaitGroup
	for i, s := range slices.Backward(u.steps) {
		if !s.beside {
			stopping.Wait()
		}
		log.Debug().Str("part", s.name).Msg("stopping")
		stopping.Go(func() { errs[i] = s.do() })
	}
	stopping.Wait()
	u.steps = nil
	return errors.Join(errs...)
}
