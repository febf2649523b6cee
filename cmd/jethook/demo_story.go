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
	demoPublishing = 2500 * time.Millisecond // in which the events are published, at most
	demoReplaying  = time.Second             // in which the dead letters are sent, at most
	demoSlowest    = 10.0                    // events or dead letters a second
	demoBreath     = 1500 * time.Millisecond // in which somebody reads what was just printed
	demoReplays    = 5                       // until there must be no dead letters
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
func (d *demo) publishAll(ctx context.Context) error {
	d.step(2, fmt.Sprintf("%s published, for all three receivers alike.", are(d.events, "event")))
	usual := retry.Default()
	d.say("  What fails is tried again, after pauses that grow: here %d attempts in %.0f s,", demoPolicy.Attempts(), demoPolicy.Window().Seconds())
	d.say("  by default %d in %.0f hours. (Each pause is random, up to a bound that doubles.)", usual.Attempts(), usual.Window().Hours())
	d.say("  An endpoint that keeps failing is shut off: its gate opens, its deliveries are")
	d.say("  held, and a probe now and then finds out whether it is back.")
	d.say("")
	for i := range d.wanted {
		d.wanted[i] = d.events
	}
	_, err := d.watch(ctx, d.publish)
	return err
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
		if err := d.publishOne(ctx, i+1, e.eventType, e.body); err != nil {
			return err
		}
	}
	return nil
}

func (d *demo) publishOne(ctx context.Context, n int, eventType, body string) error {
	subject, err := d.client.Names.Event(demoTenant, eventType)
	if err != nil {
		return err
	}
	_, err = d.client.JS.PublishMsg(ctx, &nats.Msg{
		Subject: subject,
		Header:  nats.Header{jetstream.MsgIDHeader: {fmt.Sprintf("demo-%d", n)}},
		Data:    fmt.Appendf(nil, body, n),
	})
	if err != nil {
		return fmt.Errorf("publish event %d: %w", n, err)
	}
	return nil
}

// replayAll repairs the receiver that is down and replays until no letter is
// left: a receiver that is still shaky may fail an event all over again.
func (d *demo) replayAll(ctx context.Context) error {
	down, repaired := d.broken(), time.Now()
	down.repaired.Store(true)
	d.step(5, fmt.Sprintf("%s is repaired. `jethook replay` sends the dead letters again.", down.name()))
	d.say("")
	for round := range demoReplays {
		t, err := d.watch(ctx, d.replay)
		if err != nil {
			return err
		}
		if round == 0 {
			d.showRecovery(repaired)
		}
		if t.dead() == 0 {
			break
		}
		d.say("  %s: a receiver is still shaky. Replayed once more:", came(t.dead()))
	}
	if _, open := d.gates.Get(down.name()); open {
		return broken([]string{"the gate of " + down.name() + " is still open"})
	}
	d.say("  The dead-letter queue is empty.")
	return nil
}

// showRecovery says how the receiver that was down got what was for it.
func (d *demo) showRecovery(repaired time.Time) {
	times := d.broken().seen()
	d.say("  The first one went as a probe and closed the gate, %s after the repair.", milliseconds(times.first.Sub(repaired)))
	if d.events > 1 {
		d.say("  The rest followed within %s, slowly at first: it may still be weak.", milliseconds(times.last.Sub(times.first)))
	}
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
