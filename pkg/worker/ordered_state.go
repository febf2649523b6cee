package worker

import (
	"context"
	"errors"
	"fmt"
	"strconv"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"jethook/pkg/delivery"
	"jethook/streams"
)

// What a stored state says beside the delivery's.
const (
	// handedHeader says how often the event had been handed out by then.
	handedHeader = "Jethook-Handed"
	// failedHeader says, of an event that failed for good, since when its endpoint
	// was available then. Since the two are only compared, no clock matters.
	failedHeader = "Jethook-Available-Since"
)

// save stores the state of the event in hand, for whoever is handed it next. It
// has no message id: storing the same state twice is harmless, while a delivery
// with that id may have to be stored yet. What cannot be stored is an attempt
// that does not count.
func (h *head) save() {
	d := h.d
	d.Event.Body, d.Event.Fields, d.BodyInEvent = nil, nil, true
	m, err := d.Encode(h.w.names.OrderedState(h.tenant, h.id), h.w.js.Conn().MaxPayload())
	if err == nil {
		m.Header.Set(handedHeader, strconv.FormatUint(h.m.handed, 10))
		if d.State.Dead != "" {
			m.Header.Set(failedHeader, h.failed.Format(time.RFC3339Nano))
		}
		h.stated = true
		err = h.w.publish(h.w.attempts, m)
	}
	if err != nil {
		h.w.unsettled(&h.d, err)
		return
	}
	h.counted = h.m.handed
	// If it fails, the next one does it.
	_ = h.purge(h.w.attempts, jetstream.WithPurgeKeep(1))
}

// recall puts the state back with which an event was handed back, or left by a
// replica that died. It reports false when ctx ends first.
func (h *head) recall(ctx context.Context) bool {
	if !h.stated && h.m.handed == 1 {
		return true
	}
	for {
		m, err := h.stored(ctx)
		if err == nil {
			h.again.over(h.log, "the state of an ordered endpoint can be read again")
			h.remember(m)
			return true
		}
		if ctx.Err() != nil || !h.all.certain(h.m) {
			return false
		}
		h.again.wait(ctx, h.log, err, "cannot read the state of an ordered endpoint, trying until that is known")
	}
}

// remember takes over a stored state if it is that of the event in hand.
func (h *head) remember(m *storedState) {
	h.stated = m != nil
	if m == nil {
		return
	}
	d, err := delivery.Decode(h.tenant, h.id, m.header, nil)
	if err != nil {
		h.w.oddities.Warn().Err(err).Str("endpoint", h.name).Msg("the state of an ordered endpoint cannot be read, its attempts are counted anew")
		return
	}
	if d.Event.Seq != h.m.seq || !d.Event.Time.Equal(h.m.stored) {
		return
	}
	h.d.State = d.State
	if at, err := time.Parse(time.RFC3339Nano, m.header.Get(failedHeader)); err == nil {
		h.failed = at
	}
	// A consumer that was made again counts anew.
	if n, err := strconv.ParseUint(m.header.Get(handedHeader), 10, 64); err == nil && n < h.m.handed {
		h.counted = n
	}
}

type storedState struct{ header nats.Header }

// stored reads the stored state, nil when there is none. It asks the leader: a
// replica of the stream that lags would know of fewer attempts.
func (o *inOrder) stored(ctx context.Context) (*storedState, error) {
	ctx, cancel := context.WithTimeout(ctx, publishTimeout)
	defer cancel()
	ask := struct {
		Last string `json:"last_by_subj"`
	}{o.w.names.OrderedState(o.tenant, o.id)}
	var answer struct {
		Message struct {
			Header []byte `json:"hdrs"`
		} `json:"message"`
	}
	err := streams.Request(ctx, o.w.js, "STREAM.MSG.GET", o.w.names.Deliveries(), ask, &answer)
	switch {
	case streams.Absent(err), errors.Is(err, jetstream.ErrStreamNotFound):
		return nil, nil //nolint:nilnil // nil says that there is none
	case err != nil:
		return nil, fmt.Errorf("read the state of %s: %w", o.name, err)
	}
	header, err := nats.DecodeHeadersMsg(answer.Message.Header)
	if err != nil {
		header = nats.Header{} // which is no state's
	}
	return &storedState{header}, nil
}

// clear removes the state of an event that is over. One that stays is no other
// event's.
func (h *head) clear() {
	if h.stated && h.purge(context.WithoutCancel(h.w.attempts)) == nil {
		h.stated = false
	}
}

func (o *inOrder) purge(ctx context.Context, options ...jetstream.StreamPurgeOpt) error {
	ctx, cancel := context.WithTimeout(ctx, leaveFor)
	defer cancel()
	stream, err := o.w.js.Stream(ctx, o.w.names.Deliveries())
	if err != nil {
		return fmt.Errorf("look up stream %s: %w", o.w.names.Deliveries(), err)
	}
	options = append(options, jetstream.WithPurgeSubject(o.w.names.OrderedState(o.tenant, o.id)))
	if err := stream.Purge(ctx, options...); err != nil {
		return fmt.Errorf("remove the state of %s: %w", o.name, err)
	}
	return nil
}
