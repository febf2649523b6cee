package replica

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"time"

	"jethook/pkg/endpoint"
)

// lookEvery is how often the file of endpoints is read. Reading it, rather than
// waiting for the file system to tell, also sees what a mounted volume swaps.
const lookEvery = time.Second

// follower applies the file of endpoints and knows what of it is not applied.
type follower struct {
	o     Options
	store *endpoint.Store
	last  []byte // what was applied
	// waiting are its lanes that the store did not take, because those that are
	// there are in the way, and refused is why, as it was reported last.
	waiting []endpoint.Lane
	refused string
}

// followFile applies the file of endpoints now, and again whenever it changes.
func followFile(ctx context.Context, o Options, store *endpoint.Store, undo *undo) error {
	if o.EndpointsFile == "" {
		return nil
	}
	f := &follower{o: o, store: store}
	data, err := os.ReadFile(o.EndpointsFile)
	if err == nil {
		err = f.apply(ctx, data)
	}
	if err != nil && !errors.Is(err, endpoint.ErrUnserved) { // which is this replica's to mend, once it works
		return fmt.Errorf("JETHOOK_ENDPOINTS_FILE: %w", err)
	}
	ctx, cancel := context.WithCancel(ctx)
	stopped := make(chan struct{})
	undo.add("endpoints file", func() error { cancel(); <-stopped; return nil })
	go func() {
		defer close(stopped)
		f.watch(ctx)
	}()
	return nil
}

func (f *follower) watch(ctx context.Context) {
	ticker := time.NewTicker(lookEvery)
	defer ticker.Stop()
	var failed string // the same trouble is reported once
	for {
		select {
		case <-ctx.Done():
			return
		case <-ticker.C:
		}
		data, err := os.ReadFile(f.o.EndpointsFile)
		switch {
		case err != nil:
		case failed != "" || !bytes.Equal(data, f.last):
			err = f.apply(ctx, data)
		default:
			// Not the whole file: that would undo again and again what operators
			// change meanwhile.
			err = f.lanes(ctx, f.waiting)
		}
		switch {
		case err == nil:
			failed = ""
		case err.Error() != failed && ctx.Err() == nil:
			failed = err.Error()
			f.o.Logger.Error().Err(err).Msg("the endpoints file is not applied; what was in force stays")
		}
	}
}

// apply applies the file's documents, its lanes first. What is not in the file stays.
func (f *follower) apply(ctx context.Context, data []byte) error {
	file, err := endpoint.ParseFile(f.o.EndpointsFile, data, endpoint.Rules{AllowHTTP: f.o.Egress.AllowHTTP, Resolve: endpoint.ResolveReference})
	if err != nil {
		return err
	}
	if err := f.lanes(ctx, file.Lanes); err != nil {
		return err
	}
	var unserved error
	for _, d := range file.Endpoints {
		switch err := f.endpoint(ctx, d); {
		case errors.Is(err, endpoint.ErrUnserved):
			unserved = errors.Join(unserved, err)
		case err != nil:
			return err
		}
	}
	if unserved == nil {
		f.last = data
	}
	return unserved
}

// lanes applies lanes. Those that are in the way of one are no reason to leave
// endpoints without their documents, nor the replica without work.
func (f *follower) lanes(ctx context.Context, lanes []endpoint.Lane) error {
	var waiting []endpoint.Lane
	var refused error
	for _, lane := range lanes {
		applied, err := f.store.ApplyLane(ctx, lane)
		switch {
		case errors.Is(err, endpoint.ErrLaneStays):
			waiting, refused = append(waiting, lane), errors.Join(refused, err)
		case err != nil:
			return err
		case applied.Result != endpoint.Unchanged:
			f.o.Logger.Info().Str("lane", lane.ID).Str("result", string(applied.Result)).Msg("lane applied")
		}
	}
	f.waiting = waiting
	if refused == nil {
		f.refused = ""
	} else if refused.Error() != f.refused {
		f.refused = refused.Error()
		f.o.Logger.Error().Err(refused).Msg("lanes of the endpoints file are not applied, the rest of it is; trying again until they can be")
	}
	return nil
}

func (f *follower) endpoint(ctx context.Context, d endpoint.Document) error {
	applied, err := f.store.Apply(ctx, d)
	if err != nil {
		return err
	}
	log := f.o.Logger.With().Str("endpoint", d.Name()).Logger()
	if applied.NewSecret != "" {
		log.Info().Msg("made a signing secret: `jethook endpoint show " + d.Name() + " --secrets` tells it")
	}
	if applied.Result != endpoint.Unchanged {
		log.Info().Str("result", string(applied.Result)).Msg("endpoint applied")
	}
	return nil
}
