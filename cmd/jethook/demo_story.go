package main

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
	"golang.org/x/time/rate"

	"jethook/pkg/deadletter"
	"jethook/pkg/retry"
)

const (
	demoPublishing = 4 * time.Second // in which the events are published, at most
	demoReplaying  = 3 * time.Second // in which the dead letters are sent, at most
	demoSlowest    = 10.0            // events or dead letters a second
	demoBreath     = 2 * time.Second // in which somebody reads what was just printed
	demoReplays    = 5               // until there must be no dead letters
)

// breathe lets somebody at a terminal read.
func (d *demo) breathe(ctx context.Context) error {
	if !d.Terminal {
		return nil
	}
	timer := time.NewTimer(demoBreath)
	defer timer.Stop()
	select {
	case <-timer.C:
		return nil
	case <-ctx.Done():
		return context.Cause(ctx)
	}
}

// introduce says what was started.
func (d *demo) introduce() {
	d.title("jethook delivers events as webhooks. Here is what it does when receivers fail.")
	d.step(1, "A jethook replica and three receivers were started, all in this process.")
	d.say("  %-13s %s, for any NATS client", "NATS server", d.URL)
	for _, r := range d.receivers {
		d.say("  %-13s %s %s", r.name(), r.url, r.manner)
	}
}

// demoEvents are what the producers of the demo have to tell.
var demoEvents = [...]struct{ eventType, body string }{
	{"order.created", `{"order":%d,"total":"42.50","currency":"EUR"}`},
	{"invoice.paid", `{"invoice":%d,"method":"card"}`},
	{"order.shipped", `{"order":%d,"carrier":"bicycle"}`},
}

// publishAll publishes the events and watches until they have settled.
func (d *demo) publishAll(ctx context.Context) (demoTally, error) {
	d.step(2, fmt.Sprintf("%s published, for all three receivers alike.", are(d.events, "event")))
	usual := retry.Default()
	d.say("  What fails is tried again, after pauses that grow: here %d attempts in %.0f s,", demoPolicy.Attempts(), demoPolicy.Window().Seconds())
	d.say("  by default %d in %.0f hours. (Each pause is random, up to a bound that doubles.)", usual.Attempts(), usual.Window().Hours())
	d.say("  Watch: a receiver that is down holds up no other.")
	d.say("")
	return d.watch(ctx, d.publish)
}

// publish publishes at a pace that can be followed.
func (d *demo) publish(ctx context.Context) error {
	perSecond := max(demoSlowest, float64(d.events)/demoPublishing.Seconds())
	pace := rate.NewLimiter(rate.Limit(perSecond), 1)
	for i := range d.events {
		if err := pace.Wait(ctx); err != nil {
			return fmt.Errorf("keep the pace: %w", err)
		}
		e := demoEvents[i%len(demoEvents)]
		subject, err := d.client.Names.Event(demoTenant, e.eventType)
		if err != nil {
			return err
		}
		_, err = d.client.JS.PublishMsg(ctx, &nats.Msg{
			Subject: subject,
			Header:  nats.Header{jetstream.MsgIDHeader: {fmt.Sprintf("demo-%d", i+1)}},
			Data:    fmt.Appendf(nil, e.body, i+1),
		})
		if err != nil {
			return fmt.Errorf("publish event %d: %w", i+1, err)
		}
	}
	return nil
}

// replayAll repairs the receiver that is down and replays until no letter is
// left: a receiver that is still shaky may fail an event all over again.
func (d *demo) replayAll(ctx context.Context) (demoTally, error) {
	broken := d.receivers[len(d.receivers)-1]
	broken.repaired.Store(true)
	d.step(5, fmt.Sprintf("%s is repaired. `jethook replay` sends the dead letters again.", broken.name()))
	d.say("")
	var t demoTally
	for round := range demoReplays {
		if round > 0 {
			d.say("  %s: a receiver is still shaky. Replayed once more:", came(t.dead()))
		}
		var err error
		if t, err = d.watch(ctx, d.replay); err != nil || t.dead() == 0 {
			return t, err
		}
	}
	return t, nil
}

func (d *demo) replay(ctx context.Context) error {
	stats, err := d.letters.Stats(ctx, deadletter.Filter{})
	if err != nil {
		return err
	}
	r, err := d.letters.Replay(ctx, deadletter.Filter{}, deadletter.ReplayOptions{
		Endpoints: d.endpoints,
		Rate:      max(demoSlowest, float64(stats.Total)/demoReplaying.Seconds()),
	})
	switch {
	case err != nil:
		return fmt.Errorf("replay: %w", err)
	case r.Refused > 0:
		return errors.New("replay: NATS did not take all dead letters: " + r.Refusal)
	}
	return nil
}

// keep leaves everything running, prints what the receivers get, and ends in
// peace with Ctrl-C.
func (d *demo) keep(ctx context.Context) error {
	d.explainKeep()
	d.showRequests()
	<-ctx.Done()
	if cause := context.Cause(ctx); !errors.Is(cause, context.Canceled) {
		return cause
	}
	return nil
}
