package replica

import (
	"bytes"
	"context"
	"fmt"
	"os"
	"time"

	"jethook/pkg/endpoint"
)

// lookEvery is how often the file of endpoints is read. Reading it, rather than
// waiting for the file system to tell, also sees what a mounted volume swaps.
const lookEvery = time.Second

// followFile applies the file of endpoints now, and again whenever it changes.
func followFile(ctx context.Context, o Options, store *endpoint.Store, undo *undo) error {
	if o.EndpointsFile == "" {
		return nil
	}
	last, err := os.ReadFile(o.EndpointsFile)
	if err != nil {
		return fmt.Errorf("JETHOOK_ENDPOINTS_FILE: %w", err)
	}
	if err := applyFile(ctx, o, store, last); err != nil {
		return fmt.Errorf("JETHOOK_ENDPOINTS_FILE: %w", err)
	}
	ctx, cancel := context.WithCancel(ctx)
	stopped := make(chan struct{})
	undo.add("endpoints file", func() error { cancel(); <-stopped; return nil })
	go func() {
		defer close(stopped)
		watchFile(ctx, o, store, last)
	}()
	return nil
}

func watchFile(ctx context.Context, o Options, store *endpoint.Store, last []byte) {
	ticker := time.NewTicker(lookEvery)
	defer ticker.Stop()
	var failed string // the same trouble is reported once
	for {
		select {
		case <-ctx.Done():
			return
		case <-ticker.C:
		}
		data, err := os.ReadFile(o.EndpointsFile)
		if err == nil {
			if bytes.Equal(data, last) && failed == "" {
				continue
			}
			err = applyFile(ctx, o, store, data)
		}
		switch {
		case err == nil:
			last, failed = data, ""
		case err.Error() != failed && ctx.Err() == nil:
			failed = err.Error()
			o.Logger.Error().Err(err).Msg("the endpoints file is not applied; what was in force stays")
		}
	}
}

// applyFile applies the file's documents, its lanes first. What is not in the file stays.
func applyFile(ctx context.Context, o Options, store *endpoint.Store, data []byte) error {
	file, err := endpoint.ParseFile(o.EndpointsFile, data, endpoint.Rules{AllowHTTP: o.AllowHTTP})
	if err != nil {
		return err
	}
	for _, lane := range file.Lanes {
		applied, err := store.ApplyLane(ctx, lane)
		if err != nil {
			return err
		}
		if applied.Result != endpoint.Unchanged {
			o.Logger.Info().Str("lane", lane.ID).Str("result", string(applied.Result)).Msg("lane applied")
		}
	}
	for _, d := range file.Endpoints {
		applied, err := store.Apply(ctx, d)
		if err != nil {
			return err
		}
		log := o.Logger.With().Str("endpoint", d.Name()).Logger()
		if applied.NewSecret != "" {
			log.Info().Msg("made a signing secret: `jethook endpoint show " + d.Name() + " --secrets` tells it")
		}
		if applied.Result != endpoint.Unchanged {
			log.Info().Str("result", string(applied.Result)).Msg("endpoint applied")
		}
	}
	return nil
}
