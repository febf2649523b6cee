package attempt

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
	"github.com/nats-io/nuid"
	"github.com/synadia-io/orbit.go/jetstreamext"
)

// mostMessages is how many messages one batch may have; NATS takes a thousand.
const mostMessages = 900

const (
	// tryFor bounds one try to store, and tryAgain is the pause before the next: a
	// connection or a leader that is lost comes back within seconds.
	tryFor   = 2 * time.Second
	tryAgain = 100 * time.Millisecond
)

// publish stores messages: in batches, of which a server that syncs each write
// makes one, or one by one where the stream takes no batches. It tries until ctx
// ends or it is clear that NATS will never take them.
func (w *Writer) publish(ctx context.Context, all []message) error {
	for chunk := range slices.Chunk(all, mostMessages) {
		id := nuid.Next()
		for {
			err := w.publishOnce(ctx, chunk, id)
			if err == nil {
				break
			}
			if hopeless(err) {
				return err
			}
			w.restore(ctx, err)
			if w.late() {
				w.complain(err)
			}
			timer := time.NewTimer(tryAgain)
			select {
			case <-timer.C:
			case <-ctx.Done():
				timer.Stop()
				return err
			}
		}
	}
	return nil
}

// late reports whether acks were let go because nothing is stored.
func (w *Writer) late() bool {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.missing
}

// restoreEvery is how often it is tried to make the stream again: who may not waits
// for each refusal.
const restoreEvery = 30 * time.Second

// restore has the stream made again when err says that nobody listens.
func (w *Writer) restore(ctx context.Context, err error) {
	unheard := errors.Is(err, nats.ErrNoResponders) || errors.Is(err, jetstream.ErrNoStreamResponse)
	if !unheard || w.o.Restore == nil || time.Since(w.restored) < restoreEvery {
		return
	}
	w.restored = time.Now()
	if err := w.o.Restore(ctx); err != nil {
		w.o.Logger.Warn().Err(err).Msg("the stream of the attempt log is gone and could not be made again: run `jethook streams apply` as a user that may")
	}
}

// hopeless reports whether trying again can never go well.
func hopeless(err error) bool {
	const tooLarge jetstream.ErrorCode = 10054
	api, ok := errors.AsType[*jetstream.APIError](err)
	return ok && api.ErrorCode == tooLarge || errors.Is(err, nats.ErrMaxPayload)
}

// publishOnce stores messages unless they are stored under the id already.
func (w *Writer) publishOnce(ctx context.Context, chunk []message, id string) error {
	ctx, cancel := context.WithTimeout(ctx, tryFor)
	defer cancel()
	if !w.single {
		err := w.publishBatch(ctx, chunk, id)
		if !unsupported(err) {
			return err
		}
		w.single = true
	}
	return w.publishEach(ctx, chunk, id)
}

func (w *Writer) publishBatch(ctx context.Context, chunk []message, id string) error {
	publisher, err := jetstreamext.NewBatchPublisher(w.o.JetStream, jetstreamext.BatchFlowControl{})
	if err != nil {
		return fmt.Errorf("begin a batch: %w", err)
	}
	last := len(chunk) - 1
	for i, m := range chunk {
		msg := &nats.Msg{Subject: m.subject, Data: m.data}
		if i == 0 { // one is enough for all to be refused when they are stored already
			msg.Header = nats.Header{jetstream.MsgIDHeader: {id}}
		}
		if i == last {
			_, err = publisher.CommitMsg(ctx, msg)
		} else {
			err = publisher.AddMsg(msg)
		}
		if err != nil && !errors.Is(err, jetstreamext.ErrBatchPublishDuplicateMsgID) {
			return fmt.Errorf("store a batch: %w", err)
		}
	}
	return nil
}

// unsupported reports whether the stream takes no batches: a server before 2.12,
// or a stream that somebody configured so. Such a server stored them all the same.
func unsupported(err error) bool {
	const disabled jetstream.ErrorCode = 10174
	api, ok := errors.AsType[*jetstream.APIError](err)
	return ok && api.ErrorCode == disabled || errors.Is(err, jetstreamext.ErrInvalidBatchAck)
}

func (w *Writer) publishEach(ctx context.Context, chunk []message, id string) error {
	acks := make([]jetstream.PubAckFuture, len(chunk))
	for i, m := range chunk {
		msg := &nats.Msg{Subject: m.subject, Data: m.data, Header: nats.Header{jetstream.MsgIDHeader: {id + "." + strconv.Itoa(i)}}}
		var err error
		if acks[i], err = w.o.JetStream.PublishMsgAsync(msg); err != nil {
			return fmt.Errorf("store lines: %w", err)
		}
	}
	for _, ack := range acks {
		select {
		case <-ack.Ok():
		case err := <-ack.Err():
			return fmt.Errorf("store lines: %w", err)
		case <-ctx.Done():
			return fmt.Errorf("store lines: %w", ctx.Err())
		}
	}
	return nil
}
