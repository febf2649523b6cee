package main

import (
	"context"
	"fmt"
	"os"
	"slices"
	"strconv"
	"strings"
	"time"
)

// part is one row of figures, or one proof.
type part struct {
	name    string
	measure func(context.Context, string) (result, error)
	prove   func(context.Context, *proof) error
}

func (b *bench) parts() []part {
	return []part{
		{name: "separate", measure: b.separate},
		{name: "bare", measure: b.separate},
		{name: "traced", measure: b.separate},
		{name: "embedded", measure: b.embedded},
		{name: "publishing", measure: b.publishing},
		{name: "latency", measure: b.latency},
		{name: "replay", measure: b.replay},
		{name: "replay-synced", measure: b.replay},
		{name: "isolation", prove: b.isolation},
		{name: "outage", prove: func(ctx context.Context, p *proof) error { return b.outage(ctx, p, 1) }},
		{name: "outage-2", prove: func(ctx context.Context, p *proof) error { return b.outage(ctx, p, 2) }},
		{name: "rate", prove: b.rate},
		{name: "backlog", prove: b.backlog},
		{name: "waiting", prove: b.waitingRetries},
		{name: "scale", prove: b.scale},
		{name: "lanes", prove: b.lanes},
	}
}

func names(parts []part) []string {
	all := make([]string, len(parts))
	for i, p := range parts {
		all[i] = p.name
	}
	return all
}

// choose returns the parts that a list of names and groups asks for; all for
// none.
func choose(parts []part, list string) ([]part, error) {
	if list == "" {
		return parts, nil
	}
	asked := strings.Split(list, ",")
	for _, name := range asked {
		if name != "figures" && name != "proofs" && !slices.Contains(names(parts), name) {
			return nil, fmt.Errorf("-only %s: there are figures, proofs, %s", name, strings.Join(names(parts), ", "))
		}
	}
	return slices.DeleteFunc(parts, func(p part) bool {
		group := "figures"
		if p.prove != nil {
			group = "proofs"
		}
		return !slices.Contains(asked, p.name) && !slices.Contains(asked, group)
	}), nil
}

// all runs the parts. One that fails stops those of its kind, because a figure
// is worth little without its neighbours, but not the proofs, which are worth
// something each by itself.
func (b *bench) all(ctx context.Context, parts []part) (report, error) {
	r := report{Events: b.events, Body: body, Connections: connections}
	var err error
	if b.receiver, err = b.start(ctx, "receiver", nil, b.self, "receiver"); err != nil {
		return r, err
	}
	defer b.receiver.kill()
	if b.url, err = b.receiver.line(); err != nil {
		return r, err
	}
	if err := b.figures(ctx, parts, &r); err != nil {
		return r, err
	}
	var failed int
	for _, part := range parts {
		if part.prove == nil || ctx.Err() != nil {
			continue
		}
		p := b.proof(ctx, part)
		if p.Error != "" {
			failed++
		}
		r.Proofs = append(r.Proofs, p)
	}
	if failed > 0 {
		return r, fmt.Errorf("%d proofs could not be carried out", failed)
	}
	return r, ctx.Err()
}

// figures runs the parts that are compared with the yardstick.
func (b *bench) figures(ctx context.Context, parts []part, r *report) error {
	// Around the runs and between them, so that a machine that slows down is
	// noticed and does not flatter anybody.
	yardstick := func() error {
		rate, err := b.figure(ctx, "yardstick", b.url+"/e/yardstick", strconv.Itoa(b.events))
		r.Yardsticks = append(r.Yardsticks, rate)
		return err
	}
	for _, part := range parts {
		if part.measure == nil {
			continue
		}
		if len(r.Yardsticks) == 0 {
			if err := yardstick(); err != nil {
				return err
			}
		}
		res, err := part.measure(ctx, part.name)
		if err != nil {
			return fmt.Errorf("%s: %w", part.name, err)
		}
		before := r.Yardsticks[len(r.Yardsticks)-1]
		if err := yardstick(); err != nil {
			return err
		}
		res.Name = part.name
		if res.PerSecond > 0 && !res.NoRequests {
			res.Ratio = res.PerSecond / ((before + r.Yardsticks[len(r.Yardsticks)-1]) / 2)
		}
		r.Results = append(r.Results, res)
	}
	return nil
}

// longest bounds a proof, whatever hangs in it.
const longest = 20 * time.Minute

// proof carries one proof out and says on the way how long it took: together
// they take a while.
func (b *bench) proof(ctx context.Context, part part) proof {
	ctx, cancel := context.WithTimeout(ctx, longest)
	defer cancel()
	p := proof{Name: part.name}
	start := time.Now()
	if err := part.prove(ctx, &p); err != nil {
		p.Error = err.Error()
	}
	p.Took = time.Since(start)
	fmt.Fprintf(os.Stderr, "%s: %s, %s\n", p.Name, p.verdict(), p.Took.Round(time.Second))
	return p
}
