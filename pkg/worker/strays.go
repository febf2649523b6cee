package worker

import (
	"context"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"jethook/pkg/endpoint"
	"jethook/streams"
)

// straysEvery is how often is looked for deliveries in lanes that do not exist:
// what a schedule brings after its lane was removed, or what came from a version
// that had other lanes. No consumer reads them.
const straysEvery = 30 * time.Second

// strays moves such deliveries to the default lane, until ctx ends. One replica
// does.
func (w *Worker) strays(ctx context.Context) {
	ticker := time.NewTicker(w.straysEvery)
	defer ticker.Stop()
	unknown := map[string]bool{}
	for {
		select {
		case <-ctx.Done():
			return
		case <-ticker.C:
		}
		if w.replicas.Rank("strays") != 0 || !w.endpoints.InSync() {
			continue
		}
		var err error
		unknown, err = w.lostConsumers(ctx, unknown)
		if err == nil {
			err = w.moveStrays(ctx)
		}
		if err != nil && ctx.Err() == nil {
			w.oddities.Warn().Err(err).Msg("could not move the deliveries of a lane that is gone, trying again")
		}
	}
}

// lostConsumers deletes the consumers of lanes that are gone, which a replica
// left that died while it removed one. A lane must be unknown twice in a row,
// because one that was just made may not be heard of yet. It returns those that
// are unknown now.
func (w *Worker) lostConsumers(ctx context.Context, before map[string]bool) (unknown map[string]bool, err error) {
	unknown = map[string]bool{}
	for stream, prefix := range map[string]string{w.names.Events(): streams.Fanout + "_", w.names.Deliveries(): streams.Deliver + "_"} {
		s, err := w.js.Stream(ctx, stream)
		if err != nil {
			return unknown, fmt.Errorf("look up stream %s: %w", stream, err)
		}
		names := s.ConsumerNames(ctx)
		for name := range names.Name() {
			if lane, ok := strings.CutPrefix(name, prefix); ok && !w.knownLane(lane) {
				unknown[lane] = true
			}
		}
		if err := names.Err(); err != nil {
			return unknown, fmt.Errorf("list the consumers of %s: %w", stream, err)
		}
	}
	for lane := range unknown {
		if !before[lane] {
			continue
		}
		if err := w.deleteConsumers(ctx, lane); err != nil {
			return unknown, fmt.Errorf("delete the consumers of lane %s: %w", lane, err)
		}
	}
	return unknown, nil
}

// knownLane reports whether there is such a lane, be it only until it is
// drained.
func (w *Worker) knownLane(id string) bool {
	return id == streams.DefaultLane || slices.ContainsFunc(w.endpoints.Lanes(), func(l endpoint.Lane) bool { return l.ID == id })
}

func (w *Worker) moveStrays(ctx context.Context) error {
	stream, err := w.js.Stream(ctx, w.names.Deliveries())
	if err != nil {
		return fmt.Errorf("look up stream %s: %w", w.names.Deliveries(), err)
	}
	info, err := stream.Info(ctx, jetstream.WithSubjectFilter(w.names.Namespace()+".deliveries.>"))
	if err != nil {
		return fmt.Errorf("list the deliveries' subjects: %w", err)
	}
	gone := map[string]bool{}
	for subject := range info.State.Subjects {
		if lane := strings.Split(subject, ".")[2]; !w.knownLane(lane) {
			gone[lane] = true
		}
	}
	for lane := range gone {
		if err := w.moveLane(ctx, stream, lane); err != nil {
			return fmt.Errorf("lane %s: %w", lane, err)
		}
	}
	return nil
}

// moveLane moves the deliveries of one lane through a consumer that lasts as
// long as that takes.
func (w *Worker) moveLane(ctx context.Context, stream jetstream.Stream, lane string) (err error) {
	prefix := w.names.Namespace() + ".deliveries."
	consumer, err := stream.CreateConsumer(ctx, jetstream.ConsumerConfig{
		FilterSubjects: []string{prefix + lane, prefix + lane + ".>"}, AckPolicy: jetstream.AckExplicitPolicy,
		AckWait: time.Minute, InactiveThreshold: time.Minute, MemoryStorage: true,
	})
	if err != nil {
		return fmt.Errorf("read: %w", err)
	}
	defer func() {
		// If it stays, the server removes it after a minute.
		_ = stream.DeleteConsumer(context.WithoutCancel(ctx), consumer.CachedInfo().Name)
	}()
	for ctx.Err() == nil {
		batch, err := consumer.FetchNoWait(100)
		if err != nil {
			return fmt.Errorf("fetch: %w", err)
		}
		moved := 0
		for m := range batch.Messages() {
			if err := w.moveStray(ctx, m, prefix, lane); err != nil {
				return err
			}
			moved++
		}
		if moved == 0 {
			return batch.Error()
		}
	}
	return nil
}

// moveStray stores a delivery in the default lane and removes it from where it
// lay.
func (w *Worker) moveStray(ctx context.Context, m jetstream.Msg, prefix, lane string) error {
	meta, err := m.Metadata()
	if err != nil {
		return fmt.Errorf("message on %s: %w", m.Subject(), err)
	}
	// What has no names behind the lane is no delivery; the consumer of the
	// default lane sets it aside.
	moved := &nats.Msg{Subject: prefix + streams.DefaultLane + "." + strings.TrimPrefix(strings.TrimPrefix(m.Subject(), prefix+lane), "."),
		Header: passedOn(m.Headers()), Data: m.Data()}
	if strings.HasSuffix(moved.Subject, ".") {
		moved.Subject += "_"
	}
	moved.Header.Set(jetstream.MsgIDHeader, "stray."+strconv.FormatUint(meta.Sequence.Stream, 10))
	if err := w.publish(ctx, moved); err != nil {
		return err
	}
	if err := m.DoubleAck(ctx); err != nil {
		return fmt.Errorf("remove %s: %w", m.Subject(), err)
	}
	return nil
}
