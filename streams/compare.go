package streams

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/nats-io/nats.go/jetstream"
)

// compare returns the differences and the steps that settle them. Streams come
// before their consumers.
func (t Topology) compare(ctx context.Context, js jetstream.JetStream) (steps []step, all []Difference, err error) {
	missing := map[string]bool{}
	schedules := Schedules(js.Conn())
	for _, want := range t.Streams {
		if !schedules {
			want.AllowMsgSchedules = false
		}
		have, err := streamConfig(ctx, js, want.Name)
		if err != nil {
			return nil, nil, err
		}
		if have == nil {
			missing[want.Name] = true
			all = append(all, Difference{Name: want.Name, Action: Create})
			steps = append(steps, step{"create stream", want.Name, func(ctx context.Context) error {
				return createStream(ctx, js, want)
			}})
			continue
		}
		differences, updated := compareStream(*have, want)
		all = append(all, differences...)
		if updated != nil {
			steps = append(steps, step{"update stream", want.Name, func(ctx context.Context) error {
				_, err := js.UpdateStream(ctx, *updated)
				return err
			}})
		}
	}
	for _, want := range t.Consumers {
		s, d, err := compareConsumer(ctx, js, want, missing[want.Stream])
		if err != nil {
			return nil, nil, err
		}
		steps, all = append(steps, s...), append(all, d...)
	}
	return steps, all, nil
}

// leastBytes is down to what a stream that may drop its oldest is made smaller
// where the server has no room for its definition.
const leastBytes = 64 << 20

// createStream creates a stream. Creating what somebody just made the same way
// succeeds; what was made another way is not overwritten. The server reserves what
// a stream may take: where that is too much, one that may drop its oldest gets less.
func createStream(ctx context.Context, js jetstream.JetStream, want jetstream.StreamConfig) error {
	for {
		_, err := js.CreateStream(ctx, want)
		api, answered := errors.AsType[*jetstream.APIError](err)
		full := answered && (api.ErrorCode == codeNoStorage || api.ErrorCode == codeNoResources)
		if !full || want.Discard != jetstream.DiscardOld || want.MaxBytes <= leastBytes {
			return err
		}
		want.MaxBytes /= 2
	}
}

// The codes with which the server says that it has no room for a stream: in its
// storage, or under the account's limits.
const (
	codeNoStorage   jetstream.ErrorCode = 10047
	codeNoResources jetstream.ErrorCode = 10002
)

func streamConfig(ctx context.Context, js jetstream.JetStream, name string) (*jetstream.StreamConfig, error) {
	var s jetstream.Stream
	err := ask(ctx, js, func(ctx context.Context) (err error) {
		s, err = js.Stream(ctx, name)
		return err
	})
	switch {
	case errors.Is(err, jetstream.ErrStreamNotFound):
		return nil, nil //nolint:nilnil // nil says that there is none
	case err != nil:
		return nil, fmt.Errorf("look up stream %s: %w", name, err)
	}
	return &s.CachedInfo().Config, nil
}

// compareStream returns the differences of a stream, and the configuration to
// update it to where something may change safely.
func compareStream(have, want jetstream.StreamConfig) (all []Difference, updated *jetstream.StreamConfig) {
	next := have
	note := func(action Action, field string, h, w any) {
		hs, ws := text(h), text(w)
		if hs != ws {
			all = append(all, Difference{want.Name, field, hs, ws, action})
		}
	}
	update := func(field string, h, w bool, set *bool) {
		if w && !h {
			note(Update, field, h, w)
			*set, updated = true, &next
		}
	}
	note(Conflict, "retention", have.Retention, want.Retention)
	note(Conflict, "sealed", have.Sealed, want.Sealed)
	if have.DenyDelete || have.DenyPurge { // can be added, and never taken back
		note(Conflict, "deny_delete", have.DenyDelete, want.DenyDelete)
		note(Conflict, "deny_purge", have.DenyPurge, want.DenyPurge)
	}
	switch lacking := uncovered(want.Subjects, have.Subjects); {
	case len(lacking) > 0:
		next.Subjects = append(uncovered(have.Subjects, lacking), lacking...)
		note(Update, "subjects", have.Subjects, next.Subjects)
		updated = &next
	default:
		note(Keep, "subjects", slices.Sorted(slices.Values(have.Subjects)), slices.Sorted(slices.Values(want.Subjects)))
	}
	if have.NoAck { // without acknowledgements nothing can be promised
		note(Update, "no_ack", have.NoAck, want.NoAck)
		next.NoAck, updated = false, &next
	}
	update("allow_msg_schedules", have.AllowMsgSchedules, want.AllowMsgSchedules, &next.AllowMsgSchedules)
	update("allow_atomic", have.AllowAtomicPublish, want.AllowAtomicPublish, &next.AllowAtomicPublish)
	update("allow_direct", have.AllowDirect, want.AllowDirect, &next.AllowDirect)
	update("allow_rollup_hdrs", have.AllowRollup, want.AllowRollup, &next.AllowRollup)
	note(Keep, "storage", have.Storage, want.Storage)
	note(Keep, "discard", have.Discard, want.Discard)
	// A stream that discards its oldest message drops what is still to be
	// delivered once it is full, and nobody hears of it. Age alone does not:
	// of events and dead letters it is the promise, of deliveries never.
	// What was attempted is there to be looked at: the oldest may go.
	limit := Keep
	if have.Discard == jetstream.DiscardOld && want.MaxBytes <= 0 && !strings.HasPrefix(want.Name, "KV_") {
		limit = Conflict
	}
	age := Keep
	if want.Retention == jetstream.WorkQueuePolicy {
		age = limit
	}
	note(age, "max_age", have.MaxAge, want.MaxAge)
	note(limit, "max_bytes", have.MaxBytes, want.MaxBytes)
	note(limit, "max_msgs", have.MaxMsgs, want.MaxMsgs)
	note(limit, "max_msgs_per_subject", have.MaxMsgsPerSubject, want.MaxMsgsPerSubject)
	note(Keep, "max_msg_size", have.MaxMsgSize, want.MaxMsgSize)
	note(Keep, "duplicate_window", have.Duplicates, want.Duplicates)
	note(Keep, "num_replicas", have.Replicas, want.Replicas)
	return all, updated
}

