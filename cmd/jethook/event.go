package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"time"

	"github.com/jedib0t/go-pretty/v6/table"

	"jethook/pkg/attempt"
	"jethook/pkg/audit"
	"jethook/pkg/endpoint"
	"jethook/pkg/event"
)

// eventCmd is `jethook event`.
type eventCmd struct {
	Show eventShowCmd `cmd:"" help:"Show an event, every endpoint that matched, every attempt, and where each delivery stands."`
}

type eventShowCmd struct {
	ID      string `arg:"" placeholder:"ID" help:"The event's id: as it was published, or which receivers get as webhook-id."`
	All     bool   `help:"All events with the id, as far back as the attempt log reaches, and not only the newest."`
	Payload bool   `help:"Show the payload too."`
	JSON    bool   `name:"json" help:"One JSON document a line, for each event with the id."`
}

// shownEvent is an event as --json prints it.
type shownEvent struct {
	ID         string            `json:"event_id"`
	Seq        uint64            `json:"event_seq"`
	Tenant     string            `json:"tenant"`
	Type       string            `json:"event_type,omitempty"`
	Time       time.Time         `json:"event_time,omitzero"`
	Bytes      int               `json:"bytes"`
	Headers    map[string]string `json:"headers,omitempty"`
	Payload    json.RawMessage   `json:"payload,omitempty"` // as in dead letters
	Base64     []byte            `json:"payload_base64,omitempty"`
	Gone       bool              `json:"gone,omitempty"`
	Unmatched  bool              `json:"unmatched,omitempty"`
	Unlogged   bool              `json:"unlogged,omitempty"`
	Deliveries []shownDelivery   `json:"deliveries"`
}

type shownDelivery struct {
	Endpoint string           `json:"endpoint"`
	State    audit.State      `json:"state"`
	Since    time.Time        `json:"since,omitzero"`
	Due      time.Time        `json:"due,omitzero"`
	Reason   string           `json:"reason,omitempty"`
	DeadSeq  uint64           `json:"dead_letter,omitempty"`
	Why      string           `json:"why,omitempty"`
	Ordered  bool             `json:"ordered,omitempty"`
	Attempts []attempt.Record `json:"attempts"`
}

// Run shows an event.
func (c *eventShowCmd) Run(ctx context.Context, a *app) error {
	if c.ID == "" {
		return usageError{event.CheckID(c.ID)}
	}
	client, err := a.connect(ctx)
	if err != nil {
		return err
	}
	defer client.Close()
	auditor := audit.New(client.JS, client.Names)
	stories, err := auditor.Event(ctx, event.IDOf(c.ID), c.All)
	a.noteUnreadable(auditor.Log())
	if err != nil {
		return fmt.Errorf("event %q: %w", c.ID, err)
	}
	for i := range stories {
		shown, err := c.shown(ctx, client, auditor, &stories[i])
		if err != nil {
			return err
		}
		if c.JSON {
			if err := encode(a.Out, shown); err != nil {
				return err
			}
			continue
		}
		if i > 0 {
			fmt.Fprintln(a.Out)
		}
		shown.print(a)
	}
	return nil
}

func (c *eventShowCmd) shown(ctx context.Context, client *client, auditor *audit.Auditor, s *audit.Story) (shownEvent, error) {
	e := &s.Event
	shown := shownEvent{ID: e.ID, Seq: e.Seq, Tenant: e.Tenant, Type: e.Type, Time: e.Time, Bytes: len(e.Body), Gone: s.Gone, Unmatched: s.Unmatched, Unlogged: s.Unlogged,
		Deliveries: []shownDelivery{}}
	for _, f := range e.Fields {
		if shown.Headers == nil {
			shown.Headers = map[string]string{}
		}
		shown.Headers[f.Name] = f.Value
	}
	if c.Payload && !s.Gone {
		shown.Payload, shown.Base64 = event.Payload(e.Body)
	}
	for i := range s.Deliveries {
		d := &s.Deliveries[i]
		one := shownDelivery{Endpoint: e.Tenant + "/" + d.Endpoint, State: d.State, Since: d.Since, Due: d.Due, Reason: string(d.Reason), DeadSeq: d.DeadSeq,
			Ordered: d.Ordered, Attempts: []attempt.Record{}}
		for r, err := range auditor.Attempts(ctx, e, d) {
			if err != nil {
				return shown, err
			}
			one.Attempts = append(one.Attempts, r)
		}
		var err error
		if one.Why, err = client.why(ctx, one); err != nil {
			return shown, err
		}
		shown.Deliveries = append(shown.Deliveries, one)
	}
	return shown, nil
}

