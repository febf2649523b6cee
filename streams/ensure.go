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
	for i, s := range steps {
		if err := ask(ctx, js, s.do); err != nil {
			return differences, failed(steps[i:], err)
		}
	}
	return differences, nil
}

// step is one change that Ensure makes.
type step struct {
	verb, name string
	do         func(context.Context) error
}

// errNoCluster is nats-server's code for a stream of several replicas where it is
// alone.
const errNoCluster = 10074

// failed names all that was left undone where the user may not do it: an
// operator makes it at one go.
func failed(left []step, err error) error {
	var api *jetstream.APIError
	if errors.As(err, &api) && api.ErrorCode == errNoCluster {
		err = fmt.Errorf("it is not part of a cluster, so that JETHOOK_STREAM_REPLICAS must be 1: %w", err)
	}
	if !errors.Is(err, nats.ErrPermissionViolation) {
		return fmt.Errorf("%s %s: %w", left[0].verb, left[0].name, err)
	}
	undone := make([]string, len(left))
	for i, s := range left {
		undone[i] = s.verb + " " + s.name
	}
	return fmt.Errorf("to be done on the NATS server: %s: %w", strings.Join(undone, ", "), err)
}
