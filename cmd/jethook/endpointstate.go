package main

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"
	"time"

	"github.com/nats-io/nats.go/jetstream"
	"github.com/rs/zerolog"

	"jethook/pkg/endpoint"
	"jethook/pkg/gate"
	"jethook/pkg/hold"
	"jethook/streams"
)

// The states of an endpoint.
const (
	stateActive   = "active"
	statePaused   = "paused"
	stateDisabled = "disabled"
	stateFailing  = "failing" // its gate is open
)

// endpointState is how an endpoint fares, beside what its document says.
type endpointState struct {
	Is      string       `json:"is"`
	Why     string       `json:"why,omitempty"`
	Since   time.Time    `json:"since,omitzero"`
	Gate    *gate.Opened `json:"gate,omitempty"` // nil: it is closed
	Waiting waiting      `json:"waiting"`
	// Oldest is since when the oldest of them waits: when it was first attempted or
	// held, or the event that is next in order was published. Zero is none, or
	// unknown where some wait.
	Oldest time.Time `json:"oldest,omitzero"`
}

// waiting is how many deliveries wait for an endpoint.
type waiting struct {
	Held      uint64 `json:"held"`
	Scheduled uint64 `json:"scheduled"`
	ToAttempt uint64 `json:"to_attempt"`
	Ordered   uint64 `json:"ordered,omitempty"` // events in an ordered endpoint's consumer
}

func (w waiting) total() uint64 { return w.Held + w.Scheduled + w.ToAttempt + w.Ordered }

// stateOf puts together what is known of an endpoint.
func stateOf(d endpoint.Document, gates map[string]gate.Opened, b hold.Backlog, ordered []*jetstream.ConsumerInfo) endpointState {
	s := endpointState{Is: stateActive, Waiting: waiting{b.Held.Total(), b.Scheduled, b.ToAttempt, pendingIn(ordered...)}}
	if opened, open := gates[d.Name()]; open {
		s.Is, s.Why, s.Since, s.Gate = stateFailing, opened.Why, opened.Since, &opened
	}
	switch {
	case d.Disabled != nil:
		s.Is, s.Why, s.Since = stateDisabled, d.Disabled.Reason, d.Disabled.At
	case d.Paused:
		s.Is, s.Why, s.Since = statePaused, "an operator paused it", d.PausedAt
	}
	return s
}

// state returns the state of one endpoint.
func (c *client) state(ctx context.Context, d endpoint.Document) (endpointState, error) {
	gates, err := c.openGates(ctx)
	if err != nil {
		return endpointState{}, err
	}
	held := hold.NewStore(c.JS, c.Names)
	backlog, err := held.Backlog(ctx, d.Tenant, d.ID)
	if err != nil {
		return endpointState{}, err
	}
	ordered, err := c.allOrdered(ctx, []endpoint.Document{d})
	if err != nil {
		return endpointState{}, err
	}
	s := stateOf(d, gates, backlog, ordered[d.Name()])
	s.Oldest, err = c.oldest(ctx, held, d, backlog, ordered[d.Name()])
	return s, err
}

// oldest returns since when what waits for an endpoint does, b and what is in order.
func (c *client) oldest(ctx context.Context, held *hold.Store, d endpoint.Document, b hold.Backlog, ordered []*jetstream.ConsumerInfo) (time.Time, error) {
	oldest, err := held.Oldest(ctx, d.Tenant, d.ID, b)
	if err != nil || pendingIn(ordered...) == 0 {
		return oldest, err
	}
	stream, err := c.JS.Stream(ctx, c.Names.Events())
	if err != nil {
		return time.Time{}, fmt.Errorf("look up stream %s: %w", c.Names.Events(), err)
	}
	for _, info := range ordered {
		next, err := streams.FirstUnacked(ctx, stream, info)
		if err != nil {
			return oldest, err
		}
		if oldest.IsZero() || !next.IsZero() && next.Before(oldest) {
			oldest = next
		}
	}
	return oldest, nil
}

