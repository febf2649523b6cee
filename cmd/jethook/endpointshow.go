package main

import (
	"context"
	"encoding/json"
	"fmt"
	"strconv"
	"strings"
	"time"

	"jethook/pkg/endpoint"
	"jethook/pkg/gate"
)

type endpointShowCmd struct {
	Name    string `arg:"" placeholder:"TENANT/ENDPOINT" help:"Endpoint."`
	Secrets bool   `help:"Show the secrets too."`
	JSON    bool   `name:"json" help:"As one JSON document."`
}

// Run shows an endpoint's state and document.
func (c *endpointShowCmd) Run(ctx context.Context, a *app) error {
	return a.withEndpoints(ctx, func(client *client, store *endpoint.Store) error {
		d, err := store.Get(ctx, c.Name)
		if err != nil {
			return err
		}
		s, err := client.state(ctx, d)
		if err != nil {
			return err
		}
		if err := c.print(a, d, s); err != nil {
			return err
		}
		if c.Secrets && d.Sealed() {
			return fmt.Errorf("%s: %w", d.Name(), errLocked)
		}
		return nil
	})
}

func (c *endpointShowCmd) print(a *app, d endpoint.Document, s endpointState) error {
	document, err := c.document(d)
	if err != nil {
		return err
	}
	public, sealed := publicKeys(d, time.Now())
	if c.JSON {
		return printShown(a, document, public, s)
	}
	fmt.Fprintf(a.Out, "%s: %s\n", d.Name(), s.Is)
	s.print(a)
	printPublicKeys(a, public, sealed)
	return encodeIndented(a.Out, document, "  ")
}

// document returns the document as JSON, its secrets hidden unless they were
// asked for.
func (c *endpointShowCmd) document(d endpoint.Document) (json.RawMessage, error) {
	if c.Secrets {
		return endpoint.Encode(d)
	}
	return d.MarshalJSON()
}

// printShown prints the document with what it does not say itself.
func printShown(a *app, document json.RawMessage, publicKeys []string, s endpointState) (err error) {
	if len(publicKeys) > 0 {
		if document, err = withField(document, "public_keys", publicKeys); err != nil {
			return err
		}
	}
	if document, err = withState(document, s); err != nil {
		return err
	}
	return encode(a.Out, document)
}

// printPublicKeys tells people what the endpoint's receiver can verify with.
func printPublicKeys(a *app, keys []string, sealed bool) {
	for _, key := range keys {
		fmt.Fprintf(a.Out, "  verify    with %s\n", key)
	}
	if sealed {
		fmt.Fprintln(a.Out, "  verify    with a public key that is shown where JETHOOK_MASTER_KEYS opens the sealed secret")
	}
}

// print prints for people what is more than the state's name.
func (s endpointState) print(a *app) {
	line := func(name, value string) {
		if value != "" {
			fmt.Fprintf(a.Out, "  %-8s  %s\n", name, plain(value))
		}
	}
	now := time.Now()
	line("why", s.Why)
	if !s.Since.IsZero() {
		line("since", fmt.Sprintf("%s (%s)", shortTime(s.Since), span(now.Sub(s.Since))))
	}
	if s.Gate != nil {
		line("error", lastAnswer(*s.Gate))
		line("probes", s.probes(now))
	}
	line("waiting", s.Waiting.String())
	if s.Waiting.total() > 0 {
		line("oldest", s.age())
	}
}

// lastAnswer says how the last attempt failed.
func lastAnswer(o gate.Opened) string {
	status := strconv.Itoa(o.LastStatus)
	if o.LastStatus == 0 || strings.Contains(o.LastError, status) {
		return o.LastError
	}
	return strings.TrimSpace(status + " " + o.LastError)
}

// probes says how many probes of an endpoint failed, and when the next is, if any.
func (s endpointState) probes(now time.Time) string {
	if s.Is != stateFailing {
		return fmt.Sprintf("%d failed, none while it is %s", s.Gate.Probes, s.Is)
	}
	return probes(*s.Gate, now)
}

// probes says how many probes failed, and when the next is.
func probes(o gate.Opened, now time.Time) string {
	text := fmt.Sprintf("%d failed, ", o.Probes)
	switch {
	case o.Prober != "" && now.Before(o.LeaseEnds):
		return text + "one is being made by " + o.Prober
	case now.Before(o.NextProbe):
		return text + fmt.Sprintf("the next at %s (in %s)", shortTime(o.NextProbe), span(o.NextProbe.Sub(now)))
	}
	return text + "the next as soon as there is a delivery to make it with"
}

// String says where deliveries wait, and how many.
func (w waiting) String() string {
	if w.total() == 0 {
		return "nothing"
	}
	var parts []string
	for _, p := range []struct {
		n    uint64
		what string
	}{{w.Held, "held"}, {w.Scheduled, "scheduled"}, {w.ToAttempt, "to be attempted"}, {w.Ordered, "in order"}} {
		if p.n > 0 {
			parts = append(parts, fmt.Sprintf("%d %s", p.n, p.what))
		}
	}
	return strings.Join(parts, ", ")
}
