package replica

import (
	"context"
	"fmt"

	"github.com/nats-io/nats.go/jetstream"

	"jethook/pkg/hold"
	"jethook/streams"
)

// checkRights finds at the start what the user may not do and what shows only
// when something goes wrong: without feeds, what was held would never be
// delivered. Lanes and ordered endpoints are not everybody's, so that the lack of
// a right for them is only said; restricted reports it.
func checkRights(ctx context.Context, o Options, js jetstream.JetStream) (restricted bool, err error) {
	if !hold.NewStore(js, o.Names).MayFeed(ctx) {
		return false, fmt.Errorf("this NATS user may not make the consumers that feed back what is held for an endpoint in trouble: "+
			"allow it to publish to %s", creates(o.Names.Deliveries()))
	}
	const anybody = "jethook"
	restricted = !streams.MayMake(ctx, js, streams.Ordered(o.Names, anybody, anybody, []string{">"}, 1))
	if restricted {
		o.Logger.Warn().Str("permission", creates(o.Names.Events())).
			Msg("this NATS user may not make consumers of events: ordered endpoints, if there are any, get nothing; neither do lanes, unless whoever makes them also makes their consumers. Every replica's user needs the permission")
	}
	return restricted, nil
}

// creates returns the subject on which a stream's consumers are made.
func creates(stream string) string { return "$JS.API.CONSUMER.CREATE." + stream + ".>" }
