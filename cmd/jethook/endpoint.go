package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"strings"

	"github.com/jedib0t/go-pretty/v6/table"

	"jethook/pkg/endpoint"
)

// endpointCmd is `jethook endpoint`.
type endpointCmd struct {
	Apply        endpointApplyCmd  `cmd:"" help:"Create or update the endpoints of a file."`
	List         endpointListCmd   `cmd:"" help:"List endpoints."`
	Show         endpointShowCmd   `cmd:"" help:"Show an endpoint."`
	Remove       endpointRemoveCmd `cmd:"" help:"Remove an endpoint; what waits for it becomes dead letters."`
	Pause        endpointPauseCmd  `cmd:"" help:"Make an endpoint's deliveries wait."`
	Resume       endpointResumeCmd `cmd:"" help:"Let a paused endpoint's deliveries go again."`
	Enable       endpointEnableCmd `cmd:"" help:"Enable an endpoint that was disabled."`
	Test         endpointTestCmd   `cmd:"" help:"Make one attempt with a test event now; exit 1 unless 2xx."`
	RotateSecret endpointRotateCmd `cmd:"" help:"Give an endpoint a new signing secret."`
}

// withEndpoints runs do with the store of endpoints.
func (a *app) withEndpoints(ctx context.Context, do func(*endpoint.Store) error) error {
	client, err := a.connect(ctx)
	if err != nil {
		return err
	}
	defer client.Close()
	store, err := client.endpoints(ctx)
	if err != nil {
		return err
	}
	return do(store)
}

type endpointApplyCmd struct {
	File string `short:"f" required:"" placeholder:"FILE" help:"File of endpoint documents; - is standard input."`
	JSON bool   `name:"json" help:"One JSON document a line."`
}

// Run applies a file: all of it, or nothing when a document is wrong.
func (c *endpointApplyCmd) Run(ctx context.Context, a *app) error {
	config, err := a.load()
	if err != nil {
		return err
	}
	name, data, err := readFile(c.File, a.In)
	if err != nil {
		return err
	}
	documents, err := endpoint.ParseFile(name, data, endpoint.Rules{AllowHTTP: config.AllowHTTP})
	if err != nil {
		return err
	}
	return a.withEndpoints(ctx, func(store *endpoint.Store) error {
		for _, d := range documents {
			applied, err := store.Apply(ctx, d)
			if err != nil {
				return err
			}
			if err := c.print(a, d, applied); err != nil {
				return err
			}
		}
		return nil
	})
}

