package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
	"os"
	"strings"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
	"golang.org/x/time/rate"

	"jethook/pkg/event"
	"jethook/streams"
)

// publishCmd is `jethook publish`.
type publishCmd struct {
	Tenant string   `arg:"" help:"Tenant, such as acme."`
	Type   string   `arg:"" help:"Event type, such as order.created."`
	Data   string   `short:"d" default:"{}" help:"Body: JSON, @FILE, or - for standard input."`
	ID     string   `name:"id" help:"Event id; while NATS remembers it, two minutes, another event with it is not stored, of any tenant."`
	Header []string `short:"H" sep:"none" placeholder:"NAME:VALUE" help:"Header to publish with; may be repeated."`
	Count  int      `default:"1" help:"How many events to publish; with --id, -1, -2 … are appended."`
	Rate   float64  `help:"Events per second; 0 is as fast as possible."`
	Raw    bool     `help:"Do not check that the body is JSON."`
	JSON   bool     `name:"json" help:"Print one JSON document for each event."`
}

// Run publishes and returns when NATS has stored everything.
func (c *publishCmd) Run(ctx context.Context, a *app) error {
	if c.Count < 1 {
		return usageError{errors.New("--count is 1 or more")}
	}
	if err := checkRate(c.Rate); err != nil {
		return err
	}
	if c.ID != "" {
		if err := event.CheckID(c.ID); err != nil {
			return usageError{err}
		}
	}
	body, err := c.body(a.In)
	if err != nil {
		return err
	}
	client, err := a.connect(ctx)
	if err != nil {
		return err
	}
	defer client.Close()
	subject, err := client.Names.Event(c.Tenant, c.Type)
	if err != nil {
		return usageError{err}
	}
	if streams.IsOwn(c.Type) {
		return usageError{fmt.Errorf("types that begin with %s are jethook's own: only it publishes them", streams.Own)}
	}
	header, err := c.header()
	if err != nil {
		return err
	}
	if int64(len(body)) > client.NC.MaxPayload() {
		return fmt.Errorf("the body has %d bytes, and this NATS server takes messages of %d at most: publish a reference instead", len(body), client.NC.MaxPayload())
	}
	return c.publish(ctx, a, client, &nats.Msg{Subject: subject, Header: header, Data: body})
}

func (c *publishCmd) publish(ctx context.Context, a *app, client *client, m *nats.Msg) error {
	limit := rate.NewLimiter(rate.Inf, 1)
	if c.Rate > 0 {
		limit = rate.NewLimiter(rate.Limit(c.Rate), 1)
	}
	const flight = 256
	acks := make([]jetstream.PubAckFuture, 0, flight)
	start := time.Now()
	duplicates := 0
	for i := range c.Count {
		if err := limit.Wait(ctx); err != nil {
			return fmt.Errorf("interrupted after %d events: %w", i-len(acks), err)
		}
		ack, err := client.JS.PublishMsgAsync(c.number(m, i))
		if err != nil {
			return c.explain(client, err)
		}
		acks = append(acks, ack)
		if len(acks) == flight || c.Rate > 0 && c.Rate < 100 || i == c.Count-1 {
			n, err := c.await(ctx, a, client, acks)
			if err != nil {
				return err
			}
			duplicates += n
			acks = acks[:0]
		}
	}
	warnOfDuplicates(a, duplicates)
	if c.JSON {
		return nil
	}
	return c.summary(a, m.Subject, c.Count-duplicates, time.Since(start))
}

// number returns the message of event i.
func (c *publishCmd) number(m *nats.Msg, i int) *nats.Msg {
	one := &nats.Msg{Subject: m.Subject, Data: m.Data, Header: nats.Header{}}
	maps.Copy(one.Header, m.Header)
	switch {
	case c.ID != "" && c.Count > 1:
		one.Header.Set(jetstream.MsgIDHeader, fmt.Sprintf("%s-%d", c.ID, i+1))
	case c.ID != "":
		one.Header.Set(jetstream.MsgIDHeader, c.ID)
	}
	return one
}

