package main

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/jedib0t/go-pretty/v6/table"

	"jethook/pkg/endpoint"
)

type endpointListCmd struct {
	Tenant string `placeholder:"TENANT" help:"Only this tenant's."`
	JSON   bool   `name:"json" help:"One JSON document a line."`
}

// mostAges bounds for how many endpoints a list of all asks how old the oldest
// held delivery is.
const mostAges = 200

// Help adds to what --help prints.
func (c *endpointListCmd) Help() string {
	return fmt.Sprintf("Waiting counts what is held, scheduled and about to be attempted. "+
		"Oldest is the age of the oldest that is held; it is found out for %d endpoints, and for all of one tenant with --tenant.", mostAges)
}

// Run lists endpoints, and the documents that cannot be read.
func (c *endpointListCmd) Run(ctx context.Context, a *app) error {
	return a.withEndpoints(ctx, func(client *client, store *endpoint.Store) error {
		documents, broken, err := store.List(ctx)
		if err != nil {
			return err
		}
		for _, b := range broken {
			fmt.Fprintf(a.Err, "jethook: %s\n", b)
		}
		ages := mostAges
		if c.Tenant != "" {
			ages = 0
			documents = slices.DeleteFunc(documents, func(d endpoint.Document) bool { return d.Tenant != c.Tenant })
		}
		states, err := client.states(ctx, documents, c.Tenant, ages)
		if err != nil {
			return err
		}
		if c.JSON {
			return printEndpoints(a, documents, states)
		}
		t := a.table("Endpoint", "State", "Waiting", "Oldest", "Events", "URL")
		for i, d := range documents {
			s := states[i]
			t.AppendRow(table.Row{d.Name(), s.Is, count(s.Waiting.total()), s.age(), strings.Join(d.Events, " "), redactedURL(d)})
		}
		t.Render()
		return nil
	})
}

func printEndpoints(a *app, documents []endpoint.Document, states []endpointState) error {
	for i, d := range documents {
		data, err := d.MarshalJSON()
		if err != nil {
			return err
		}
		if data, err = withState(data, states[i]); err != nil {
			return err
		}
		if err := encode(a.Out, json.RawMessage(data)); err != nil {
			return err
		}
	}
	return nil
}

// withState adds the state to the fields of a document.
func withState(document []byte, s endpointState) ([]byte, error) {
	return withField(document, "state", s)
}

// withField adds one field to those of a document.
func withField(document []byte, name string, value any) ([]byte, error) {
	var field bytes.Buffer
	if err := encode(&field, value); err != nil {
		return nil, err
	}
	return slices.Concat(bytes.TrimSuffix(document, []byte("}")), []byte(`,"`+name+`":`), bytes.TrimSpace(field.Bytes()), []byte("}")), nil
}

// age says how old the oldest held delivery is.
func (s endpointState) age() string {
	switch {
	case s.Waiting.Held == 0:
		return "-"
	case s.Oldest.IsZero():
		return "?"
	}
	return span(time.Since(s.Oldest))
}

func count(n uint64) string {
	if n == 0 {
		return "-"
	}
	return strconv.FormatUint(n, 10)
}

func redactedURL(d endpoint.Document) string {
	e, err := endpoint.Compile(d)
	if err != nil {
		return "" // List gives only documents that compile
	}
	return e.RedactedURL()
}
