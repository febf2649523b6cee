package deadletter

import (
	"context"
	"fmt"
	"iter"
	"time"

	"github.com/nats-io/nats.go/jetstream"
)

const (
	scanBatch    = 500
	scanPatience = 30 * time.Second // the server forgets a consumer of ours that is idle for as long
	scanTries    = 3
)

// scan yields the headers of the messages under the filter's subject and within
// its span, up to the last that there is at the start. It pulls, so that it ends
// where messages end and a slow caller costs no memory.
func (s *Store) scan(ctx context.Context, f Filter) iter.Seq2[stored, error] {
	return func(yield func(stored, error) bool) {
		stream, err := s.stream(ctx, s.names.DeadLetters())
		if err != nil {
			yield(stored{}, err)
			return
		}
		next, last := f.span()
		last = min(last, stream.CachedInfo().State.LastSeq)
		for tries := 0; next <= last; {
			from := next
			more, err := s.scanFrom(ctx, f, &next, last, yield)
			if !more {
				return
			}
			if next > from {
				tries = 0 // it gets on
			}
			if tries++; tries == scanTries || ctx.Err() != nil {
				yield(stored{}, fmt.Errorf("read dead letters from sequence %d: %w", next, err))
				return
			}
		}
	}
}

// scanFrom reads with one consumer. It reports whether there may be more, after
// an error that says why it stopped.
func (s *Store) scanFrom(ctx context.Context, f Filter, next *uint64, last uint64, yield func(stored, error) bool) (more bool, err error) {
	config := jetstream.ConsumerConfig{
		FilterSubject:     f.subject(s.names),
		DeliverPolicy:     jetstream.DeliverByStartSequencePolicy,
		OptStartSeq:       *next,
		AckPolicy:         jetstream.AckNonePolicy,
		HeadersOnly:       true,
		MemoryStorage:     true,
		Replicas:          1,
		InactiveThreshold: scanPatience,
	}
	if *next == 1 && !f.Since.IsZero() {
		config.DeliverPolicy, config.OptStartSeq, config.OptStartTime = jetstream.DeliverByStartTimePolicy, 0, &f.Since
	}
	consumer, err := s.js.CreateConsumer(ctx, s.names.DeadLetters(), config)
	if err != nil {
		return true, err
	}
	defer func() {
		ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), apiTimeout)
		defer cancel()
		// If this fails, the server forgets it by itself.
		_ = s.js.DeleteConsumer(ctx, s.names.DeadLetters(), consumer.CachedInfo().Name)
	}()
	// The client ends a batch without a word when nothing came for a second.
	pending := consumer.CachedInfo().NumPending
	for delivered := uint64(0); ; {
		batch, err := consumer.FetchNoWait(scanBatch)
		if err != nil {
			return true, err
		}
		before := delivered
		for m := range batch.Messages() {
			meta, err := m.Metadata()
			if err != nil {
				return true, err
			}
			if meta.Sequence.Stream > last {
				return false, nil
			}
			if delivered++; meta.Sequence.Consumer != delivered {
				return true, fmt.Errorf("message %d was lost on the way", delivered)
			}
			*next, pending = meta.Sequence.Stream+1, meta.NumPending
			if !yield(stored{m.Subject(), meta.Sequence.Stream, meta.Timestamp, m.Headers(), nil}, nil) {
				return false, nil
			}
		}
		if err := batch.Error(); err != nil {
			return true, err
		}
		if ctx.Err() != nil {
			return true, context.Cause(ctx)
		}
		if delivered == before {
			if pending > 0 { // or they were removed, and the next consumer knows
				return true, fmt.Errorf("%d messages did not come", pending)
			}
			return false, nil
		}
	}
}