// await waits for the acks and returns how many events were there already.
func (c *publishCmd) await(ctx context.Context, a *app, client *client, acks []jetstream.PubAckFuture) (duplicates int, err error) {
	for _, future := range acks {
		select {
		case <-ctx.Done():
			return duplicates, fmt.Errorf("interrupted: %w", ctx.Err())
		case err := <-future.Err():
			return duplicates, c.explain(client, err)
		case ack := <-future.Ok():
			if ack.Duplicate {
				duplicates++
			}
			if c.JSON {
				line := map[string]any{"subject": future.Msg().Subject, "stream": ack.Stream, "seq": ack.Sequence, "duplicate": ack.Duplicate}
				if id := future.Msg().Header.Get(jetstream.MsgIDHeader); id != "" {
					line["id"] = id
				}
				if err := encode(a.Out, line); err != nil {
					return duplicates, err
				}
			}
		}
	}
	return duplicates, nil
}

// warnOfDuplicates says of how many events NATS acknowledged another one. It may be
// the same, published again; that cannot be told from a stranger's that came first,
// because ids are compared over the whole stream.
func warnOfDuplicates(a *app, n int) {
	if n > 0 {
		fmt.Fprintf(a.Err, "jethook: not stored: %d of the events, because within the last two minutes there was one with the same id, of whatever tenant; "+
			"where it was not the same event, publish again under an id that nobody else uses\n", n)
	}
}

func (c *publishCmd) summary(a *app, subject string, stored int, took time.Duration) error {
	what := events(1)
	switch {
	case stored == 0:
		what = "nothing"
	case c.Count > 1:
		what = fmt.Sprintf("%s in %s (%.0f/s)", events(stored), took.Round(time.Millisecond), float64(stored)/took.Seconds())
	}
	_, err := fmt.Fprintf(a.Out, "stored %s on %s\n", what, subject)
	return err //nolint:wrapcheck // the error of a closed pipe says it all
}

func events(n int) string {
	if n == 1 {
		return "1 event"
	}
	return fmt.Sprintf("%d events", n)
}

func (c *publishCmd) body(in io.Reader) ([]byte, error) {
	name, isFile := strings.CutPrefix(c.Data, "@")
	switch {
	case isFile:
		file, err := os.Open(name) //nolint:gosec // the user says which
		if err != nil {
			return nil, fmt.Errorf("--data: %w", err)
		}
		defer file.Close() //nolint:errcheck // it was only read
		in = file
	case c.Data != "-":
		in = strings.NewReader(c.Data)
	}
	body, err := readBody(in)
	if err != nil {
		return nil, fmt.Errorf("--data: %w", err)
	}
	if !c.Raw && !c.ownType() && !json.Valid(body) {
		return nil, usageError{errors.New("--data is not JSON: mend it, name its type with --header 'Content-Type: …', or send it as it is with --raw")}
	}
	return body, nil
}

func (c *publishCmd) ownType() bool {
	for _, h := range c.Header {
		if strings.HasPrefix(strings.ToLower(h), "content-type:") {
			return true
		}
	}
	return false
}

func (c *publishCmd) header() (nats.Header, error) {
	header := nats.Header{}
	for _, h := range c.Header {
		name, value, ok := strings.Cut(h, ":")
		if !ok || name == "" {
			return nil, usageError{fmt.Errorf("--header %q: write NAME:VALUE", h)}
		}
		header.Add(strings.TrimSpace(name), strings.TrimSpace(value))
	}
	return header, nil
}

// explain says what to do about an event that was not stored.
func (c *publishCmd) explain(client *client, err error) error {
	var api *jetstream.APIError
	switch {
	case errors.Is(err, jetstream.ErrNoStreamResponse), errors.Is(err, nats.ErrNoResponders):
		return fmt.Errorf("no stream takes %s.events.>: run `jethook serve` or `jethook streams apply` first", client.Names.Namespace())
	case errors.As(err, &api) && api.ErrorCode == 10054:
		return fmt.Errorf("the event was not stored: with its headers it is larger than the stream %s allows (max_msg_size), which leaves room for the headers of retries: publish a reference instead (%w)", client.Names.Events(), err)
	case errors.As(err, &api) && (api.ErrorCode == 10077 || api.ErrorCode == 10076):
		return fmt.Errorf("the event was not stored: the stream %s is full, raise its limits or let it age (%w)", client.Names.Events(), err)
	}
	return fmt.Errorf("the event was not stored: %w", err)
}
