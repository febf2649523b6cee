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
// ends. It returns how many lines are lost because NATS will never take them.
func (w *Writer) publish(ctx context.Context, all []message) (lost int, err error) {
	all = divide(all, w.o.JetStream.Conn().MaxPayload())
	for chunk := range slices.Chunk(all, mostMessages) {
		id := nuid.Next()
		for {
			n, err := w.publishOnce(ctx, chunk, id)
			if err == nil {
				lost += n
				break
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
				return 0, err
			}
		}
	}
	return lost, nil
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

// tooLarge reports whether a message was larger than the stream or the server takes.
func tooLarge(err error) bool {
	const exceeds jetstream.ErrorCode = 10054
	api, ok := errors.AsType[*jetstream.APIError](err)
	return ok && api.ErrorCode == exceeds || errors.Is(err, nats.ErrMaxPayload)
}

// publishOnce stores messages unless they are stored under the id already. A batch of
// which one is too large is not stored, and its messages are one by one.
func (w *Writer) publishOnce(ctx context.Context, chunk []message, id string) (lost int, err error) {
	ctx, cancel := context.WithTimeout(ctx, tryFor)
	defer cancel()
	if !w.single {
		err := w.publishBatch(ctx, chunk, id)
		if w.single = unsupported(err); !w.single && !tooLarge(err) {
			return 0, err
		}
	}
	return w.publishEach(ctx, chunk, id)
}

func (w *Writer) publishBatch(ctx context.Context, chunk []message, id string) error {
	publisher, err := jetstreamext.NewBatchPublisher(w.o.JetStream, jetstreamext.BatchFlowControl{})
	if err != nil {
		return fmt.Errorf("begin a batch: %w", err)
	}
	last := len(chunk) - 1
	// One is enough for all to be refused when they are stored already.
	msg := &nats.Msg{Header: nats.Header{jetstream.MsgIDHeader: {id}}}
	for i, m := range chunk {
		if i == 1 {
			msg.Header.Del(jetstream.MsgIDHeader)
		}
		msg.Subject, msg.Data = m.subject, m.data
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

// publishEach stores messages one by one, and the halves of one that is too large.
func (w *Writer) publishEach(ctx context.Context, chunk []message, id string) (lost int, err error) {
	ids := make([]string, len(chunk))
	acks := make([]jetstream.PubAckFuture, len(chunk))
	for i, m := range chunk {
		ids[i] = id + "." + strconv.Itoa(i)
		msg := &nats.Msg{Subject: m.subject, Data: m.data, Header: nats.Header{jetstream.MsgIDHeader: {ids[i]}}}
		if acks[i], err = w.o.JetStream.PublishMsgAsync(msg); err != nil && !tooLarge(err) {
			return 0, fmt.Errorf("store lines: %w", err)
		}
	}
	for i, ack := range acks {
		err := stored(ctx, ack)
		if tooLarge(err) {
			halves := appendSplit(nil, chunk[i], len(chunk[i].data)/2)
			if len(halves) == 1 { // a line
				w.complain(err)
				lost++
				continue
			}
			var n int
			n, err = w.publishEach(ctx, halves, ids[i])
			lost += n
		}
		if err != nil {
			return 0, fmt.Errorf("store lines: %w", err)
		}
	}
	return lost, nil
}

// stored waits until a message is stored; without an ack the client did not send it.
func stored(ctx context.Context, ack jetstream.PubAckFuture) error {
	if ack == nil {
		return nats.ErrMaxPayload
	}
	select {
	case <-ack.Ok():
		return nil
	case err := <-ack.Err():
		return err
	case <-ctx.Done():
		return ctx.Err()
	}
}
