package deadletter

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
	"github.com/nats-io/nuid"
	"github.com/synadia-io/orbit.go/jetstreamext"

	"jethook/pkg/delivery"
)

// batch is what a replay sends in one step.
type batch struct {
	letters  []outgoing
	end      uint64 // the last sequence that was read; 0 when none is left
	deadline time.Time

	unreadable int
	noEndpoint []string
}

// outgoing is a dead letter and the delivery that it becomes.
type outgoing struct {
	open
	message *nats.Msg
}

func seqsOf(letters []outgoing) []uint64 {
	seqs := make([]uint64, len(letters))
	for i, l := range letters {
		seqs[i] = l.seq
	}
	return seqs
}

// read reads the next batch. It may have no letters, where the filter means
// none of those that were read.
func (r *replay) read(ctx context.Context) (batch, error) {
	var b batch
	n := r.size
	if left := r.filter.Limit - r.matched; r.filter.Limit > 0 {
		n = min(n, left)
	}
	if n == 0 || r.next > r.last {
		return b, nil
	}
	page, err := r.page(ctx, r.filter.subject(r.names), r.next, r.filter.Since, n)
	if err != nil {
		return b, err
	}
	now := time.Now().UTC()
	for _, m := range page {
		if m.seq > r.last {
			break
		}
		b.end = m.seq
		o := read(r.names, m)
		if !r.filter.matches(&o.letter) {
			r.sweep.keep(m.subject)
			continue
		}
		out, err := r.outgoing(ctx, o, now, &b)
		if err != nil {
			return b, err
		}
		if out == nil {
			r.sweep.keep(m.subject)
			continue
		}
		b.letters = append(b.letters, *out)
	}
	return b, nil
}

// outgoing makes the delivery of a dead letter, or notes in the batch why there
// is none.
func (r *replay) outgoing(ctx context.Context, o open, now time.Time, b *batch) (*outgoing, error) {
	if o.letter.Reason == "" {
		b.unreadable++
		return nil, nil //nolint:nilnil // nil says that there is none
	}
	name := o.letter.Name()
	lane, err := r.lane(ctx, name)
	if err != nil {
		return nil, err
	}
	if !lane.exists {
		b.noEndpoint = append(b.noEndpoint, name)
		return nil, nil //nolint:nilnil // as above
	}
	d := o.delivery
	d.State = delivery.State{
		Origin: delivery.Again(o.seq, o.time),
		Since:  now,
		Replay: true,

		EndpointMade: lane.made,
		Trace:        d.State.Trace,
		History:      d.State.History,
	}
	m, err := d.Encode(r.names.Delivery(lane.name, d.Event.Tenant, d.Endpoint), r.js.Conn().MaxPayload())
	if err != nil {
		return nil, err
	}
	m.Header.Set(jetstream.MsgIDHeader, d.MsgID())
	return &outgoing{o, m}, nil
}

var (
	// errStale says that too much time passed since the look for marks.
	errStale = errors.New("the look for interrupted replays is too old")
	// errDuplicate says that a letter of the batch is stored already.
	errDuplicate = errors.New("stored already")
	// errConflict says that another replay is storing one of them: which of us
	// does is decided when we come again.
	errConflict = errors.New("being stored")
)

// codeConflict says that a message with the same id is being stored.
const codeConflict jetstream.ErrorCode = 10158

// store stores letters and their mark in one step, and returns the mark's
// sequence.
func (r *replay) store(ctx context.Context, letters []outgoing, deadline time.Time) (uint64, error) {
	m, err := r.mark(nuid.Next(), mark{r.created, seqsOf(letters)})
	if err != nil {
		return 0, err
	}
	// Once begun it is finished: a commit whose answer nobody awaits would leave
	// the next run to find out.
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), apiTimeout)
	defer cancel()
	publisher, err := jetstreamext.NewBatchPublisher(r.js, jetstreamext.BatchFlowControl{AckFirst: true, AckTimeout: apiTimeout})
	if err != nil {
		return 0, fmt.Errorf("begin a batch: %w", err)
	}
	for _, l := range letters {
		l.message.Reply = ""
		if err := publisher.AddMsg(l.message); err != nil {
			return 0, fmt.Errorf("store dead letter %d as a delivery: %w", l.seq, err)
		}
	}
	if time.Now().After(deadline) {
		return 0, errors.Join(errStale, publisher.Discard())
	}
	// If we stall here for long, the server has given the batch up by the time
	// of the commit: it does so after ten seconds without a message.
	ack, err := publisher.CommitMsg(ctx, m)
	var api *jetstream.APIError
	switch {
	case errors.Is(err, jetstreamext.ErrBatchPublishDuplicateMsgID):
		return 0, errDuplicate
	case errors.As(err, &api) && api.ErrorCode == codeConflict:
		return 0, errConflict
	case err != nil:
		return 0, fmt.Errorf("store %d dead letters as deliveries: %w", len(letters), err)
	}
	return ack.Sequence, nil
}
