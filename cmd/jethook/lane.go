package main

import (
	"context"
	"fmt"
	"strings"

	"github.com/jedib0t/go-pretty/v6/table"

	"jethook/pkg/endpoint"
	"jethook/streams"
)

// laneCmd is `jethook lane`.
type laneCmd struct {
	List   laneListCmd   `cmd:"" help:"List lanes: their state, and how much waits in each."`
	Remove laneRemoveCmd `cmd:"" help:"Remove a lane; what is in it is still delivered."`
}

type laneListCmd struct {
	JSON bool `name:"json" help:"One JSON document a line."`
}

// The states of a lane.
const (
	laneActive   = "active"
	laneDraining = "draining"   // it gets no new events, and is deleted when it is empty
	laneUnserved = "not served" // by any of the live replicas: what is in it waits
)

// laneState is a lane and what waits in it.
type laneState struct {
	ID      string   `json:"id"`
	State   string   `json:"state"`
	Filters []string `json:"filters"`
	Weight  int      `json:"weight"`
	Waiting struct { // nil is unknown: the consumer is not there
		Events     *uint64 `json:"events"`
		Deliveries *uint64 `json:"deliveries"`
	} `json:"waiting"`
}

// Run lists the lanes, the default one first, and the documents that cannot be
// read.
func (c *laneListCmd) Run(ctx context.Context, a *app) error {
	return a.withEndpoints(ctx, func(client *client, store *endpoint.Store) error {
		lanes, broken, err := store.Lanes(ctx)
		if err != nil {
			return err
		}
		for _, b := range broken {
			fmt.Fprintf(a.Err, "jethook: %s\n", b)
		}
		replicas, err := client.replicas(ctx)
		if err != nil {
			return err
		}
		t := a.table("ID", "State", "Filters", "Weight", "Waiting")
		for _, lane := range append([]endpoint.Lane{{ID: endpoint.DefaultLane, Weight: 1}}, lanes...) {
			l, err := client.lane(ctx, lane)
			if err != nil {
				return err
			}
			if unserved(replicas, lane.ID) {
				l.notServed()
			}
			if c.JSON {
				if err := encode(a.Out, l); err != nil {
					return err
				}
				continue
			}
			t.AppendRow(table.Row{l.ID, l.State, l.filters(), l.Weight, l.waiting()})
		}
		if !c.JSON {
			t.Render()
		}
		return nil
	})
}

// lane returns how a lane fares.
func (c *client) lane(ctx context.Context, lane endpoint.Lane) (laneState, error) {
	l := laneState{ID: lane.ID, State: laneActive, Filters: append([]string{}, lane.Filters...), Weight: lane.Weight}
	if lane.Until > 0 {
		l.State = laneDraining
	}
	var err error
	if l.Waiting.Events, err = c.pendingIfAny(ctx, c.Names.Events(), streams.FanoutOf(lane.ID)); err != nil {
		return l, err
	}
	l.Waiting.Deliveries, err = c.pendingIfAny(ctx, c.Names.Deliveries(), streams.DeliverOf(lane.ID))
	return l, err
}

// notServed keeps it seen that a lane is being removed: that cannot end.
func (l *laneState) notServed() {
	if l.State == laneDraining {
		l.State += ", " + laneUnserved
		return
	}
	l.State = laneUnserved
}

func (l laneState) waiting() string {
	if l.Waiting.Events == nil || l.Waiting.Deliveries == nil {
		return "?"
	}
	return count(*l.Waiting.Events + *l.Waiting.Deliveries)
}

func (l laneState) filters() string {
	switch {
	case l.ID == endpoint.DefaultLane:
		return "(what is in no other)"
	case len(l.Filters) == 0:
		return "(endpoints that name it)"
	}
	return strings.Join(l.Filters, " ")
}

type laneRemoveCmd struct {
	ID  string `arg:"" placeholder:"LANE" help:"Lane."`
	Yes bool   `short:"y" help:"Do not ask."`
}

// Run removes a lane.
func (c *laneRemoveCmd) Run(ctx context.Context, a *app) error {
	if c.ID == endpoint.DefaultLane {
		return usageError{fmt.Errorf("the lane %s is there always: it cannot be removed", c.ID)}
	}
	if err := streams.CheckName(c.ID); err != nil {
		return usageError{fmt.Errorf("lane %q: %w", c.ID, err)}
	}
	return a.changeEndpoints(ctx, func(_ *client, store *endpoint.Store) error {
		if !c.Yes {
			ok, err := a.ask("Remove lane " + c.ID + "? What is in it is still delivered, and new events take the default lane or another.")
			if err != nil {
				return err
			}
			if !ok {
				return errNotRemoved
			}
		}
		if err := store.RemoveLane(ctx, c.ID); err != nil {
			return err
		}
		fmt.Fprintf(a.Out, "lane %s draining: the replicas deliver what is in it and then delete it\n", c.ID)
		return nil
	})
}
