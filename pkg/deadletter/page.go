package deadletter

import (
	"context"
	"errors"
	"fmt"
	"strconv"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
	"github.com/synadia-io/orbit.go/jetstreamext"
)

// pageBytes bounds a page: bodies may be a megabyte each.
const pageBytes = 8 << 20

// page reads up to n messages with their bodies under a subject from a sequence
// on. It asks the stream directly and now, so that nothing of it lay in a
// buffer meanwhile. What it returns has no gaps, which is what lets a batch be
// removed by one purge.
func (s *Store) page(ctx context.Context, subject string, from uint64, since time.Time, n int) ([]stored, error) {
	ctx, cancel := context.WithTimeout(ctx, apiTimeout)
	defer cancel()
	options := []jetstreamext.GetBatchOpt{
		jetstreamext.GetBatchSubject(subject),
		jetstreamext.GetBatchMaxBytes(pageBytes),
	}
	if from == 1 && !since.IsZero() {
		options = append(options, jetstreamext.GetBatchStartTime(since))
	} else {
		options = append(options, jetstreamext.GetBatchSeq(from))
	}
	messages, err := jetstreamext.GetBatch(ctx, s.js, s.names.DeadLetters(), n, options...)
	if err != nil {
		return nil, explainPage(s.names.DeadLetters(), err)
	}
	var page []stored
	previous := "0"
	for m, err := range messages {
		if errors.Is(err, jetstreamext.ErrNoMessages) {
			return nil, nil // the only way in which the stream says that there is none
		}
		if err != nil {
			return nil, explainPage(s.names.DeadLetters(), err)
		}
		if m.Header.Get("Nats-Last-Sequence") != previous {
			break // one was lost on the way: the next page begins with it
		}
		previous = strconv.FormatUint(m.Sequence, 10)
		page = append(page, stored{m.Subject, m.Sequence, m.Time, m.Header, m.Data})
	}
	if len(page) == 0 {
		return nil, explainPage(s.names.DeadLetters(), errors.Join(errNoAnswer, ctx.Err()))
	}
	return page, nil
}

// errNoAnswer keeps a page that did not arrive from looking like the end.
var errNoAnswer = errors.New("its answer was lost on the way")

func explainPage(stream string, err error) error {
	if errors.Is(err, nats.ErrNoResponders) || errors.Is(err, jetstream.ErrNoStreamResponse) || errors.Is(err, jetstreamext.ErrBatchUnsupported) {
		return fmt.Errorf("read stream %s: %w: it needs allow_direct (`jethook streams apply` sets it) and nats-server 2.11 or newer", stream, err)
	}
	return fmt.Errorf("read stream %s: %w", stream, err)
}
