package streams

import (
	"context"
	"errors"
	"fmt"
	"strings"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
)

// Action says what Ensure does about a difference.
type Action string

// The actions, mildest first.
const (
	Keep     Action = "keep"     // an operator's choice: reported, left as it is
	Update   Action = "update"   // may change safely while in use
	Create   Action = "create"   // is missing
	Conflict Action = "conflict" // jethook cannot work with it, and it cannot be changed safely
)

// Difference is one point in which the server's topology differs from the
// definitions.
type Difference struct {
	Name   string `json:"name"`            // of the stream, or STREAM > CONSUMER
	Field  string `json:"field,omitempty"` // empty for what is missing
	Have   string `json:"have,omitempty"`
	Want   string `json:"want,omitempty"`
	Action Action `json:"action"`
}

// String says the difference in a line.
func (d Difference) String() string {
	if d.Field == "" {
		return fmt.Sprintf("%s: missing", d.Name)
	}
	return fmt.Sprintf("%s: %s is %s, jethook's definition says %s", d.Name, d.Field, d.Have, d.Want)
}

// Plan compares the server with the topology and returns the differences in
// the order in which Ensure would settle them.
func (t Topology) Plan(ctx context.Context, js jetstream.JetStream) ([]Difference, error) {
	_, differences, err := t.compare(ctx, js)
	return differences, err
}

// Ensure creates what is missing and updates what may change safely. It returns
// all differences that it found. What conflicts, and what this user may not
// make, is an error that names it; what an operator chose otherwise is left.
func (t Topology) Ensure(ctx context.Context, js jetstream.JetStream) ([]Difference, error) {
	steps, differences, err := t.compare(ctx, js)
	if err != nil {
		return nil, err
	}
	var conflicts []error
	for _, d := range differences {
		if d.Action == Conflict {
			conflicts = append(conflicts, errors.New(d.String()))
		}
	}
	if len(conflicts) > 0 {
		return differences, fmt.Errorf("the NATS server holds streams that jethook cannot work with; rename or remove them, or choose another JETHOOK_NAMESPACE: %w", errors.Join(conflicts...))
	}
	for _, s := range steps {
		if err := s.do(ctx); err != nil {
			return differences, fmt.Errorf("%s %s: %w", s.verb, s.name, explain(js, err))
		}
	}
	return differences, nil
}

// step is one change that Ensure makes.
type step struct {
	verb, name string
	do         func(context.Context) error
}

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
				_, err := js.CreateOrUpdateStream(ctx, want)
				return err
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

