package main

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"slices"
	"strconv"
	"time"

	"github.com/jedib0t/go-pretty/v6/table"

	"jethook/pkg/endpoint"
	"jethook/streams"
)

type endpointListCmd struct {
	Tenant string `placeholder:"TENANT" help:"Only this tenant's."`
	JSON   bool   `name:"json" help:"One JSON document a line."`
}

// mostAges bounds for how many endpoints a list of all asks how old the oldest
// delivery is that waits.
const mostAges = 200

// Help adds to what --help prints.
func (c *endpointListCmd) Help() string {
	return fmt.Sprintf("Since is for how long the endpoint is in that state, Probe when the next attempt finds out whether one that fails works again. "+
		"Waiting counts what is held, scheduled, about to be attempted and, where that is asked for, in order. "+
		"Oldest is for how long the oldest of them waits; it is found out for %d endpoints, and for all of one tenant with --tenant. "+
		"Where an endpoint's events go, and which, is in what `jethook endpoint show` prints, and in --json.", mostAges)
}

// Run lists endpoints, and the documents that cannot be read.
func (c *endpointListCmd) Run(ctx context.Context, a *app) error {
	if err := streams.CheckScope(c.Tenant, ""); err != nil {
		return usageError{fmt.Errorf("--%w", err)}
	}
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
		t := a.table("Endpoint", "State", "Since", "Probe", "Waiting", "Oldest", "Why")
		t.Style().Size.WidthMax = terminalWidth(a) // what is said last may be cut
		for i, d := range documents {
			s := states[i]
			t.AppendRow(table.Row{d.Name(), s.Is, s.lasts(), s.probe(), count(s.Waiting.total()), s.age(), orDash(plain(s.ownWhy(d)))})
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

// age says how old the oldest delivery is that waits.
func (s endpointState) age() string {
	switch {
	case s.Waiting.total() == 0:
		return "-"
	case s.Oldest.IsZero():
		return "?"
	}
	return span(time.Since(s.Oldest))
}

// lasts says for how long an endpoint is in its state, if somebody wrote down since
// when.
func (s endpointState) lasts() string {
	switch {
	case s.Is == stateActive:
		return "-"
	case s.Since.IsZero():
		return "?"
	}
	return span(time.Since(s.Since))
}

// probe says when the next probe is.
func (s endpointState) probe() string {
	now := time.Now()
	switch {
	case s.Is != stateFailing:
		return "-"
	case now.Before(s.Gate.NextProbe):
		return "in " + span(s.Gate.NextProbe.Sub(now))
	}
	return "now"
}

// ownWhy says why in jethook's own words alone: what a receiver answered may be long.
func (s endpointState) ownWhy(d endpoint.Document) string {
	if s.Is == stateDisabled {
		return d.Disabled.Plain()
	}
	return s.Why
}

func count(n uint64) string {
	if n == 0 {
		return "-"
	}
	return strconv.FormatUint(n, 10)
}
