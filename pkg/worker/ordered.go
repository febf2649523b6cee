package worker

import (
	"context"
	"fmt"
	"slices"
	"sync"
	"time"

	"jethook/pkg/endpoint"
	"jethook/streams"
)

// ordered serves the ordered endpoints that this replica ranks first for: each
// gets its events one at a time, in the order in which they were published. The
// order is kept by the endpoint's consumer, which hands out one event at a time
// whoever asks. That one replica serves an endpoint only saves the others work.
type ordered struct {
	w       *Worker
	ackWait time.Duration // of the consumers
	wake    chan struct{} // of capacity 1: an endpoint is served no more

	listed   time.Time // when consumers were last listed
	replicas int       // how many there were then
	left     []string  // the endpoints whose consumers those were

	mu     sync.Mutex
	served map[string]*inOrder
	floors map[string]position // of consumers that are or were read here
}

// position is an event in the stream of events. The time tells a stream that was
// made anew and counts from 1 again.
type position struct {
	seq uint64
	at  time.Time
}

const (
	rankEvery     = time.Second      // how often to look for whom this replica ranks first
	leftoverEvery = 30 * time.Second // how often to look for consumers that nobody else would end
)

func newOrdered(w *Worker) *ordered {
	return &ordered{w: w, ackWait: streams.OrderedAckWait, wake: make(chan struct{}, 1),
		served: make(map[string]*inOrder), floors: make(map[string]position)}
}

// run serves until ctx ends and every event is acked or handed back.
func (o *ordered) run(ctx context.Context) {
	var running sync.WaitGroup
	defer running.Wait()
	ticker := time.NewTicker(rankEvery)
	defer ticker.Stop()
	for {
		changed := o.w.endpoints.Changed()
		if o.w.endpoints.InSync() {
			o.reconcile(ctx, &running)
		}
		select {
		case <-ctx.Done():
			return
		case <-changed:
		case <-ticker.C:
		case <-o.wake:
		}
	}
}

// reconcile begins to serve the endpoints that are this replica's, and leaves
// those that are another's now. What is not ordered any more ends by itself.
func (o *ordered) reconcile(ctx context.Context, running *sync.WaitGroup) {
	if count := o.w.replicas.Count(); count != o.replicas || time.Since(o.listed) > leftoverEvery {
		if err := o.list(ctx); err == nil {
			o.replicas, o.listed = count, time.Now()
		} else if ctx.Err() == nil {
			o.w.oddities.Warn().Err(err).Msg("could not list the consumers of ordered endpoints, trying again")
		}
	}
	o.mu.Lock()
	defer o.mu.Unlock()
	for name, s := range o.served {
		if o.w.rank(name) != 0 {
			s.stop()
		}
	}
	for _, ep := range o.w.endpoints.Ordered() {
		o.begin(ctx, ep.Name(), running)
	}
	for _, name := range o.left {
		o.begin(ctx, name, running)
	}
	o.left = nil
}

// list finds the consumers there are: some may be left over from endpoints that
// were removed, or ordered once, when nobody looked.
func (o *ordered) list(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, publishTimeout)
	defer cancel()
	stream, err := o.w.js.Stream(ctx, o.w.names.Events())
	if err != nil {
		return fmt.Errorf("look up stream %s: %w", o.w.names.Events(), err)
	}
	names := stream.ConsumerNames(ctx)
	o.left = nil
	for durable := range names.Name() {
		if tenant, id, ok := streams.ParseOrdered(durable); ok {
			o.left = append(o.left, tenant+"/"+id)
		}
	}
	return names.Err()
}

// begin serves an endpoint unless that is another's to do. The caller holds the
// mutex.
func (o *ordered) begin(ctx context.Context, name string, running *sync.WaitGroup) {
	tenant, id, err := endpoint.ParseName(name)
	if err != nil || o.served[name] != nil || o.w.rank(name) != 0 {
		return
	}
	ctx, stop := context.WithCancel(ctx)
	s := &inOrder{w: o.w, all: o, name: name, tenant: tenant, id: id, stop: stop,
		log: o.w.log.With().Str("endpoint", name).Logger()}
	o.served[name] = s
	running.Go(func() {
		defer stop()
		s.run(ctx)
		o.mu.Lock()
		defer o.mu.Unlock()
		delete(o.served, name)
		signal(o.wake)
	})
}

// keepalive tells NATS which events are still in hand, until ctx ends. Only when
// NATS has answered is an event taken for ours for longer.
func (o *ordered) keepalive(ctx context.Context) {
	ticker := time.NewTicker(o.ackWait / 4)
	defer ticker.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-ticker.C:
		}
		o.keep()
	}
}

// keep tells NATS that the events in hand are, except those that may be with another
// replica by now: they stay uncertain, and are given up.
func (o *ordered) keep() {
	now := time.Now()
	kept := slices.DeleteFunc(o.inHand(), func(m *message) bool { return !o.certain(m) })
	for _, m := range kept {
		o.w.complain(m.InProgress(), "progress")
	}
	if len(kept) == 0 || o.w.js.Conn().FlushTimeout(o.ackWait/4) != nil {
		return // without an answer the events are soon given up
	}
	for _, m := range kept {
		m.progress.Store(now.UnixNano())
	}
}

func (o *ordered) inHand() (all []*message) {
	o.mu.Lock()
	defer o.mu.Unlock()
	for _, s := range o.served {
		if m := s.hand.Load(); m != nil {
			all = append(all, m)
		}
	}
	return all
}

// certain reports whether an event in hand is with no other replica: NATS has
// heard of us well within AckWait.
func (o *ordered) certain(m *message) bool {
	return time.Since(time.Unix(0, m.progress.Load())) < o.ackWait*7/10
}

// reached notes that a consumer's events are over up to a position.
func (o *ordered) reached(durable string, p position) {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.floors[durable] = p
}

// forget notes that a consumer is no more.
func (o *ordered) forget(durable string) {
	o.mu.Lock()
	defer o.mu.Unlock()
	delete(o.floors, durable)
}

// floor returns up to where a consumer's events are over, as far as is known.
func (o *ordered) floor(durable string) position {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.floors[durable]
}
