package streams

import (
	"context"
	"errors"
	"fmt"
	"iter"
	"math"
	"strconv"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
	"github.com/synadia-io/orbit.go/jetstreamext"
)

// Read says what to read of a stream, from the oldest message on.
type Read struct {
	Stream string
	Filter string    // subject, with wildcards
	First  uint64    // sequence to begin with; 0 is the oldest
	Last   uint64    // sequence to end with; 0 is the last that there is at the start
	Since  time.Time // begin with what was stored then or later; only where First is 0

	most int // messages at a time; 0 is readMessages
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

const (
	readMessages = 1000
	readBytes    = 4 << 20
	readTries    = 3
)

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
			page, err := r.page(ctx, js)
			switch {
			case err == nil && len(page) == 0:
				return
			case err != nil && (len(page) > 0 || tries < readTries) && ctx.Err() == nil:
				tries++ // with what came, if anything did
			case err != nil:
				yield(Message{}, r.explain(err))
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
	r.most = 1
	for m, err := range r.All(ctx, js) {
		return m, err == nil, err
	}
	return Message{}, false, nil
}

var errNoAnswer = errors.New("its answer was lost on the way")

// page returns some messages, and none when there are none. Those that came before
// an error are whole.
func (r Read) page(ctx context.Context, js jetstream.JetStream) (page []Message, err error) {
	ctx, cancel := context.WithTimeout(ctx, requestTimeout)
	defer cancel()
	from := jetstreamext.GetBatchSeq(max(r.First, 1))
	if r.First == 0 && !r.Since.IsZero() {
		from = jetstreamext.GetBatchStartTime(r.Since)
	}
	if r.most == 0 {
		r.most = readMessages
	}
	if r.First > 0 {
		r.most = int(min(uint64(r.most), r.Last-r.First+1))
	}
	messages, err := jetstreamext.GetBatch(ctx, js, r.Stream, r.most,
		jetstreamext.GetBatchSubject(r.Filter), jetstreamext.GetBatchMaxBytes(readBytes), from)
	if err != nil {
		return nil, err
	}
	previous := "0"
	for m, err := range messages {
		if errors.Is(err, jetstreamext.ErrNoMessages) {
			return nil, nil // the only way in which the stream says that there is none
		}
		if err != nil {
			return page, err
		}
		if m.Header.Get("Nats-Last-Sequence") != previous {
			if len(page) == 0 {
				return nil, errNoAnswer // an empty page would mean that there is none
			}
			return page, nil // one was lost on the way: the next page begins with it
		}
		previous = strconv.FormatUint(m.Sequence, 10)
		pending, err := strconv.ParseUint(m.Header.Get("Nats-Num-Pending"), 10, 64)
		if err != nil {
			return page, err
		}
		page = append(page, Message{m.Subject, m.Sequence, m.Time, m.Header, m.Data, pending})
	}
	if len(page) == 0 {
		return nil, errors.Join(errNoAnswer, ctx.Err())
	}
	return page, nil
}

func (r Read) explain(err error) error {
	switch {
	case errors.Is(err, jetstream.ErrStreamNotFound):
		return fmt.Errorf("there is no stream %s: run `jethook serve` or `jethook streams apply` first", r.Stream)
	case errors.Is(err, nats.ErrNoResponders), errors.Is(err, jetstream.ErrNoStreamResponse), errors.Is(err, jetstreamext.ErrBatchUnsupported):
		return fmt.Errorf("read stream %s: %w: it needs allow_direct (`jethook streams apply` sets it) and nats-server 2.11 or newer", r.Stream, err)
	}
	return fmt.Errorf("read stream %s: %w", r.Stream, err)
}