func streamConfig(ctx context.Context, js jetstream.JetStream, name string) (*jetstream.StreamConfig, error) {
	s, err := js.Stream(ctx, name)
	switch {
	case errors.Is(err, jetstream.ErrStreamNotFound):
		return nil, nil //nolint:nilnil // nil says that there is none
	case err != nil:
		return nil, fmt.Errorf("look up stream %s: %w", name, explain(js, err))
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
	if subjects := union(have.Subjects, want.Subjects); len(subjects) > len(have.Subjects) {
		note(Update, "subjects", have.Subjects, subjects)
		next.Subjects, updated = subjects, &next
	}
	update("allow_msg_schedules", have.AllowMsgSchedules, want.AllowMsgSchedules, &next.AllowMsgSchedules)
	update("allow_atomic", have.AllowAtomicPublish, want.AllowAtomicPublish, &next.AllowAtomicPublish)
	update("allow_direct", have.AllowDirect, want.AllowDirect, &next.AllowDirect)
	update("allow_rollup_hdrs", have.AllowRollup, want.AllowRollup, &next.AllowRollup)
	note(Keep, "storage", have.Storage, want.Storage)
	note(Keep, "discard", have.Discard, want.Discard)
	note(Keep, "max_age", have.MaxAge, want.MaxAge)
	note(Keep, "max_bytes", have.MaxBytes, want.MaxBytes)
	note(Keep, "max_msgs", have.MaxMsgs, want.MaxMsgs)
	note(Keep, "max_msgs_per_subject", have.MaxMsgsPerSubject, want.MaxMsgsPerSubject)
	note(Keep, "max_msg_size", have.MaxMsgSize, want.MaxMsgSize)
	note(Keep, "duplicate_window", have.Duplicates, want.Duplicates)
	note(Keep, "num_replicas", have.Replicas, want.Replicas)
	return all, updated
}

func compareConsumer(ctx context.Context, js jetstream.JetStream, want Consumer, streamMissing bool) (steps []step, all []Difference, err error) {
	name := want.Stream + " > " + want.Config.Durable
	create := func() {
		all = append(all, Difference{Name: name, Action: Create})
		steps = append(steps, step{"create consumer", name, func(ctx context.Context) error {
			_, err := js.CreateOrUpdateConsumer(ctx, want.Stream, want.Config)
			return err
		}})
	}
	if streamMissing {
		create()
		return steps, all, nil
	}
	c, err := js.Consumer(ctx, want.Stream, want.Config.Durable)
	switch {
	case errors.Is(err, jetstream.ErrConsumerNotFound):
		create()
		return steps, all, nil
	case err != nil:
		return nil, nil, fmt.Errorf("look up consumer %s: %w", name, explain(js, err))
	}
	have := c.CachedInfo().Config
	next := have
	note := func(action Action, field string, h, w any) bool {
		hs, ws := text(h), text(w)
		if hs != ws {
			all = append(all, Difference{name, field, hs, ws, action})
		}
		return hs != ws
	}
	note(Conflict, "ack_policy", have.AckPolicy, want.Config.AckPolicy)
	note(Conflict, "filter_subject", append(have.FilterSubjects, have.FilterSubject), []string{want.Config.FilterSubject})
	note(Conflict, "deliver_subject", have.DeliverSubject, "")
	changed := note(Update, "ack_wait", have.AckWait, want.Config.AckWait)
	changed = note(Update, "max_deliver", have.MaxDeliver, want.Config.MaxDeliver) || changed
	changed = note(Update, "backoff", have.BackOff, want.Config.BackOff) || changed
	next.AckWait, next.MaxDeliver, next.BackOff = want.Config.AckWait, want.Config.MaxDeliver, want.Config.BackOff
	if have.MaxAckPending != -1 && have.MaxAckPending < want.Config.MaxAckPending {
		changed = note(Update, "max_ack_pending", have.MaxAckPending, want.Config.MaxAckPending) || changed
		next.MaxAckPending = want.Config.MaxAckPending
	}
	if changed {
		steps = append(steps, step{"update consumer", name, func(ctx context.Context) error {
			_, err := js.UpdateConsumer(ctx, want.Stream, next)
			return err
		}})
	}
	return steps, all, nil
}

func text(v any) string { return strings.Trim(fmt.Sprint(v), "[]") }

func union(have, want []string) []string {
	all := append([]string(nil), have...)
	for _, w := range want {
		found := false
		for _, h := range all {
			found = found || h == w
		}
		if !found {
			all = append(all, w)
		}
	}
	return all
}

// explain turns what a user without rights gets (the server answers nothing,
// and reports the violation beside) into words.
func explain(js jetstream.JetStream, err error) error {
	if errors.Is(err, context.DeadlineExceeded) || errors.Is(err, nats.ErrTimeout) || errors.Is(err, jetstream.ErrNoStreamResponse) {
		if last := js.Conn().LastError(); last != nil && errors.Is(last, nats.ErrPermissionViolation) {
			return fmt.Errorf("this user may not do that (%w): ask an operator to run `jethook streams apply`, or to grant it", last)
		}
	}
	switch {
	case errors.Is(err, jetstream.ErrJetStreamNotEnabled):
		return fmt.Errorf("%w: start nats-server with -js, or leave NATS_URL unset for the embedded server", err)
	case errors.Is(err, jetstream.ErrJetStreamNotEnabledForAccount):
		return fmt.Errorf("%w: enable JetStream for this account", err)
	}
	return err
}

// Schedules reports whether the connected server's scheduled messages may be
// relied on: 2.12.12, 2.14.3 or newer.
func Schedules(nc *nats.Conn) bool {
	var major, minor, patch int
	if _, err := fmt.Sscanf(nc.ConnectedServerVersion(), "%d.%d.%d", &major, &minor, &patch); err != nil {
		return false // an unknown version is treated as an old one, which only costs comfort
	}
	switch {
	case major != 2 || minor > 14:
		return major >= 2
	case minor == 14:
		return patch >= 3
	case minor == 12:
		return patch >= 12
	}
	return false
}
