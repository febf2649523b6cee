package main

import (
	"context"
	"errors"
	"fmt"
	"slices"

	"github.com/nats-io/nats.go/jetstream"

	"jethook/pkg/endpoint"
	"jethook/pkg/fleet"
	"jethook/pkg/nearest"
)

// warnOfLanes says which of a file's endpoints name a lane that there is not,
// which lanes that it uses nobody serves, and whether no replica may serve any. None
// of it is an error: the lane, or the replica, may come later. The file is applied,
// so that no failure to look is one either.
func (a *app) warnOfLanes(ctx context.Context, c *client, store *endpoint.Store, file endpoint.File) {
	lanes, _, err := store.Lanes(ctx)
	if err != nil {
		fmt.Fprintf(a.Err, "jethook: it is stored, but whether its lanes are there could not be seen: %s\n", err)
		return
	}
	there := []string{endpoint.DefaultLane}
	for _, l := range lanes {
		if l.Until == 0 {
			there = append(there, l.ID)
		}
	}
	var used []string
	for _, l := range file.Lanes {
		used = append(used, l.ID)
	}
	for _, d := range file.Endpoints {
		if slices.Contains(there, d.Lane) {
			used = append(used, d.Lane)
			continue
		}
		used = append(used, endpoint.DefaultLane)
		fmt.Fprintf(a.Err, "jethook: %s: there is no lane %s: its deliveries go through the default lane until there is one%s\n", d.Name(), d.Lane, meant(d.Lane, there))
	}
	replicas, err := c.replicas(ctx)
	if err != nil {
		fmt.Fprintf(a.Err, "jethook: it is stored, but whether its lanes are served could not be seen: %s\n", err)
	}
	ordered := slices.ContainsFunc(file.Endpoints, func(d endpoint.Document) bool { return d.Ordered })
	if (ordered || len(file.Lanes) > 0) && restricted(replicas) {
		fmt.Fprintln(a.Err, "jethook: no live replica's NATS user may make consumers of events: lanes and ordered endpoints get nothing until one may (`jethook streams permissions worker --ordered`)")
	}
	slices.Sort(used)
	for _, lane := range slices.Compact(used) {
		if unserved(replicas, lane) {
			fmt.Fprintf(a.Err, "jethook: lane %s: no live replica serves it: what is in it waits until one does (JETHOOK_LANES)\n", lane)
		}
	}
}

func meant(lane string, there []string) string {
	if near := nearest.Of(lane, there); near != "" {
		return "; did you mean " + near + "?"
	}
	return ""
}

// replicas returns the live replicas.
func (c *client) replicas(ctx context.Context) ([]fleet.Member, error) {
	kv, err := c.JS.KeyValue(ctx, c.Names.ReplicasBucket())
	if errors.Is(err, jetstream.ErrBucketNotFound) {
		return nil, nil // then none has started yet
	}
	if err != nil {
		return nil, fmt.Errorf("open bucket %s: %w", c.Names.ReplicasBucket(), err)
	}
	ctx, cancel := context.WithTimeout(ctx, replicasPatience)
	defer cancel()
	return fleet.List(ctx, kv)
}

// restricted reports whether there are replicas and none may serve what takes a
// consumer of events.
func restricted(replicas []fleet.Member) bool {
	return len(replicas) > 0 && !slices.ContainsFunc(replicas, func(m fleet.Member) bool { return !m.Restricted })
}

// locked reports whether there are replicas and none can open endpoints' secrets.
func locked(replicas []fleet.Member) bool {
	return len(replicas) > 0 && !slices.ContainsFunc(replicas, func(m fleet.Member) bool { return !m.Keyless })
}

// unserved reports whether all live replicas serve other lanes. Without any,
// none says so: they are still to be started.
func unserved(replicas []fleet.Member, lane string) bool {
	return len(replicas) > 0 && !slices.ContainsFunc(replicas, func(m fleet.Member) bool { return m.Serves(lane) })
}