func compareConsumer(ctx context.Context, js jetstream.JetStream, want Consumer, streamMissing bool) (steps []step, all []Difference, err error) {
	name := want.Stream + " > " + want.Config.Durable
	var have *jetstream.ConsumerConfig
	if !streamMissing {
		if have, err = consumerConfig(ctx, js, want.Stream, want.Config.Durable); err != nil {
			return nil, nil, err
		}
	}
	if have == nil {
		create := step{"create consumer", name, func(ctx context.Context) error {
			_, err := js.CreateConsumer(ctx, want.Stream, want.Config)
			return err
		}}
		return []step{create}, []Difference{{Name: name, Action: Create}}, nil
	}
	all, updated := consumerDifferences(name, *have, want.Config)
	if updated != nil {
		steps = append(steps, step{"update consumer", name, func(ctx context.Context) error {
			_, err := js.UpdateConsumer(ctx, want.Stream, *updated)
			return err
		}})
	}
	return steps, all, nil
}

func consumerConfig(ctx context.Context, js jetstream.JetStream, stream, durable string) (*jetstream.ConsumerConfig, error) {
	var c jetstream.Consumer
	err := ask(ctx, js, func(ctx context.Context) (err error) {
		c, err = js.Consumer(ctx, stream, durable)
		return err
	})
	switch {
	case errors.Is(err, jetstream.ErrConsumerNotFound):
		return nil, nil //nolint:nilnil // nil says that there is none
	case err != nil:
		return nil, fmt.Errorf("look up consumer %s > %s: %w", stream, durable, err)
	}
	return &c.CachedInfo().Config, nil
}

// consumerDifferences returns the differences of a consumer, and the
// configuration to update it to where something may change safely.
func consumerDifferences(name string, have, want jetstream.ConsumerConfig) (all []Difference, updated *jetstream.ConsumerConfig) {
	next := have
	note := func(action Action, field string, h, w any) bool {
		hs, ws := text(h), text(w)
		if hs != ws {
			all = append(all, Difference{name, field, hs, ws, action})
		}
		return hs != ws
	}
	note(Conflict, "ack_policy", have.AckPolicy, want.AckPolicy)
	note(Conflict, "deliver_subject", have.DeliverSubject, want.DeliverSubject)
	note(Conflict, "replay_policy", have.ReplayPolicy, want.ReplayPolicy) // the other one waits between messages

	changed := false
	if want.Durable == Deliver { // read the deliveries of every lane, before there were lanes
		changed = note(Update, "filter_subject", filters(have), filters(want))
		next.FilterSubject, next.FilterSubjects = want.FilterSubject, want.FilterSubjects
	} else {
		note(Conflict, "filter_subject", filters(have), filters(want))
	}
	changed = note(Update, "ack_wait", have.AckWait, want.AckWait) || changed
	changed = note(Update, "max_deliver", have.MaxDeliver, want.MaxDeliver) || changed
	changed = note(Update, "backoff", have.BackOff, want.BackOff) || changed
	changed = note(Update, "headers_only", have.HeadersOnly, want.HeadersOnly) || changed
	changed = note(Update, "inactive_threshold", have.InactiveThreshold, want.InactiveThreshold) || changed
	next.AckWait, next.MaxDeliver, next.BackOff = want.AckWait, want.MaxDeliver, want.BackOff
	next.HeadersOnly, next.InactiveThreshold = want.HeadersOnly, want.InactiveThreshold
	if have.MaxAckPending != -1 && have.MaxAckPending < want.MaxAckPending {
		changed = note(Update, "max_ack_pending", have.MaxAckPending, want.MaxAckPending) || changed
		next.MaxAckPending = want.MaxAckPending
	}
	if changed {
		updated = &next
	}
	return all, updated
}

// filters returns what a consumer reads: one filter may stand in either field.
func filters(c jetstream.ConsumerConfig) []string {
	if c.FilterSubject == "" {
		return c.FilterSubjects
	}
	return []string{c.FilterSubject}
}

func text(v any) string { return strings.Trim(fmt.Sprint(v), "[]") }

// uncovered returns the subjects that none of by covers.
func uncovered(subjects, by []string) []string {
	var rest []string
	for _, s := range subjects {
		if !slices.ContainsFunc(by, func(b string) bool { return covers(b, s) }) {
			rest = append(rest, s)
		}
	}
	return rest
}

// covers reports whether every subject that b matches is one that a matches.
func covers(a, b string) bool {
	as, bs := strings.Split(a, "."), strings.Split(b, ".")
	for i, token := range as {
		switch {
		case i == len(bs):
			return false
		case token == ">":
			return true
		case bs[i] == ">", token != "*" && token != bs[i]:
			return false
		}
	}
	return len(as) == len(bs)
}
