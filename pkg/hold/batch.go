package hold

import (
	"context"
	"errors"
	"fmt"
	"strconv"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
	"github.com/synadia-io/orbit.go/jetstreamext"

	"jethook/streams"
)

// batchBytes bounds a batch: bodies may be a megabyte each.
const batchBytes = 8 << 20

// Batch returns up to n held deliveries of a kind, oldest first, from a sequence
// on, and none when there are none. There may be fewer than n although more
// follow. It has no gaps, so that what it returned can be removed by one Drop.
// Bodies that lie in events are left there.
func (s *Store) Batch(ctx context.Context, tenant, endpoint string, kind streams.Kind, from uint64, n int) ([]Stored, error) {
	ctx, cancel := context.WithTimeout(ctx, apiTimeout)
	defer cancel()
	messages, err := jetstreamext.GetBatch(ctx, s.js, s.names.Deliveries(), n,
		jetstreamext.GetBatchSubject(s.names.Held(tenant, endpoint, kind)),
		jetstreamext.GetBatchMaxBytes(batchBytes),
		jetstreamext.GetBatchSeq(max(from, 1)))
	if err != nil {
		return nil, s.explain(err)
	}
	var batch []Stored
	previous := "0"
	for m, err := range messages {
		if errors.Is(err, jetstreamext.ErrNoMessages) {
			return nil, nil // the only way in which the stream says that there is none
		}
		if err != nil {
			return nil, s.explain(err)
		}
		if m.Header.Get("Nats-Last-Sequence") != previous {
			break // one was lost on the way: the next batch begins with it
		}
		previous = strconv.FormatUint(m.Sequence, 10)
		batch = append(batch, s.decode(Stored{Subject: m.Subject, Seq: m.Sequence, Time: m.Time, Header: m.Header}, m.Data))
	}
	if len(batch) == 0 {
		return nil, s.explain(errors.Join(errNoAnswer, ctx.Err()))
	}
	return batch, nil
}

// errNoAnswer keeps a batch that did not arrive from looking like the end.
var errNoAnswer = errors.New("its answer was lost on the way")

func (s *Store) explain(err error) error {
	if errors.Is(err, nats.ErrNoResponders) || errors.Is(err, jetstream.ErrNoStreamResponse) || errors.Is(err, jetstreamext.ErrBatchUnsupported) {
		return fmt.Errorf("read what is held in stream %s: %w: it needs allow_direct (`jethook streams apply` sets it) and nats-server 2.11 or newer", s.names.Deliveries(), err)
	}
	return fmt.Errorf("read what is held in stream %s: %w", s.names.Deliveries(), err)
}