// states returns the states of many endpoints, of one tenant unless that is
// empty. It asks about all of them at once. Only the age of what waits has to be
// asked for one by one, which is done for so many of them, 0 for all.
func (c *client) states(ctx context.Context, documents []endpoint.Document, tenant string, ages int) ([]endpointState, error) {
	gates, err := c.openGates(ctx)
	if err != nil {
		return nil, err
	}
	held := hold.NewStore(c.JS, c.Names)
	backlogs, err := held.Backlogs(ctx, tenant)
	if err != nil {
		return nil, err
	}
	ordered, err := c.allOrdered(ctx, documents)
	if err != nil {
		return nil, err
	}
	states := make([]endpointState, len(documents))
	var asked []int
	for i, d := range documents {
		states[i] = stateOf(d, gates, backlogs[d.Name()], ordered[d.Name()])
		if states[i].Waiting.total() > 0 && (ages == 0 || len(asked) < ages) {
			asked = append(asked, i)
		}
	}
	err = atATime(asked, func(i int) (err error) {
		d := documents[i]
		states[i].Oldest, err = c.oldest(ctx, held, d, backlogs[d.Name()], ordered[d.Name()])
		return err
	})
	return states, err
}

// atATime calls ask for all, some at a time: the server may be far away.
func atATime(all []int, ask func(int) error) error {
	const some = 16
	errs := make([]error, some)
	var running sync.WaitGroup
	for k := range some {
		running.Go(func() {
			for i := k; i < len(all) && errs[k] == nil; i += some {
				errs[k] = ask(all[i])
			}
		})
	}
	running.Wait()
	return errors.Join(errs...)
}

// openGates returns the gates that are open, by TENANT/ENDPOINT.
func (c *client) openGates(ctx context.Context) (map[string]gate.Opened, error) {
	kv, err := c.JS.KeyValue(ctx, c.Names.GatesBucket())
	if errors.Is(err, jetstream.ErrBucketNotFound) {
		return nil, nil // then no replica opened one
	}
	if err != nil {
		return nil, fmt.Errorf("open bucket %s: %w", c.Names.GatesBucket(), err)
	}
	fleet := gate.NewFleet(kv, "", zerolog.Nop()) // it only reads, so that it needs no name
	if err := fleet.Start(ctx); err != nil {
		return nil, err
	}
	defer fleet.Stop()
	gates := make(map[string]gate.Opened, fleet.Len())
	fleet.Each(func(name string, o gate.Opened) { gates[name] = o })
	return gates, nil
}

// pendingIfAny returns how many messages a consumer has before it, nil for one that
// is not there yet or any more.
func (c *client) pendingIfAny(ctx context.Context, stream, name string) (*uint64, error) {
	consumer, err := c.JS.Consumer(ctx, stream, name)
	if errors.Is(err, jetstream.ErrConsumerNotFound) {
		return nil, nil //nolint:nilnil // nil says that there is none
	}
	if err != nil {
		return nil, fmt.Errorf("look at consumer %s of %s: %w", name, stream, err)
	}
	return new(pendingIn(consumer.CachedInfo())), nil
}

// pendingIn returns how many messages consumers have before them.
func pendingIn(consumers ...*jetstream.ConsumerInfo) (n uint64) {
	for _, info := range consumers {
		n += info.NumPending + uint64(info.NumAckPending)
	}
	return n
}

// allOrdered returns the consumers of ordered endpoints by the endpoint's name, if any
// of the documents is ordered. While one has another consumer yet for what it wanted
// before, events that are for both count twice.
func (c *client) allOrdered(ctx context.Context, documents []endpoint.Document) (map[string][]*jetstream.ConsumerInfo, error) {
	if !slices.ContainsFunc(documents, func(d endpoint.Document) bool { return d.Ordered }) {
		return nil, nil
	}
	return c.orderedConsumers(ctx)
}

// orderedConsumers returns the consumers that there are of endpoints that are ordered,
// or were until just now, by the endpoint's name.
func (c *client) orderedConsumers(ctx context.Context) (map[string][]*jetstream.ConsumerInfo, error) {
	stream, err := c.JS.Stream(ctx, c.Names.Events())
	if err != nil {
		return nil, fmt.Errorf("look up stream %s: %w", c.Names.Events(), err)
	}
	ordered := make(map[string][]*jetstream.ConsumerInfo)
	list := stream.ListConsumers(ctx)
	for info := range list.Info() {
		if tenant, id, ok := streams.ParseOrdered(info.Name); ok {
			ordered[tenant+"/"+id] = append(ordered[tenant+"/"+id], info)
		}
	}
	if err := list.Err(); err != nil {
		return nil, fmt.Errorf("list the consumers of %s: %w", c.Names.Events(), err)
	}
	return ordered, nil
}
