package replica

import (
	"context"
	"errors"

	"github.com/nats-io/nats.go/jetstream"
	"github.com/rs/zerolog"

	"jethook/pkg/endpoint"
	"jethook/pkg/secret"
)

// masterKeys returns the ring to work with, nil if there is none.
func masterKeys(ctx context.Context, o Options, kv jetstream.KeyValue) (*secret.Ring, error) {
	if o.MasterKeys != nil {
		return o.MasterKeys, nil
	}
	return endpoint.RingInUse(ctx, kv, o.FoundKeys)
}

// seal makes known with which key secrets are sealed, and begins to seal those
// that were stored before there was one. A replica without keys works all the same:
// what it cannot open it holds, for replicas that can. keyless reports that it is one.
func seal(ctx context.Context, ring *secret.Ring, store *endpoint.Store, sole bool, log zerolog.Logger, undo *undo) (keyless bool, err error) {
	err = store.Announce(ctx, sole)
	switch {
	case ring == nil && errors.Is(err, endpoint.ErrSealedByOthers):
		log.Error().Err(err).Msg("this replica cannot open the endpoints' secrets: it makes no attempts and holds what it reads")
		return true, nil
	case ring == nil && err == nil:
		log.Warn().Msg("secrets are stored as they are: set JETHOOK_MASTER_KEYS on every replica to seal them; `jethook secrets new-key` makes one")
		return false, nil
	case err != nil:
		return false, err
	}
	ctx, stop := context.WithCancel(context.WithoutCancel(ctx))
	done := make(chan struct{})
	go func() {
		defer close(done)
		n, err := store.Rewrap(ctx, endpoint.Plain)
		if n > 0 {
			log.Info().Int("endpoints", n).Msg("sealed the secrets of endpoints that were stored as they are")
		}
		if err != nil && ctx.Err() == nil {
			log.Warn().Err(err).Msg("secrets that were stored as they are could not be sealed: `jethook secrets rewrap` tries again")
		}
	}()
	undo.add("sealing of secrets", func() error { stop(); <-done; return nil })
	return false, nil
}
