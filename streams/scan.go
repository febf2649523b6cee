package streams

import (
	"context"
	"errors"
	"fmt"
	"iter"
	"math"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
)

// Scan says what to read of a stream, from the oldest message on.
type Scan struct {
	Stream      string
	Filter      string    // subject, with wildcards
	First       uint64    // sequence to begin with; 0 is the oldest
	Last        uint64    // sequence to end with; 0 is the last that there is at the start
	Since       time.Time // begin with what was stored then or later; only where First is 0
	HeadersOnly bool
}

// Message is a stored message.
type Message struct {
	Subject string
	Seq     uint64
	Time    time.Time // when it was stored
	Header  nats.Header
	Data    []byte
}

const (
	scanBatch    = 500              // messages a fetch, where they are headers only
	scanWhole    = 32               // where they are whole, and may have a megabyte each
	scanPatience = 30 * time.Second // the server forgets a consumer of ours that is idle for as long
	scanTries    = 3
)

// All yields the messages, each once and in order, however often the connection
// is lost meanwhile. It pulls, so that it ends where messages end and a slow
// caller costs no memory. After an error it ends.
func (s Scan) All(ctx context.Context, js jetstream.JetStream) iter.Seq2[Message, error] {
	return func(yield func(Message, error) bool) {
		stream, err := js.Stream(ctx, s.Stream)
		if err != nil {
			if errors.Is(err, jetstream.ErrStreamNotFound) {
				err = fmt.Errorf("there is no stream %s: run `jethook serve` or `jethook streams apply` first", s.Stream)
			} else {
				err = fmt.Errorf("look up stream %s: %w", s.Stream, err)
			}
			yield(Message{}, err)
			return
		}
		if s.Last == 0 {
			s.Last = math.MaxUint64
		}
		s.Last = min(s.Last, stream.CachedInfo().State.LastSeq)
		s.First = max(s.First, 1)
		for tries := 0; s.First <= s.Last; {
			from := s.First
			more, err := s.some(ctx, js, yield)
			if !more {
				return
			}
			if s.First > from {
				tries = 0 // it gets on
			}
			if tries++; tries == scanTries || ctx.Err() != nil {
				yield(Message{}, fmt.Errorf("read stream %s from sequence %d: %w", s.Stream, s.First, err))
				return
			}
		}
	}
}

// some reads with one consumer, and moves First on. It reports whether there may
// be more, after an error that says why it stopped.
func (s *Scan) some(ctx context.Context, js jetstream.JetStream, yield func(Message, error) bool) (more bool, err error) {
	config := jetstream.ConsumerConfig{
		FilterSubject:     s.Filter,
		DeliverPolicy:     jetstream.DeliverByStartSequencePolicy,
		OptStartSeq:       s.First,
		AckPolicy:         jetstream.AckNonePolicy,
		HeadersOnly:       s.HeadersOnly,
		MemoryStorage:     true,
		Replicas:          1,
		InactiveThreshold: scanPatience,
	}
	if s.First == 1 && !s.Since.IsZero() {
		config.DeliverPolicy, config.OptStartSeq, config.OptStartTime = jetstream.DeliverByStartTimePolicy, 0, &s.Since
	}
	consumer, err := js.CreateConsumer(ctx, s.Stream, config)
	if err != nil {
		return true, err
	}
	defer func() {
		ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), requestTimeout)
		defer cancel()
		// If this fails, the server forgets it by itself.
		_ = js.DeleteConsumer(ctx, s.Stream, consumer.CachedInfo().Name)
	}()
	size := scanWhole
	if s.HeadersOnly {
		size = scanBatch
	}
	for delivered := uint64(0); ; {
		batch, err := consumer.FetchNoWait(size)
		if err != nil {
			return true, err
		}
		before := delivered
		for m := range batch.Messages() {
			meta, err := m.Metadata()
			if err != nil {
				return true, err
			}
			if meta.Sequence.Stream > s.Last {
				return false, nil
			}
			if delivered++; meta.Sequence.Consumer != delivered {
				return true, fmt.Errorf("message %d was lost on the way", delivered)
			}
			s.First = meta.Sequence.Stream + 1
			if !yield(Message{m.Subject(), meta.Sequence.Stream, meta.Timestamp, m.Headers(), m.Data()}, nil) {
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
			return false, nil
		}
	}
}
