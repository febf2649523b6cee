package main

import (
	"context"
	"fmt"

	"jethook/pkg/endpoint"
)

type endpointPauseCmd struct {
	Name string `arg:"" placeholder:"TENANT/ENDPOINT" help:"Endpoint."`
}

// Run pauses an endpoint.
func (c *endpointPauseCmd) Run(ctx context.Context, a *app) error {
	return a.changeEndpoints(ctx, func(_ *client, store *endpoint.Store) error {
		d, err := store.Update(ctx, c.Name, func(d *endpoint.Document) error { d.Paused = true; return nil })
		if err != nil {
			return err
		}
		fmt.Fprintf(a.Out, "%s paused: its deliveries are held until it is resumed; those that become older than %s (expire_after) become dead letters\n", c.Name, d.ExpireAfter)
		return nil
	})
}

type endpointResumeCmd struct {
	Name string `arg:"" placeholder:"TENANT/ENDPOINT" help:"Endpoint."`
}

// Run resumes an endpoint.
func (c *endpointResumeCmd) Run(ctx context.Context, a *app) error {
	return a.release(ctx, c.Name, func(d *endpoint.Document) { d.Paused = false }, func(d endpoint.Document, s endpointState) string {
		if d.Disabled != nil {
			return "resumed, but it stays disabled: `jethook endpoint enable " + d.Name() + "` lets its deliveries go"
		}
		return "resumed: " + fedBack(s)
	})
}

type endpointEnableCmd struct {
	Name string `arg:"" placeholder:"TENANT/ENDPOINT" help:"Endpoint."`
}

// Run enables an endpoint.
func (c *endpointEnableCmd) Run(ctx context.Context, a *app) error {
	return a.release(ctx, c.Name, func(d *endpoint.Document) { d.Disabled = nil }, func(d endpoint.Document, s endpointState) string {
		if d.Paused {
			return "enabled, but it stays paused: `jethook endpoint resume " + d.Name() + "` lets its deliveries go"
		}
		return "enabled: " + fedBack(s)
	})
}

// release changes an endpoint's document so that its deliveries go, and prints
// what that means, told by the document as it is now and the state as it was
// before: what waits begins to go at once.
func (a *app) release(ctx context.Context, name string, change func(*endpoint.Document), means func(endpoint.Document, endpointState) string) error {
	return a.changeEndpoints(ctx, func(client *client, store *endpoint.Store) error {
		before, err := store.Get(ctx, name)
		if err != nil {
			return err
		}
		s, err := client.state(ctx, before)
		if err != nil {
			return err
		}
		now, err := store.Update(ctx, name, func(d *endpoint.Document) error { change(d); return nil })
		if err != nil {
			return err
		}
		fmt.Fprintf(a.Out, "%s %s\n", name, means(now, s))
		return nil
	})
}

// fedBack says what becomes of what waited.
func fedBack(s endpointState) string {
	n := s.Waiting.Held + s.Waiting.Ordered
	switch {
	case n == 0:
		return "nothing was held"
	case s.Gate != nil: // the gate closes by its probe alone
		return deliveries(n) + " that waited will be fed back as soon as a probe succeeds: it was failing before"
	case n == 1:
		return "1 delivery that waited is fed back now"
	}
	return deliveries(n) + " that waited are fed back now"
}

func deliveries(n uint64) string {
	if n == 1 {
		return "1 delivery"
	}
	return fmt.Sprintf("%d deliveries", n)
}