func (c *endpointApplyCmd) print(a *app, d endpoint.Document, applied endpoint.Applied) error {
	for _, field := range d.NotInForce() {
		fmt.Fprintf(a.Err, "jethook: %s of %s is stored but not enforced by this version\n", field, d.Name())
	}
	if c.JSON {
		line := map[string]any{"endpoint": d.Name(), "result": applied.Result, "revision": applied.Revision}
		if applied.NewSecret != "" {
			line["secret"] = applied.NewSecret.Reveal()
		}
		return encode(a.Out, line)
	}
	fmt.Fprintf(a.Out, "%s %s\n", d.Name(), applied.Result)
	if applied.NewSecret != "" {
		fmt.Fprintf(a.Out, "  signing secret, shown once: %s\n", applied.NewSecret.Reveal())
	}
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

func encode(w io.Writer, v any) error {
	e := json.NewEncoder(w)
	e.SetEscapeHTML(false)
	if err := e.Encode(v); err != nil {
		return fmt.Errorf("print: %w", err)
	}
	return nil
}

type endpointListCmd struct {
	Tenant string `help:"Only this tenant's."`
	JSON   bool   `name:"json" help:"One JSON document a line."`
}

// Run lists endpoints, and the documents that cannot be read.
func (c *endpointListCmd) Run(ctx context.Context, a *app) error {
	return a.withEndpoints(ctx, func(store *endpoint.Store) error {
		documents, broken, err := store.List(ctx)
		if err != nil {
			return err
		}
		for _, b := range broken {
			fmt.Fprintf(a.Err, "jethook: %s\n", b)
		}
		t := a.table("Endpoint", "State", "Events", "URL")
		for _, d := range documents {
			if c.Tenant != "" && d.Tenant != c.Tenant {
				continue
			}
			if c.JSON {
				if err := encode(a.Out, d); err != nil {
					return err
				}
				continue
			}
			t.AppendRow(table.Row{d.Name(), state(d), strings.Join(d.Events, " "), redactedURL(d)})
		}
		if !c.JSON {
			t.Render()
		}
		return nil
	})
}

func state(d endpoint.Document) string {
	switch {
	case d.Disabled != nil:
		return "disabled"
	case d.Paused:
		return "paused"
	}
	return "active"
}

func redactedURL(d endpoint.Document) string {
	e, err := endpoint.Compile(d)
	if err != nil {
		return "" // List gives only documents that compile
	}
	return e.RedactedURL()
}

type endpointShowCmd struct {
	Name    string `arg:"" placeholder:"TENANT/ENDPOINT" help:"Endpoint."`
	Secrets bool   `help:"Show the signing secrets too."`
	JSON    bool   `name:"json" help:"As one JSON document."`
}

// Run shows an endpoint's document and state.
func (c *endpointShowCmd) Run(ctx context.Context, a *app) error {
	return a.withEndpoints(ctx, func(store *endpoint.Store) error {
		d, err := store.Get(ctx, c.Name)
		if err != nil {
			return err
		}
		document, err := c.document(d)
		if err != nil {
			return err
		}
		if c.JSON {
			return encode(a.Out, document)
		}
		fmt.Fprintf(a.Out, "%s: %s\n", d.Name(), state(d))
		if d.Disabled != nil {
			fmt.Fprintf(a.Out, "disabled at %s: %s\n", d.Disabled.At.Format("2006-01-02 15:04:05Z07:00"), d.Disabled.Reason)
		}
		e := json.NewEncoder(a.Out)
		e.SetEscapeHTML(false)
		e.SetIndent("", "  ")
		if err := e.Encode(document); err != nil {
			return fmt.Errorf("print: %w", err)
		}
		return nil
	})
}

// document returns the document as JSON, its secrets hidden unless they were
// asked for.
func (c *endpointShowCmd) document(d endpoint.Document) (json.RawMessage, error) {
	if c.Secrets {
		return endpoint.Encode(d)
	}
	return d.MarshalJSON()
}

type endpointRemoveCmd struct {
	Name string `arg:"" placeholder:"TENANT/ENDPOINT" help:"Endpoint."`
	Yes  bool   `short:"y" help:"Do not ask."`
}

// Run removes an endpoint.
func (c *endpointRemoveCmd) Run(ctx context.Context, a *app) error {
	return a.withEndpoints(ctx, func(store *endpoint.Store) error {
		if !c.Yes {
			ok, err := a.ask("Remove " + c.Name + "? Its deliveries that still wait become dead letters.")
			if err != nil {
				return err
			}
			if !ok {
				return errors.New("nothing was removed")
			}
		}
		if err := store.Remove(ctx, c.Name); err != nil {
			return err
		}
		fmt.Fprintf(a.Out, "%s removed\n", c.Name)
		return nil
	})
}

// changeEndpoint changes an endpoint's document and says what it is now.
func (a *app) changeEndpoint(ctx context.Context, name, now string, change func(*endpoint.Document)) error {
	return a.withEndpoints(ctx, func(store *endpoint.Store) error {
		_, err := store.Update(ctx, name, func(d *endpoint.Document) error { change(d); return nil })
		if err != nil {
			return err
		}
		fmt.Fprintf(a.Out, "%s %s\n", name, now)
		return nil
	})
}

type endpointPauseCmd struct {
	Name string `arg:"" placeholder:"TENANT/ENDPOINT" help:"Endpoint."`
}

// Run pauses an endpoint.
func (c *endpointPauseCmd) Run(ctx context.Context, a *app) error {
	return a.changeEndpoint(ctx, c.Name, "paused: its deliveries wait until it is resumed", func(d *endpoint.Document) { d.Paused = true })
}

type endpointResumeCmd struct {
	Name string `arg:"" placeholder:"TENANT/ENDPOINT" help:"Endpoint."`
}

// Run resumes an endpoint.
func (c *endpointResumeCmd) Run(ctx context.Context, a *app) error {
	return a.changeEndpoint(ctx, c.Name, "resumed: what waited goes within a minute", func(d *endpoint.Document) { d.Paused = false })
}

type endpointEnableCmd struct {
	Name string `arg:"" placeholder:"TENANT/ENDPOINT" help:"Endpoint."`
}

// Run enables an endpoint.
func (c *endpointEnableCmd) Run(ctx context.Context, a *app) error {
	return a.changeEndpoint(ctx, c.Name, "enabled: what waited goes within a minute", func(d *endpoint.Document) { d.Disabled = nil })
}

type endpointRotateCmd struct {
	Name   string `arg:"" placeholder:"TENANT/ENDPOINT" help:"Endpoint."`
	Retire bool   `help:"Drop the old secrets at once; otherwise requests carry the signatures of old and new."`
	JSON   bool   `name:"json" help:"As one JSON document."`
}

// Run gives an endpoint a new secret.
func (c *endpointRotateCmd) Run(ctx context.Context, a *app) error {
	return a.withEndpoints(ctx, func(store *endpoint.Store) error {
		secret, err := store.RotateSecret(ctx, c.Name, !c.Retire)
		if err != nil {
			return err
		}
		if c.JSON {
			return encode(a.Out, map[string]string{"endpoint": c.Name, "secret": secret.Reveal()})
		}
		fmt.Fprintf(a.Out, "%s\n  new signing secret, shown once: %s\n", c.Name, secret.Reveal())
		if !c.Retire {
			fmt.Fprintln(a.Out, "  requests carry the signatures of the old secrets too; end that with --retire once the receiver knows the new one")
		}
		return nil
	})
}
