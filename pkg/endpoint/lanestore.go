package endpoint

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/nats-io/nats.go/jetstream"

	"jethook/pkg/nearest"
)

// ErrNoLane is returned for a lane that is not in the bucket.
var ErrNoLane = errors.New("no such lane")

// ErrLaneStays is returned for a lane that cannot be made what was asked for
// as long as the one of that name is there: that has other filters, or is being
// removed.
var ErrLaneStays = errors.New("cannot be changed")

// storedLane is what the bucket holds for a lane's id, nothing at revision 0.
type storedLane struct {
	lane     Lane
	revision uint64
}

// Lanes returns all lanes sorted by id, also those that are being removed, and
// what is wrong with those that cannot be read, sorted by key.
func (s *Store) Lanes(ctx context.Context) ([]Lane, []*BrokenError, error) {
	var lanes []Lane
	var broken []*BrokenError
	err := s.eachOf(ctx, laneKey("*"), func(entry jetstream.KeyValueEntry) {
		l, err := decodeLane(entry.Key(), entry.Value())
		if err != nil {
			broken = append(broken, &BrokenError{Key: entry.Key(), Err: err})
			return
		}
		lanes = append(lanes, l)
	})
	if err != nil {
		return nil, nil, fmt.Errorf("list lanes: %w", err)
	}
	slices.SortFunc(lanes, func(a, b Lane) int { return strings.Compare(a.ID, b.ID) })
	slices.SortFunc(broken, func(a, b *BrokenError) int { return strings.Compare(a.Key, b.Key) })
	return lanes, broken, nil
}

// ApplyLane makes the bucket hold the lane. A new lane begins with the next
// event. Of one that is there only the weight can change: which events are whose
// must not be judged in two ways at a time. Two lanes that are made at the same
// time can be one more than MaxLanes.
func (s *Store) ApplyLane(ctx context.Context, lane Lane) (Applied, error) {
	if err := lane.Validate(); err != nil {
		return Applied{}, fmt.Errorf("apply lane %s: %w", lane.ID, err)
	}
	applied := Applied{Name: lane.ID}
	err := s.changeLane(ctx, lane.ID, func(current storedLane) (err error) {
		applied.Result, applied.Revision, err = s.applyLane(ctx, current, lane)
		return err
	})
	if err != nil {
		return Applied{}, fmt.Errorf("apply lane %s: %w", lane.ID, err)
	}
	return applied, nil
}

func (s *Store) applyLane(ctx context.Context, current storedLane, next Lane) (Result, uint64, error) {
	before := current.lane
	next.From, next.Until = before.From, before.Until
	switch {
	case current.revision == 0:
		return s.createLane(ctx, next)
	case before.Until > 0:
		return "", 0, fmt.Errorf("it is being removed and %w: apply it again when that is done and it is gone", ErrLaneStays)
	case !sameFilters(before, next):
		return "", 0, fmt.Errorf("filters are %q and %w: remove the lane and apply it again when it is gone, or make another", before.Filters, ErrLaneStays)
	case before.Weight == next.Weight:
		return Unchanged, current.revision, nil
	}
	revision, err := s.putLane(ctx, current.revision, next)
	return Updated, revision, err
}

func (s *Store) createLane(ctx context.Context, lane Lane) (Result, uint64, error) {
	lanes, broken, err := s.Lanes(ctx)
	if err != nil {
		return "", 0, err
	}
	if n := len(lanes) + len(broken); n >= MaxLanes {
		return "", 0, fmt.Errorf("there are %d lanes, the most there can be: remove one first", n)
	}
	last, err := s.events.Last(ctx)
	if err != nil {
		return "", 0, fmt.Errorf("last event: %w", err)
	}
	lane.From = last + 1
	revision, err := s.putLane(ctx, 0, lane)
	return Created, revision, err
}

// RemoveLane lets the lane end with the last event that there is. What is the
// lane's until then is still delivered; then the workers delete it. A lane that
// is being removed already stays as it is.
func (s *Store) RemoveLane(ctx context.Context, id string) error {
	err := s.changeLane(ctx, id, func(current storedLane) error {
		if current.revision == 0 {
			return s.noLane(ctx, id)
		}
		if current.lane.Until > 0 {
			return nil
		}
		last, err := s.events.Last(ctx)
		if err != nil {
			return fmt.Errorf("last event: %w", err)
		}
		current.lane.Until = max(last, 1) // 0 would be a lane in force
		_, err = s.putLane(ctx, current.revision, current.lane)
		return err
	})
	if err != nil {
		return fmt.Errorf("remove lane %s: %w", id, err)
	}
	return nil
}

// DeleteLane deletes a lane that is being removed, for the worker that has seen
// that nothing is left of it. One that is gone already is no error; one that is
// in force, perhaps again, is.
func (s *Store) DeleteLane(ctx context.Context, id string) error {
	current, err := s.readLane(ctx, id)
	switch {
	case err != nil:
		return fmt.Errorf("delete lane %s: %w", id, err)
	case current.revision == 0:
		return nil
	case current.lane.Until == 0:
		return fmt.Errorf("delete lane %s: it is in force: remove it first", id)
	}
	if err := s.kv.Purge(ctx, laneKey(id), jetstream.LastRevision(current.revision)); err != nil {
		return fmt.Errorf("delete lane %s: %w", id, err)
	}
	return nil
}

// changeLane calls change with the lane as it is, and again when somebody else
// changed it meanwhile.
func (s *Store) changeLane(ctx context.Context, id string, change func(storedLane) error) error {
	for range maxConflicts {
		current, err := s.readLane(ctx, id)
		if err != nil {
			return err
		}
		if err := change(current); !conflicts(err) {
			return err
		}
	}
	return errConflict
}

func (s *Store) readLane(ctx context.Context, id string) (storedLane, error) {
	if !isName(id) {
		return storedLane{}, fmt.Errorf("%s cannot be the name of a lane: it must be %s", quote(id), nameRule)
	}
	entry, err := s.kv.Get(ctx, laneKey(id))
	switch {
	case errors.Is(err, jetstream.ErrKeyNotFound):
		return storedLane{}, nil
	case err != nil:
		return storedLane{}, fmt.Errorf("read lane: %w", err)
	}
	lane, err := decodeLane(entry.Key(), entry.Value())
	if err != nil {
		return storedLane{}, &BrokenError{Key: entry.Key(), Err: err}
	}
	return storedLane{lane: lane, revision: entry.Revision()}, nil
}

// putLane writes a lane over a revision, 0 for none.
func (s *Store) putLane(ctx context.Context, over uint64, lane Lane) (uint64, error) {
	data, err := encodeReadable(lane)
	if err != nil {
		return 0, err
	}
	if over == 0 {
		return s.kv.Create(ctx, laneKey(lane.ID), data)
	}
	return s.kv.Update(ctx, laneKey(lane.ID), data, over)
}

// noLane names the lane that was probably meant.
func (s *Store) noLane(ctx context.Context, id string) error {
	var ids []string
	if lanes, _, err := s.Lanes(ctx); err == nil { // else there is nothing to suggest
		for _, l := range lanes {
			ids = append(ids, l.ID)
		}
	}
	if near := nearest.Of(id, ids); near != "" {
		return fmt.Errorf("%w: did you mean %s?", ErrNoLane, near)
	}
	return ErrNoLane
}
