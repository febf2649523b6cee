package worker

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"jethook/pkg/delivery"
)

const (
	// shortWait is up to where a wait is a delayed nak; a longer one is a
	// schedule, which costs the consumer nothing.
	shortWait = time.Minute
	// publishTimeout bounds one try to publish. What was under way when a
	// connection or a leader was lost is published again after as long.
	publishTimeout = 5 * time.Second
	// patience is how long a dead letter waits in its slot for NATS to take it.
	// A new leader is elected in less; what lasts longer is a full stream.
	patience = 15 * time.Second
)

// store stores the delivery's present state for its next attempt, and returns
// when NATS has it. It tries until ctx ends. msgID makes a repetition harmless.
func (w *Worker) store(ctx context.Context, d *delivery.Delivery, lane, msgID string) error {
	m, err := w.stored(d, lane, msgID)
	if err != nil {
		return err
	}
	return w.publish(ctx, m)
}

// scheduled reports whether a wait is a schedule, and not a delayed nak. The
// last second never is: storing it again would take as long as the wait.
func (w *Worker) scheduled(wait time.Duration) bool {
	return w.schedules && (wait > shortWait || wait > time.Second && w.crowded())
}

// crowded reports whether too many deliveries wait as delayed naks.
func (w *Worker) crowded() bool {
	return slices.ContainsFunc(w.lanes.list(), func(l *lane) bool { return l.deliver.crowded.Load() })
}

// stored returns the message that store publishes.
func (w *Worker) stored(d *delivery.Delivery, lane, msgID string) (*nats.Msg, error) {
	target := w.names.Delivery(lane, d.Event.Tenant, d.Endpoint)
	subject := target
	scheduled := w.scheduled(time.Until(d.State.Due))
	if scheduled {
		subject = w.names.Scheduled(d.Event.Tenant, d.Endpoint, d.Event.ID, d.State.Origin)
	}
	w.trace.Delivery(d)
	m, err := d.Encode(subject, w.js.Conn().MaxPayload())
	if err != nil {
		return nil, err
	}
	m.Header.Set(jetstream.MsgIDHeader, msgID)
	if scheduled {
		// The client's own option rounds down to whole seconds.
		m.Header.Set("Nats-Schedule", "@at "+d.State.Due.UTC().Format(time.RFC3339Nano))
		m.Header.Set("Nats-Schedule-Target", target)
	}
	return m, nil
}

// publish publishes to the stream of deliveries until NATS has the message, ctx
// ends, or it is clear that NATS will never take it. A message that we hold
// meanwhile is kept alive.
func (w *Worker) publish(ctx context.Context, m *nats.Msg) error {
	for {
		err := w.publishOnce(ctx, m)
		if err == nil {
			w.storing.over(w.log, "NATS stores deliveries again")
			return nil
		}
		if permanent(err) || ctx.Err() != nil {
			return fmt.Errorf("store %s: %w", m.Subject, err)
		}
		w.metrics.StoreFailed()
		w.mendStream(ctx, err)
		w.storing.wait(ctx, w.log, err, "NATS does not store a delivery, trying until it does")
	}
}

// errNotNow says that NATS does not take dead letters for now.
var errNotNow = errors.New("NATS takes no dead letters for now")

// publishLetter publishes to the stream of dead letters, as publish does to
// that of deliveries, but gives up with errNotNow once that has been refused
// for long: a stream of dead letters that is full must not take the slots of
// endpoints that are well.
func (w *Worker) publishLetter(ctx context.Context, m *nats.Msg) error {
	for {
		err := w.publishOnce(ctx, m)
		if err == nil {
			w.burying.over(w.log, "NATS stores dead letters again")
			return nil
		}
		if permanent(err) || ctx.Err() != nil {
			return fmt.Errorf("store %s: %w", m.Subject, err)
		}
		w.metrics.StoreFailed()
		w.mendStream(ctx, err)
		if w.burying.lasted() > w.patience {
			return fmt.Errorf("store %s: %w: %w", m.Subject, errNotNow, err)
		}
		w.burying.wait(ctx, w.log, err, "NATS does not store a dead letter, trying until it does; while this lasts they wait among the deliveries")
	}
}

func (w *Worker) publishOnce(ctx context.Context, m *nats.Msg) error {
	ctx, cancel := context.WithTimeout(ctx, publishTimeout)
	defer cancel()
	_, err := w.js.PublishMsg(ctx, m)
	return err
}

// publishAll publishes many messages at once, as publish does one.
func (w *Worker) publishAll(ctx context.Context, messages []*nats.Msg) error {
	const flight = 256
	for len(messages) > 0 {
		n := min(flight, len(messages))
		if err := w.publishFlight(ctx, messages[:n]); err != nil {
			return err
		}
		messages = messages[n:]
	}
	return nil
}

func (w *Worker) publishFlight(ctx context.Context, messages []*nats.Msg) error {
	for _, m := range w.flight(ctx, messages) {
		if err := w.publish(ctx, m); err != nil {
			return err
		}
	}
	return nil
}

// flight publishes messages at once and returns those that NATS did not take,
// or did not answer for.
func (w *Worker) flight(ctx context.Context, messages []*nats.Msg) (refused []*nats.Msg) {
	acks := make([]jetstream.PubAckFuture, len(messages))
	for i, m := range messages {
		ack, err := w.js.PublishMsgAsync(m)
		if err != nil {
			ack = nil // told apart below: it is refused
		}
		acks[i] = ack
	}
	answered, cancel := context.WithTimeout(ctx, publishTimeout)
	defer cancel()
	for i, ack := range acks {
		if ack == nil || !taken(answered, ack) {
			refused = append(refused, messages[i])
		}
	}
	return refused
}

// taken waits for NATS's answer and reports whether it has the message.
func taken(ctx context.Context, ack jetstream.PubAckFuture) bool {
	select {
	case <-ack.Ok():
		return true
	case err := <-ack.Err():
		return err == nil
	case <-ctx.Done():
		return false
	}
}

// permanent reports whether publishing again can never go well.
func permanent(err error) bool {
	if api, ok := errors.AsType[*jetstream.APIError](err); ok {
		const (
			tooLarge  = 10054 // message size exceeds maximum allowed
			headerTop = 10097 // header size exceeds maximum allowed of 64k
		)
		return api.ErrorCode == tooLarge || api.ErrorCode == headerTop
	}
	return errors.Is(err, nats.ErrMaxPayload) || errors.Is(err, nats.ErrBadHeaderMsg) || errors.Is(err, nats.ErrBadSubject)
}
