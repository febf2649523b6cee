package main

import (
	"context"
	"errors"
	"fmt"
	"time"

	"jethook/pkg/delivery"
	"jethook/pkg/egress"
	"jethook/pkg/endpoint"
	"jethook/pkg/event"
	"jethook/pkg/webhook"
)

type endpointTestCmd struct {
	Name string `arg:"" placeholder:"TENANT/ENDPOINT" help:"Endpoint."`
	Type string `default:"jethook.test" help:"Type of the test event."`
	Data string `default:"{\"test\":true}" help:"Body of the test event."`
	JSON bool   `name:"json" help:"As one JSON document."`
}

var errLocked = errors.New("its secrets are sealed with a master key that is not here: set JETHOOK_MASTER_KEYS, or JETHOOK_DATA_DIR where serve keeps master-keys")

// Run makes one attempt from here, with the guard that this environment
// configures, and prints what came back.
func (c *endpointTestCmd) Run(ctx context.Context, a *app) error {
	config, err := a.load()
	if err != nil {
		return err
	}
	guard, err := config.Egress()
	if err != nil {
		return usageError{err}
	}
	var result delivery.Result
	err = a.withEndpoints(ctx, func(_ *client, store *endpoint.Store) error {
		d, err := store.Get(ctx, c.Name)
		if err != nil {
			return err
		}
		ep, err := endpoint.Compile(d)
		if err != nil {
			return err
		}
		if _, err := ep.Parsed(); errors.Is(err, endpoint.ErrLocked) {
			return errLocked
		}
		client := egress.New(guard)
		defer client.Close()
		now := time.Now()
		e := event.New(event.Message{Tenant: ep.Tenant, Type: c.Type, Body: []byte(c.Data), Time: now,
			Header: map[string][]string{"Nats-Msg-Id": {fmt.Sprintf("test_%d", now.UnixNano())}}})
		one := delivery.New(e, ep.ID)
		ctx, cancel := context.WithTimeout(ctx, time.Duration(ep.Timeout))
		defer cancel()
		result = webhook.NewSender(client, version).Attempt(ctx, &one, ep)
		verdict := delivery.Classify(result, ep.RetryOn)
		return c.print(a, ep, result, verdict)
	})
	if err != nil {
		return err
	}
	if result.Fault != delivery.FaultNone || result.Status < 200 || result.Status > 299 {
		return errSaid
	}
	return nil
}

func (c *endpointTestCmd) print(a *app, ep *endpoint.Endpoint, r delivery.Result, v delivery.Verdict) error {
	reason := string(v.Reason)
	if r.Fault != delivery.FaultNone {
		reason = string(r.Fault)
	}
	ms := float64(r.Duration.Microseconds()) / 1000
	if c.JSON {
		return encode(a.Out, map[string]any{
			"endpoint": ep.Name(), "url": ep.RedactedURL(), "status": r.Status, "duration_ms": ms,
			"error": r.Error, "reason": reason, "outcome": v.Outcome,
		})
	}
	fmt.Fprintf(a.Out, "POST %s\n", ep.RedactedURL())
	if r.Status != 0 {
		fmt.Fprintf(a.Out, "  status    %d\n", r.Status)
	}
	fmt.Fprintf(a.Out, "  duration  %.1f ms\n", ms)
	if r.Error != "" {
		fmt.Fprintf(a.Out, "  error     %s\n", r.Error)
	}
	if reason != "" {
		fmt.Fprintf(a.Out, "  reason    %s\n", reason)
	}
	if r.Fault == delivery.FaultBlockedAddress {
		fmt.Fprintln(a.Err, "jethook: judged by JETHOOK_EGRESS_ALLOW of this shell; replicas have their own")
	}
	_, err := fmt.Fprintf(a.Out, "  a delivery would now be: %s\n", v.Outcome)
	return err //nolint:wrapcheck // the error of a closed pipe says it all
}