// why says what a delivery waits for, where its endpoint is the reason.
func (c *client) why(ctx context.Context, d shownDelivery) (string, error) {
	if d.State != audit.Held && (d.State != audit.Waiting || !d.Due.IsZero()) {
		return "", nil
	}
	store, err := c.endpoints(ctx)
	if err != nil {
		return "", err
	}
	document, err := store.Get(ctx, d.Endpoint)
	if errors.Is(err, endpoint.ErrNotFound) {
		return "the endpoint is removed", nil
	}
	if err != nil {
		return "", err
	}
	s, err := c.state(ctx, document)
	if err != nil {
		return "", err
	}
	switch {
	case s.Gate != nil:
		return fmt.Sprintf("the endpoint is %s: %s; probes: %s", s.Is, s.Why, s.probes(time.Now())), nil
	case s.Why != "":
		return fmt.Sprintf("the endpoint is %s: %s", s.Is, s.Why), nil
	case s.Is != "" && d.State == audit.Held && s.Is != stateActive:
		return fmt.Sprintf("the endpoint is %s", s.Is), nil
	case d.State == audit.Held:
		return c.whyHeld(ctx, document, s)
	}
	return "", nil
}

// whyHeld says why a delivery is held of which its endpoint is not the reason.
func (c *client) whyHeld(ctx context.Context, d endpoint.Document, s endpointState) (string, error) {
	replicas, err := c.replicas(ctx)
	switch {
	case err != nil:
		return "", err
	case len(d.Secrets) > 0 && locked(replicas):
		return "no live replica has the master keys that open the endpoint's secrets (JETHOOK_MASTER_KEYS)", nil
	case s.Waiting.Held > 1:
		return "others are before it", nil
	}
	return "", nil
}

func (e *shownEvent) print(a *app) {
	line := func(name, value string) { fmt.Fprintf(a.Out, "%-9s  %s\n", name, plain(value)) }
	line("event", e.ID)
	line("tenant", e.Tenant)
	if e.Gone {
		line("published", "the stream of events has it no more")
	} else {
		line("type", e.Type)
		line("published", fmt.Sprintf("%s (%s ago), sequence %d, %d bytes", precise(e.Time), span(time.Since(e.Time)), e.Seq, e.Bytes))
	}
	switch {
	case e.Unmatched:
		fmt.Fprintln(a.Out, "No replica has read it yet.")
	case e.Unlogged:
		fmt.Fprintln(a.Out, "The attempt log knows nothing of it: a replica has only just taken it, or the log does not reach back as far, or was off. What is to be found without:")
		if len(e.Deliveries) == 0 {
			fmt.Fprintln(a.Out, "nothing waits until a set time, and there is no dead letter.")
		}
	case len(e.Deliveries) == 0:
		fmt.Fprintln(a.Out, "No endpoint wanted it.")
	}
	if e.Payload != nil || e.Base64 != nil {
		fmt.Fprintf(a.Out, "\n%s\n", payloadText(e.Payload, e.Base64))
	}
	for _, d := range e.Deliveries {
		fmt.Fprintf(a.Out, "\n%s: %s\n", plain(d.Endpoint), plain(d.stands()))
		d.printAttempts(a)
	}
}

// stands says where a delivery stands.
func (d *shownDelivery) stands() string {
	said := string(d.State)
	switch d.State {
	case audit.Delivered:
		if !d.Since.IsZero() {
			said += " at " + precise(d.Since)
		}
	case audit.Waiting:
		if !d.Due.IsZero() {
			said += fmt.Sprintf(" until %s (%s)", precise(d.Due), fromNow(d.Due))
		} else {
			said += " for its turn"
		}
	case audit.Held:
		if !d.Since.IsZero() {
			said += fmt.Sprintf(" since %s", precise(d.Since))
		}
	case audit.Dead:
		said += fmt.Sprintf(" since %s: %s (jethook dlq show %d, jethook replay --seq %d)", precise(d.Since), d.Reason, d.DeadSeq, d.DeadSeq)
	case audit.Discarded:
		said += " by an operator"
		if d.Reason != "" {
			said += fmt.Sprintf("; it was a dead letter: %s", d.Reason)
		}
	case audit.Unaccounted:
		said += ": it is nowhere to be found"
	}
	if d.Why != "" {
		said += "; " + d.Why
	}
	return said
}

func fromNow(t time.Time) string {
	if wait := time.Until(t); wait > 0 {
		return "in " + span(wait)
	}
	return "now"
}

func (d *shownDelivery) printAttempts(a *app) {
	if len(d.Attempts) == 0 {
		return
	}
	t := a.table("At", "Attempt", "Outcome", "Answer", "Took", "Wait", "DNS", "Connect", "TLS", "First byte")
	for _, r := range d.Attempts {
		t.AppendRow(table.Row{precise(r.At), ordinal(r), a.outcome(r), answered(r, shownError), took(r.DurationMS),
			part(r.WaitMS), part(r.DNSMS), part(r.ConnectMS), part(r.TLSMS), part(r.FirstByteMS)})
	}
	t.Render()
}

func part(ms float64) string {
	if ms == 0 {
		return "-"
	}
	return took(ms)
}
