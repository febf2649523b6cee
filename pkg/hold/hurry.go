package hold

import (
	"cmp"
	"context"
	"fmt"
	"strconv"
	"strings"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"jethook/streams"
)

// hurryBatch is how many schedules are taken at a time.
const hurryBatch = 500

// Hurry lets all that is scheduled for an endpoint come now, as if it were due, and
// returns how many deliveries that were, in an error's case too. Each is stored where
// its schedule leads before the schedule is removed: one that comes by itself in that
// moment comes twice.
func (s *Store) Hurry(ctx context.Context, tenant, endpoint string) (uint64, error) {
	var total uint64
	scheduled := s.names.Scheduled(tenant, endpoint, wildcard, wildcard)
	var batch []jetstream.PubAckFuture
	var last uint64
	flush := func() error {
		for _, stored := range batch {
			select {
			case <-stored.Ok():
			case err := <-stored.Err():
				return fmt.Errorf("store what was scheduled: %w", err)
			case <-ctx.Done():
				return context.Cause(ctx)
			}
		}
		batch = batch[:0]
		n, err := s.purge(ctx, scheduled, last+1)
		total += n
		return err
	}
	for m, err := range (streams.Read{Stream: s.names.Deliveries(), Filter: scheduled}).All(ctx, s.js) {
		if err != nil {
			return total, fmt.Errorf("read what is scheduled: %w", err)
		}
		now := &nats.Msg{Subject: cmp.Or(m.Header.Get(scheduleTarget), s.names.Delivery(streams.DefaultLane, tenant, endpoint)), Header: nats.Header{}, Data: m.Data}
		for name, values := range m.Header {
			if !strings.HasPrefix(name, "Nats-") { // what told the server to wait
				now.Header[name] = values
			}
		}
		now.Header.Set(jetstream.MsgIDHeader, "hurry."+strconv.FormatUint(m.Seq, 10))
		stored, err := s.js.PublishMsgAsync(now)
		if err != nil {
			return total, fmt.Errorf("store what was scheduled: %w", err)
		}
		batch, last = append(batch, stored), m.Seq
		if len(batch) == hurryBatch {
			if err := flush(); err != nil {
				return total, err
			}
		}
	}
	if len(batch) == 0 {
		return total, nil
	}
	return total, flush()
}

// scheduleTarget is the header of a schedule that says under which subject the
// server stores it when it is due.
const scheduleTarget = "Nats-Schedule-Target"
