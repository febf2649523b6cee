package main

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/jedib0t/go-pretty/v6/table"

	"jethook/streams"
)

// streamsCmd is `jethook streams`.
type streamsCmd struct {
	Plan  streamsPlanCmd  `cmd:"" help:"Show what apply would do."`
	Apply streamsApplyCmd `cmd:"" help:"Make what is missing, update what may change safely."`
	Check streamsCheckCmd `cmd:"" help:"Compare; exit 1 when something is missing or cannot work."`

	Permissions streamsPermissionsCmd `cmd:"" help:"Print what a user of NATS must be allowed for a role, and nothing beyond it."`
}

type streamsPlanCmd struct {
	JSON bool `name:"json" help:"One JSON document a line."`
}
type streamsApplyCmd struct {
	JSON bool `name:"json" help:"One JSON document a line."`
}
type streamsCheckCmd struct {
	JSON bool `name:"json" help:"One JSON document a line."`
}

// Run shows the differences.
func (c *streamsPlanCmd) Run(ctx context.Context, a *app) error {
	return a.topology(ctx, func(ctx context.Context, t streams.Topology, client *client) error {
		differences, err := t.Plan(ctx, client.JS)
		if err != nil {
			return err
		}
		return a.differences(differences, c.JSON)
	})
}

// Run makes and updates.
func (c *streamsApplyCmd) Run(ctx context.Context, a *app) error {
	return a.topology(ctx, func(ctx context.Context, t streams.Topology, client *client) error {
		differences, err := t.Ensure(ctx, client.JS)
		return errors.Join(err, a.differences(differences, c.JSON))
	})
}

// Run compares.
func (c *streamsCheckCmd) Run(ctx context.Context, a *app) error {
	return a.topology(ctx, func(ctx context.Context, t streams.Topology, client *client) error {
		differences, err := t.Plan(ctx, client.JS)
		if err != nil {
			return err
		}
		if err := a.differences(differences, c.JSON); err != nil {
			return err
		}
		wrong := 0
		for _, d := range differences {
			if d.Action != streams.Keep {
				wrong++
			}
		}
		if wrong > 0 {
			return fmt.Errorf("%d differences to settle: run `jethook streams apply`", wrong)
		}
		return nil
	})
}

// topology runs do with the topology and a connection.
func (a *app) topology(ctx context.Context, do func(context.Context, streams.Topology, *client) error) error {
	c, err := a.load()
	if err != nil {
		return err
	}
	client, err := a.connect(ctx)
	if err != nil {
		return err
	}
	defer client.Close()
	t, err := streams.NewTopology(streams.Options{Names: client.Names, Replicas: c.StreamReplicas})
	if err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(ctx, time.Minute)
	defer cancel()
	return do(ctx, t, client)
}

// differences prints differences.
func (a *app) differences(all []streams.Difference, asJSON bool) error {
	if asJSON {
		for _, d := range all {
			if err := encode(a.Out, d); err != nil {
				return err
			}
		}
		return nil
	}
	if len(all) == 0 {
		_, err := fmt.Fprintln(a.Out, "everything is as jethook defines it")
		return err //nolint:wrapcheck // the error of a closed pipe says it all
	}
	t := a.table("Name", "Field", "Have", "Want", "Action")
	for _, d := range all {
		t.AppendRow(table.Row{d.Name, d.Field, d.Have, d.Want, d.Action})
	}
	t.Render()
	return nil
}
