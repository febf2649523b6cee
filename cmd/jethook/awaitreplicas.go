package main

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/nats-io/nats.go/jetstream"

	"jethook/pkg/fleet"
)

// replicasPatience is how long a command waits for the replicas.
const replicasPatience = 10 * time.Second

// awaitReplicas waits until every live replica has in force what the bucket of
// endpoints holds, and says so when one has not in time. That is no failure: what
// was changed is stored, and every replica gets to it.
func (a *app) awaitReplicas(ctx context.Context, c *client) {
	patience := replicasPatience
	if a.patience > 0 {
		patience = a.patience
	}
	ctx, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	behind, err := c.behind(ctx)
	if err != nil {
		fmt.Fprintf(a.Err, "jethook: it is stored, but whether the replicas have it in force could not be seen: %s\n", err)
	}
	if len(behind) > 0 {
		fmt.Fprintf(a.Err, "jethook: it is stored, but these replicas have it not in force yet: %s; until they have, events may be matched against the old documents there\n",
			plain(strings.Join(behind, ", ")))
	}
}

// behind returns the live replicas that still had older documents in force when
// ctx ended, and none as soon as there is none.
func (c *client) behind(ctx context.Context) ([]string, error) {
	replicas, err := c.JS.KeyValue(ctx, c.Names.ReplicasBucket())
	if errors.Is(err, jetstream.ErrBucketNotFound) {
		return nil, nil // then there never was a replica that says so
	}
	if err != nil {
		return nil, fmt.Errorf("open bucket %s: %w", c.Names.ReplicasBucket(), err)
	}
	// The bucket's last revision, not that of one document: it is known of
	// removals too, and covers all that this command wrote.
	documents, err := c.JS.Stream(ctx, "KV_"+c.Names.EndpointsBucket())
	if err != nil {
		return nil, fmt.Errorf("look at bucket %s: %w", c.Names.EndpointsBucket(), err)
	}
	return fleet.InForce(ctx, replicas, documents.CachedInfo().State.LastSeq)
}
