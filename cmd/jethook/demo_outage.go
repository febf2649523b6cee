package main

import (
	"context"
	"fmt"
	"time"

	"github.com/jedib0t/go-pretty/v6/table"

	"jethook/pkg/gate"
)

const (
	demoSettling  = 500 * time.Millisecond // in which what was under way when a gate opened ends
	demoDisturbed = 2 * time.Second        // that no event takes to an endpoint that is well
)

// broken is the receiver that is down.
func (w *demoWorld) broken() *demoReceiver { return w.receivers[len(demoCast)-1] }

// showOutcome says what came of the events, and checks that the outage harmed
// nobody else and did not cost the endpoint that is down a request too many.
func (d *demo) showOutcome(ctx context.Context) (demoTally, error) {
	down, well := d.broken(), d.receivers[0]
	settled, err := d.until(ctx, func(t demoTally) bool {
		_, open := d.gates.Get(down.name()) // is stored beside the dead letters, not before
		return open && t.settled()
	})
	if err != nil {
		return settled, err
	}
	opened, _ := d.gates.Get(down.name())
	refused := down.seen().refused
	d.step(3, "What came of it: a receiver that is down harms no other.")
	d.outcomes(settled)
	d.say("  %s was not disturbed: the slowest event took %s to reach it.", well.name(), milliseconds(well.seen().slowest))
	d.say("  The gate of %s opened %s after the first request, because of", down.name(), milliseconds(opened.Since.Sub(refused[0])))
	d.say("  %s. What was for it was held from then on, and nothing", opened.Why)
	d.say("  went there but %s: %s in all, where retries alone", plural(opened.Probes, "probe"), plural(len(refused), "request"))
	d.say("  would have made %d.", d.events*demoPolicy.Attempts())
	return settled, broken(append(undisturbed(settled.endpoints[0], well), spared(opened, refused, down.name())...))
}

// outcomes prints what came of the events at each endpoint.
func (d *demo) outcomes(settled demoTally) {
	t := d.table("Endpoint", "Delivered", "Requests", "Dead letters")
	verified, requests := 0, 0
	for i, c := range settled.endpoints {
		t.AppendRow(table.Row{demoTenant + "/" + demoCast[i].id, fmt.Sprintf("%d of %d", c.delivered, d.events), c.attempts, c.dead})
		verified += c.verified
		requests += c.attempts
	}
	d.render(t)
	d.say("  Each request is signed. The receivers found %d of %d signatures valid.", verified, requests)
	d.say("")
}

// undisturbed returns in words what an endpoint that is well suffered from the
// others.
func undisturbed(c demoCount, r *demoReceiver) (suffered []string) {
	if c.attempts != c.wanted || c.delivered != c.wanted {
		suffered = append(suffered, fmt.Sprintf("%s to %s, which is well, for %s", plural(c.attempts, "request"), r.name(), plural(c.wanted, "event")))
	}
	if slowest := r.seen().slowest; slowest > demoDisturbed {
		suffered = append(suffered, fmt.Sprintf("an event took %s to %s, which is well", slowest, r.name()))
	}
	return suffered
}

// spared returns in words what else than probes came to an endpoint while its
// gate was open.
func spared(o gate.Opened, requests []time.Time, name string) (suffered []string) {
	late, probes := 0, o.Probes
	if o.Prober != "" {
		probes++ // it is being made
	}
	for _, at := range requests {
		if at.Sub(o.Since) > demoSettling {
			late++
		}
	}
	if late > probes {
		suffered = append(suffered, fmt.Sprintf("%s to %s with its gate open, but %s", plural(late, "request"), name, plural(probes, "probe")))
	}
	return suffered
}

// milliseconds is a time as one says it.
func milliseconds(d time.Duration) string { return d.Round(time.Millisecond).String() }
