package hold

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"jethook/streams"
)

const (
	ackWait = 10 * time.Second
	// idle is for how long the server keeps a feed that nobody reads. It counts
	// from the end of the last AckWait, so that no feed goes away under messages
	// that somebody still works on.
	idle        = 30 * time.Second
	feedPending = 2000
	// pause is how long a feed stands still at most, should whoever looks
	// whether it is finished not come back.
	pause = 2 * time.Second
)

// ErrFeedGone is returned for a feed that the server has no more: another
// replica finished it, nobody read it for long, or the server lost it. What it
// had handed out and what was not acked is still held.
var ErrFeedGone = errors.New("the feed is gone")

// Feed hands out what is held for an endpoint, in the order in which it was
// held, whatever its kind. All replicas that open it share it: each delivery
// goes to one of them. It is removed from the stream by its ack, and comes again
// when there is no ack within ten seconds.
type Feed struct {
	store    *Store
	name     string
	consumer jetstream.Consumer
}

// Feed opens the feed of an endpoint, and makes it if there is none.
func (s *Store) Feed(ctx context.Context, tenant, endpoint string) (*Feed, error) {
	name := streams.FeedOf(tenant, endpoint)
	// In memory, because losing it costs a few repeated deliveries and a write
	// for every ack costs more. The number of replicas is the stream's: the
	// server allows no other on a work queue.
	consumer, err := s.js.CreateOrUpdateConsumer(ctx, s.names.Deliveries(), s.feed(name, tenant, endpoint))
	if err != nil {
		return nil, fmt.Errorf("open %s: %w", name, err)
	}
	return &Feed{s, name, consumer}, nil
}

func (s *Store) feed(name, tenant, endpoint string) jetstream.ConsumerConfig {
	return jetstream.ConsumerConfig{
		Name:              name,
		Description:       "jethook: feeds back what is held",
		DeliverPolicy:     jetstream.DeliverAllPolicy,
		AckPolicy:         jetstream.AckExplicitPolicy,
		AckWait:           s.ackWait,
		MaxDeliver:        -1,
		MaxAckPending:     feedPending,
		FilterSubject:     s.names.Held(tenant, endpoint, wildcard),
		InactiveThreshold: idle,
		MemoryStorage:     true,
	}
}

// MayFeed reports whether this connection's user may make the feeds.
func (s *Store) MayFeed(ctx context.Context) bool {
	const anybody = "jethook"
	name := streams.FeedOf(anybody, anybody)
	return streams.MayMake(ctx, s.js, streams.Consumer{Stream: s.names.Deliveries(), Config: s.feed(name, anybody, anybody)})
}

// Fetch returns up to n deliveries, waiting for the first of them no longer than
// wait; with a wait of 0 it returns those that there are. Messages that came
// before an error are returned beside it. Once begun it is not cut short by ctx:
// what was on its way would lie there un-acked, for nobody, until its AckWait
// is over.
func (f *Feed) Fetch(ctx context.Context, n int, wait time.Duration) ([]jetstream.Msg, error) {
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	batch, err := f.request(n, wait)
	if err != nil {
		return nil, f.explain("read", err)
	}
	messages := make([]jetstream.Msg, 0, n)
	for m := range batch.Messages() {
		messages = append(messages, m)
	}
	if err := batch.Error(); err != nil {
		return messages, f.explain("read", err)
	}
	return messages, nil
}

func (f *Feed) request(n int, wait time.Duration) (jetstream.MessageBatch, error) {
	if wait == 0 {
		return f.consumer.FetchNoWait(n)
	}
	return f.consumer.Fetch(n, jetstream.FetchMaxWait(wait))
}

// Handed reports whether the feed of an endpoint has handed out what awaits its ack:
// somebody may be attempting it.
func (s *Store) Handed(ctx context.Context, tenant, endpoint string) (bool, error) {
	name := streams.FeedOf(tenant, endpoint)
	consumer, err := s.js.Consumer(ctx, s.names.Deliveries(), name)
	if errors.Is(err, jetstream.ErrConsumerNotFound) {
		return false, nil
	}
	if err != nil {
		return false, fmt.Errorf("look at %s: %w", name, err)
	}
	return !unused(consumer.CachedInfo()), nil
}

// Finish closes the feed for all replicas if it has nothing more to hand out
// and nothing that it handed out awaits its ack. done says that it did: nothing
// was held any more.
func (f *Feed) Finish(ctx context.Context) (done bool, err error) { return f.end(ctx, empty) }

// Close closes the feed for all replicas, whatever it has to hand out still,
// unless something that it handed out awaits its ack.
func (f *Feed) Close(ctx context.Context) (closed bool, err error) { return f.end(ctx, unused) }

// end closes the feed for all replicas if it may end.
func (f *Feed) end(ctx context.Context, may func(*jetstream.ConsumerInfo) bool) (ended bool, err error) {
	info, err := f.consumer.Info(ctx)
	if err != nil || !may(info) {
		return false, f.explain("look at", err)
	}
	// Another replica may be handed a delivery between our look and the end of
	// the feed, which would then not know its ack and let it be delivered again.
	// So the feed stands still while we look once more.
	js, stream := f.store.js, f.store.names.Deliveries()
	info, err = f.halt(ctx, info.TimeStamp)
	if err != nil || !info.Paused || !may(info) {
		// If this fails, the feed goes on when the pause is over.
		_, resumeErr := js.ResumeConsumer(ctx, stream, f.name)
		return false, errors.Join(err, f.explain("resume", resumeErr))
	}
	f.store.interrupt()
	if err := js.DeleteConsumer(ctx, stream, f.name); err != nil {
		return false, f.explain("finish", err)
	}
	return true, nil
}

// halt pauses the feed and returns its state when it stands still, which in a
// cluster is a moment later. now is the clock of the server that leads the feed:
// ours may be elsewhere, and the pause over when it begins.
func (f *Feed) halt(ctx context.Context, now time.Time) (*jetstream.ConsumerInfo, error) {
	began := time.Now()
	if _, err := f.store.js.PauseConsumer(ctx, f.store.names.Deliveries(), f.name, now.Add(pause)); err != nil {
		return nil, f.explain("pause", err)
	}
	ticker := time.NewTicker(10 * time.Millisecond)
	defer ticker.Stop()
	for {
		info, err := f.consumer.Info(ctx)
		if err != nil || info.Paused || time.Since(began) > pause/2 {
			return info, f.explain("look at", err)
		}
		select {
		case <-ctx.Done():
			return nil, context.Cause(ctx)
		case <-ticker.C:
		}
	}
}

func empty(info *jetstream.ConsumerInfo) bool { return info.NumPending == 0 && unused(info) }

func unused(info *jetstream.ConsumerInfo) bool { return info.NumAckPending == 0 }

func (f *Feed) explain(what string, err error) error {
	switch {
	case err == nil:
		return nil
	case errors.Is(err, jetstream.ErrConsumerDeleted), errors.Is(err, jetstream.ErrConsumerNotFound),
		errors.Is(err, nats.ErrNoResponders):
		return fmt.Errorf("%s %s: %w: %w", what, f.name, ErrFeedGone, err)
	}
	return fmt.Errorf("%s %s: %w", what, f.name, err)
}
