package streams

import (
	"context"
	"iter"
	"math"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
)

// Read says what to read of a stream, from the oldest message on.
type Read struct {
	Stream string
	Filter string    // subject, with wildcards
	First  uint64    // sequence to begin with; 0 is the oldest
	Last   uint64    // sequence to end with; 0 is the last that there is at the start
	Since  time.Time // begin with what was stored then or later; only where First is 0

	Most  int // messages of a page at the most; 0 is 1,000
	Bytes int // of a page, about; 0 is 4 MiB
}

// Message is a stored message.
type Message struct {
	Subject string
	Seq     uint64
	Time    time.Time // when it was stored
	Header  nats.Header
	Data    []byte
	Pending uint64 // how many more there are behind it that the filter means
}

// readTries is how often a page is asked for that does not come.
const readTries = 3

// All yields the messages, each once and in order. They are asked for directly, so
// that it takes no consumer, and works on a queue that somebody else empties. After
// an error it ends.
func (r Read) All(ctx context.Context, js jetstream.JetStream) iter.Seq2[Message, error] {
	return func(yield func(Message, error) bool) {
		stream, err := js.Stream(ctx, r.Stream)
		if err != nil {
			yield(Message{}, r.explain(err))
			return
		}
		if r.Last == 0 {
			r.Last = math.MaxUint64
		}
		r.Last = min(r.Last, stream.CachedInfo().State.LastSeq)
		for tries := 0; r.First <= r.Last; {
			page, err := r.Page(ctx, js)
			switch {
			case err == nil && len(page) == 0:
				return
			case err != nil && tries < readTries && ctx.Err() == nil:
				tries++
			case err != nil:
				yield(Message{}, err)
				return
			}
			for _, m := range page {
				if m.Seq > r.Last || !yield(m, nil) {
					return
				}
				r.First, tries = m.Seq+1, 0
			}
		}
	}
}

// Next returns the first message there is, if there is one.
func (r Read) Next(ctx context.Context, js jetstream.JetStream) (m Message, found bool, err error) {
	r.Most = 1
	for m, err := range r.All(ctx, js) {
		return m, err == nil, err
	}
	return Message{}, false, nil
}
