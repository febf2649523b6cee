package worker

import (
	"errors"
	"fmt"
	"sync/atomic"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"jethook/pkg/tracing"
)

// message is a message in our hands until it is acked or handed back.
type message struct {
	jetstream.Msg
	lane     *lane     // that attempts it
	seq      uint64    // in its stream
	handed   uint64    // how often it was handed out, this time included
	stored   time.Time // when its stream stored it
	progress atomic.Int64
	parts    atomic.Int32 // deliveries that are not settled yet
	shared   bool         // there are several
	fed      bool         // it is held, and being fed back
	failed   atomic.Bool  // one of them could not be settled
	reading  tracing.Reading
}

func newMessage(m jetstream.Msg, l *lane, now time.Time) (*message, error) {
	meta, err := m.Metadata()
	if err != nil {
		return nil, fmt.Errorf("message on %s: %w", m.Subject(), err)
	}
	msg := &message{Msg: m, lane: l, seq: meta.Sequence.Stream, handed: meta.NumDelivered, stored: meta.Timestamp}
	msg.progress.Store(now.UnixNano())
	return msg, nil
}

// finish settles the last part of a message: the one place where it is acked or
// handed back. It is acked when all its parts were settled, because what had to
// be remembered is stored by then.
func (w *Worker) finish(m *message, settled bool) {
	if !settled {
		m.failed.Store(true)
		if w.attempts.Err() != nil {
			w.cutOff.Add(1)
		}
	}
	if m.parts.Add(-1) > 0 {
		return
	}
	m.reading.End(!m.failed.Load() || w.attempts.Err() != nil) // a stop is no failure
	switch {
	case !m.failed.Load():
		w.ack(m)
	case w.attempts.Err() != nil:
		w.handBack(m)
	default:
		// It will hardly go better at once.
		w.naks.add(m, time.Now().Add(time.Duration(min(m.handed, 12))*lastDelay))
	}
}

// handBack returns a message for somebody else to work on now. A nak without a
// delay would be remembered by the server's memory only: handed back before the
// server itself stops, the message would wait for AckWait when it is back.
func (w *Worker) handBack(m *message) { w.complain(m.NakWithDelay(time.Millisecond), "nak") }

// complain logs that an ack or a nak could not be sent. Nothing is lost by
// that: the message comes again when AckWait ends. What can be sent may still have
// to reach NATS when the worker stops.
func (w *Worker) complain(err error, what string) {
	if w.stopping.Load() || !w.js.Conn().IsConnected() {
		w.answered.Store(true)
	}
	// The keepalive may still see a message that was just acked.
	if err != nil && !errors.Is(err, nats.ErrConnectionClosed) && !errors.Is(err, jetstream.ErrMsgAlreadyAckd) {
		w.log.Warn().Err(err).Str("answer", what).Msg("could not answer for a message, it will come again")
	}
}
