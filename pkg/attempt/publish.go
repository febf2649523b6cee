package attempt

import (
	"context"
	"errors"
	"fmt"
	"slices"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
	"github.com/synadia-io/orbit.go/jetstreamext"
)

// mostMessages is how many messages one batch may have; NATS takes a thousand.
const mostMessages = 900

// publish stores messages: in batches, of which a server that syncs each write
// makes one, or one by one where the stream takes no batches.
func (w *Writer) publish(ctx context.Context, all []message) error {
	for chunk := range slices.Chunk(all, mostMessages) {
		if len(chunk) > 1 && !w.single {
			err := w.publishBatch(ctx, chunk)
			if err == nil {
				continue
			}
			if !unsupported(err) {
				return err
			}
			w.single = true
		}
		if err := w.publishEach(ctx, chunk); err != nil {
			return err
		}
	}
	return nil
}

func (w *Writer) publishBatch(ctx context.Context, chunk []message) error {
	publisher, err := jetstreamext.NewBatchPublisher(w.o.JetStream, jetstreamext.BatchFlowControl{})
	if err != nil {
		return fmt.Errorf("begin a batch: %w", err)
	}
	last := len(chunk) - 1
	for _, m := range chunk[:last] {
		if err := publisher.Add(m.subject, m.data); err != nil {
			return fmt.Errorf("add to a batch: %w", err)
		}
	}
	if _, err := publisher.Commit(ctx, chunk[last].subject, chunk[last].data); err != nil {
		return fmt.Errorf("store a batch: %w", err)
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

func (w *Writer) publishEach(ctx context.Context, chunk []message) error {
	acks := make([]jetstream.PubAckFuture, len(chunk))
	for i, m := range chunk {
		var err error
		if acks[i], err = w.o.JetStream.PublishMsgAsync(&nats.Msg{Subject: m.subject, Data: m.data}); err != nil {
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
