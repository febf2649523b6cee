package main

import (
	"context"
	"fmt"
	"io"
	"os"

	"jethook/pkg/endpoint"
)

type endpointApplyCmd struct {
	File string `short:"f" required:"" placeholder:"FILE" help:"File of lanes and endpoints; - is standard input."`
	JSON bool   `name:"json" help:"One JSON document a line."`
}

// Run applies a file, its lanes first: nothing of it when a document is wrong,
// and what comes before one that the bucket refuses.
func (c *endpointApplyCmd) Run(ctx context.Context, a *app) error {
	config, err := a.load()
	if err != nil {
		return err
	}
	name, data, err := readFile(c.File, a.In)
	if err != nil {
		return err
	}
	file, err := endpoint.ParseFile(name, data, endpoint.Rules{AllowHTTP: config.AllowHTTP, Resolve: endpoint.ResolveReference})
	if err != nil {
		return err
	}
	return a.withEndpoints(ctx, func(client *client, store *endpoint.Store) error {
		stored, err := c.apply(ctx, a, store, file)
		if err == nil {
			a.warnOfLanes(ctx, client, store, file)
		}
		if err == nil || stored && ctx.Err() == nil {
			a.awaitReplicas(ctx, client)
		}
		return err
	})
}

// apply applies the documents up to the first that is refused, and reports
// whether there was one before it.
func (c *endpointApplyCmd) apply(ctx context.Context, a *app, store *endpoint.Store, file endpoint.File) (stored bool, err error) {
	for _, lane := range file.Lanes {
		applied, err := store.ApplyLane(ctx, lane)
		if err != nil {
			return stored, err
		}
		stored = true
		if err := c.printLane(a, applied); err != nil {
			return stored, err
		}
	}
	plain := 0
	defer func() { warnOfPlain(a, plain) }()
	for _, d := range file.Endpoints {
		applied, err := store.Apply(ctx, d)
		if err != nil {
			return stored, err
		}
		stored = true
		if applied.Plain {
			plain++
		}
		if err := c.print(a, applied); err != nil {
			return stored, err
		}
	}
	return stored, nil
}

// warnOfPlain says of how many endpoints the secrets can be read in the bucket.
func warnOfPlain(a *app, endpoints int) {
	if endpoints > 0 {
		fmt.Fprintf(a.Err, "jethook: secrets are stored as they are (endpoints: %d), because no replica has announced a key to seal them with: "+
			"the first one that is started with JETHOOK_MASTER_KEYS seals them\n", endpoints)
	}
}

func (c *endpointApplyCmd) print(a *app, applied endpoint.Applied) error {
	if c.JSON {
		line := map[string]any{"endpoint": applied.Name, "result": applied.Result, "revision": applied.Revision}
		if applied.NewSecret != "" {
			line = newSecret(applied.NewSecret, line)
		}
		return encode(a.Out, line)
	}
	fmt.Fprintf(a.Out, "%s %s\n", applied.Name, applied.Result)
	if applied.NewSecret != "" {
		fmt.Fprintf(a.Out, "  signing secret, shown once: %s\n", applied.NewSecret.Reveal())
		a.tellPublicKey(applied.NewSecret)
	}
	return nil
}

func (c *endpointApplyCmd) printLane(a *app, applied endpoint.Applied) error {
	if c.JSON {
		return encode(a.Out, map[string]any{"lane": applied.Name, "result": applied.Result, "revision": applied.Revision})
	}
	fmt.Fprintf(a.Out, "lane %s %s\n", applied.Name, applied.Result)
	return nil
}

func readFile(file string, in io.Reader) (name string, data []byte, err error) {
	if file == "-" {
		data, err = io.ReadAll(in)
		return "standard input", data, err
	}
	data, err = os.ReadFile(file)
	return file, data, err
}
