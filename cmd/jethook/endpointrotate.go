package main

import (
	"context"
	"fmt"
	"time"

	"jethook/pkg/endpoint"
	"jethook/pkg/notify"
)

// tellRotated tells an endpoint's owner that its secret was rotated. It is rotated
// all the same if that fails, which is said.
func (a *app) tellRotated(ctx context.Context, client *client, store *endpoint.Store, name string, overlap time.Duration) {
	d, err := store.Get(ctx, name)
	if err == nil {
		now := time.Now()
		err = notify.Publish(ctx, client.JS, client.Names, notify.Rotated(name, d.RedactedURL(), now, now.Add(overlap).Truncate(time.Second)))
	}
	if err != nil {
		fmt.Fprintf(a.Err, "jethook: the secret of %s is rotated, but its owner could not be told: %v\n", name, err)
	}
}
