package deadletter

import (
	"context"
	"errors"
	"fmt"
	"net/http"

	"github.com/nats-io/nats.go/jetstream"
)

// send stores a batch and removes its dead letters. again says that the batch
// met a duplicate before, although no mark told of it.
func (r *replay) send(ctx context.Context, b batch, again bool) error {
	switch {
	case len(b.letters) == 0:
		return nil
	case !r.atomic:
		return r.sendPlain(ctx, b)
	case again:
		return r.sendEach(ctx, b)
	}
	mark, err := r.store(ctx, b.letters, b.deadline)
	if refused(err) {
		return r.sendEach(ctx, b) // all were refused for the sake of one
	}
	if err != nil {
		return err
	}
	return r.finish(ctx, mark, len(b.letters), func(ctx context.Context) error {
		return r.sweep.batch(ctx, b.letters, b.end)
	})
}

// finish removes the dead letters of a batch that is stored, and last the mark.
func (r *replay) finish(ctx context.Context, mark uint64, n int, remove func(context.Context) error) error {
	ctx = context.WithoutCancel(ctx) // they are sent: finish what was begun
	if err := r.at("stored"); err != nil {
		return err
	}
	r.result.Replayed += n
	if err := remove(ctx); err != nil {
		return fmt.Errorf("%d dead letters are sent, but not all could be removed; the next replay does that: %w", n, err)
	}
	if err := r.at("removed"); err != nil {
		return err
	}
	if _, err := r.remove(ctx, r.names.Deliveries(), mark); err != nil {
		return fmt.Errorf("remove the mark of a finished batch; the next replay does that: %w", err)
	}
	r.done(n)
	return nil
}

// sendEach sends a batch as batches of one, to find out which of its letters
// are stored already or not taken.
func (r *replay) sendEach(ctx context.Context, b batch) error {
	var first error
	failed := 0
	for _, l := range b.letters {
		if ctx.Err() != nil {
			return context.Cause(ctx)
		}
		one := []outgoing{l}
		r.sweep.keep(l.subject) // no purge can follow a batch of which some may stay
		mark, err := r.store(ctx, one, b.deadline)
		switch {
		case errors.Is(err, errDuplicate):
			removed, err := r.removeAll(context.WithoutCancel(ctx), seqsOf(one))
			if err != nil {
				return err
			}
			r.result.Finished += removed
			r.done(1)
		case refused(err):
			failed++
			first = r.refuse(err, first)
		case err != nil:
			return err
		default:
			if err := r.finish(ctx, mark, 1, func(ctx context.Context) error { return r.sweep.each(ctx, one) }); err != nil {
				return err
			}
		}
	}
	return r.refusals(b, failed, first)
}

// sendPlain stores the letters of a batch one by one on a stream that takes no
// atomic batches. Their ids keep a repetition within the duplicate window away.
func (r *replay) sendPlain(ctx context.Context, b batch) error {
	errs := make([]error, len(b.letters))
	// Each letter's error is kept in errs, so that parallel meets none.
	_ = parallel(len(b.letters), func(i int) error {
		ctx, cancel := context.WithTimeout(ctx, apiTimeout)
		defer cancel()
		_, errs[i] = r.js.PublishMsg(ctx, b.letters[i].message)
		return nil // what was stored meanwhile must be known
	})
	var stored []outgoing
	var first, broken error
	failed := 0
	for i, err := range errs {
		switch {
		case err == nil:
			stored = append(stored, b.letters[i])
		case refused(err):
			r.sweep.keep(b.letters[i].subject)
			failed++
			first = r.refuse(err, first)
		default:
			r.sweep.keep(b.letters[i].subject)
			broken = fmt.Errorf("store dead letter %d as a delivery: %w", b.letters[i].seq, err)
		}
	}
	if err := r.at("stored"); err != nil {
		return err
	}
	r.result.Replayed += len(stored)
	if err := r.sweep.batch(context.WithoutCancel(ctx), stored, b.end); err != nil {
		return fmt.Errorf("%d dead letters are sent, but not all could be removed: %w", len(stored), err)
	}
	r.done(len(stored))
	if broken != nil {
		return broken
	}
	return r.refusals(b, failed, first)
}

// refuse notes the first refusal of the run and returns the first of a batch.
func (r *replay) refuse(err, first error) error {
	if r.result.Refusal == "" {
		r.result.Refusal = err.Error()
	}
	if first == nil {
		return err
	}
	return first
}

// refusals counts the letters of a batch that NATS refused. When that is all of
// many, the fault is not the letters', and going on would be of no use.
func (r *replay) refusals(b batch, failed int, first error) error {
	if failed == len(b.letters) && failed > 1 {
		return first
	}
	r.result.Refused += failed
	r.done(failed)
	return nil
}

// at marks a point at which tests interrupt.
func (s *Store) at(step string) error {
	if s.interrupt == nil {
		return nil
	}
	return s.interrupt(step)
}

// refused reports whether NATS answered that it does not take what it was sent,
// as opposed to not answering or being busy.
func refused(err error) bool {
	var api *jetstream.APIError
	return errors.As(err, &api) && api.Code < 500 && api.Code != http.StatusTooManyRequests
}
