package main

import (
	"context"
	"fmt"
	"time"

	"jethook/pkg/endpoint"
)

// endpointCmd is `jethook endpoint`.
type endpointCmd struct {
	Apply        endpointApplyCmd  `cmd:"" help:"Create or update the lanes and endpoints of a file: none of them if a document is wrong."`
	List         endpointListCmd   `cmd:"" help:"List endpoints: their state, and how much waits for each."`
	Show         endpointShowCmd   `cmd:"" help:"Show an endpoint: its state, what waits for it, and its document."`
	Remove       endpointRemoveCmd `cmd:"" help:"Remove an endpoint; what waits for it becomes dead letters, or is discarded."`
	Pause        endpointPauseCmd  `cmd:"" help:"Make an endpoint's deliveries wait."`
	Resume       endpointResumeCmd `cmd:"" help:"Let a paused endpoint's deliveries go again."`
	Enable       endpointEnableCmd `cmd:"" help:"Enable an endpoint that was disabled."`
	Test         endpointTestCmd   `cmd:"" help:"Make one attempt with a test event now; exit 1 unless 2xx."`
	RotateSecret endpointRotateCmd `cmd:"" help:"Give an endpoint a new signing secret."`
}

// withEndpoints runs do with a connection and the store of endpoints.
func (a *app) withEndpoints(ctx context.Context, do func(*client, *endpoint.Store) error) error {
	client, err := a.connect(ctx)
	if err != nil {
		return err
	}
	defer client.Close()
	store, err := client.endpoints(ctx)
	if err != nil {
		return err
	}
	return do(client, store)
}

// changeEndpoints runs do, which changes documents, and waits until the replicas
// have them in force.
func (a *app) changeEndpoints(ctx context.Context, do func(*client, *endpoint.Store) error) error {
	return a.withEndpoints(ctx, func(client *client, store *endpoint.Store) error {
		if err := do(client, store); err != nil {
			return err
		}
		a.awaitReplicas(ctx, client)
		return nil
	})
}

type endpointRotateCmd struct {
	Name    string `arg:"" placeholder:"TENANT/ENDPOINT" help:"Endpoint."`
	Overlap string `default:"24h" placeholder:"24h" help:"For how long requests carry the signatures of the old secrets too; 0s drops them at once."`
	JSON    bool   `name:"json" help:"As one JSON document."`
}

// Run gives an endpoint a new secret.
func (c *endpointRotateCmd) Run(ctx context.Context, a *app) error {
	overlap, err := endpoint.ParseDuration(c.Overlap)
	if err != nil {
		return usageError{fmt.Errorf("--overlap %q: %w", c.Overlap, err)}
	}
	return a.changeEndpoints(ctx, func(client *client, store *endpoint.Store) error {
		secret, err := store.RotateSecret(ctx, c.Name, time.Duration(overlap))
		if err != nil {
			return err
		}
		defer a.tellRotated(ctx, client, store, c.Name, time.Duration(overlap)) // once the secret is shown: that cannot be made up for
		if c.JSON {
			return encode(a.Out, newSecret(secret, map[string]any{"endpoint": c.Name}))
		}
		fmt.Fprintf(a.Out, "%s\n  new signing secret, shown once: %s\n", c.Name, secret.Reveal())
		a.tellPublicKey(secret)
		if overlap > 0 {
			fmt.Fprintf(a.Out, "  for %s, requests carry the signatures of the old secrets too\n", overlap)
		}
		return nil
	})
}
