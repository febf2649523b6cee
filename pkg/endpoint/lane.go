package endpoint

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"
	"time"

	"jethook/streams"
)

// The bounds of lanes.
const (
	MaxLanes       = 16
	MaxLaneFilters = 32
	MaxLaneWeight  = 100
)

// Lane is a way of its own for some events and endpoints, beside the default
// one: with consumers and slots of its own, so that neither waits for the other.
type Lane struct {
	// ID names the lane. Required, and not "default".
	ID string `json:"id"`
	// Filters lists patterns over TENANT.TYPE with NATS wildcards, such as
	// "*.auth.>": the events that are the lane's. Without any, only the
	// endpoints that name the lane use it.
	Filters []string `json:"filters,omitempty"`
	// Weight is the lane's share of a replica's slots, relative to those of the
	// others. From 1 to 100, 1 by default; the default lane has 1.
	Weight int `json:"weight"`
	// From is the first event that is the lane's, by its sequence in the stream
	// of events. The store sets it when the lane is made.
	From uint64 `json:"from,omitempty"`
	// Until is the last one. The store sets it when the lane is removed; 0 is a
	// lane in force.
	Until uint64 `json:"until,omitempty"`
	// Removed is when that was by the clock of the NATS server, as the times of
	// events are: the registry sets it.
	Removed time.Time `json:"removed,omitzero"`
}

// NewLane returns a lane that has every default and still lacks an id.
func NewLane() Lane { return Lane{Weight: 1} }

// Validate returns nil for a lane that can be made, and otherwise Problems that
// name every field that is wrong.
func (l Lane) Validate() error { return l.check().err() }

func (l Lane) check() Problems {
	var problems Problems
	report := func(field, message string) {
		problems = append(problems, Problem{Field: field, Message: message})
	}
	checkName(report, "id", l.ID)
	if l.ID == DefaultLane {
		report("id", `must not be "default": that lane is there always, for what is in no other`)
	}
	if l.Weight < 1 || l.Weight > MaxLaneWeight {
		report("weight", fmt.Sprintf("must be from 1 to %d, not %d", MaxLaneWeight, l.Weight))
	}
	l.checkFilters(report)
	return problems
}

func (l Lane) checkFilters(report func(field, message string)) {
	if n := len(l.Filters); n > MaxLaneFilters {
		report("filters", fmt.Sprintf("must be at most %d patterns, not %d", MaxLaneFilters, n))
		return
	}
	for i, filter := range l.Filters {
		if err := checkFilter(filter); err != nil {
			report(item("filters", i), err.Error())
			continue
		}
		for j, before := range l.Filters[:i] {
			if streams.Crossing(before, filter) {
				report(item("filters", i), fmt.Sprintf("%s and %s, %s, cross: some events match both, others only the one or the other; give each a lane of its own",
					quote(filter), item("filters", j), quote(before)))
				break
			}
		}
	}
}

// checkFilter says whether a pattern can match an event, whose subject has the
// tenant before the type.
func checkFilter(filter string) error {
	if err := CheckPattern(filter); err != nil {
		return err
	}
	tenant, _, more := strings.Cut(filter, ".")
	switch {
	case tenant == ">":
	case !more:
		return fmt.Errorf(`%s must be TENANT.TYPE, such as "*.auth.>" or "acme.>"`, quote(filter))
	case tenant != "*" && !isName(tenant):
		return fmt.Errorf("tenant %s must be %s, or be *", quote(tenant), nameRule)
	}
	return nil
}

// sameFilters compares what two lanes filter, whatever the order.
func sameFilters(a, b Lane) bool {
	return slices.Equal(slices.Sorted(slices.Values(a.Filters)), slices.Sorted(slices.Values(b.Filters)))
}

const lanePrefix = "_lanes."

// laneKey returns the key of a lane in the bucket. No tenant begins with _.
func laneKey(id string) string { return lanePrefix + id }

// isEndpointKey reports whether a key of the bucket is an endpoint's: those of
// lanes and of what else is ours begin with what no name does.
func isEndpointKey(key string) bool { return !strings.HasPrefix(key, "_") }

func isLaneKey(key string) bool { return strings.HasPrefix(key, lanePrefix) }

// decodeLane reads and validates a lane as the bucket holds it.
func decodeLane(key string, data []byte) (Lane, error) {
	l := NewLane()
	decoder := json.NewDecoder(bytes.NewReader(data))
	decoder.DisallowUnknownFields()
	if err := decoder.Decode(&l); err != nil {
		return Lane{}, fmt.Errorf("lane document is not valid JSON of its kind: %w", err)
	}
	if _, err := decoder.Token(); !errors.Is(err, io.EOF) {
		return Lane{}, errors.New("lane document is followed by something else")
	}
	if err := l.Validate(); err != nil {
		return Lane{}, err
	}
	if key != laneKey(l.ID) {
		return Lane{}, fmt.Errorf("the lane under key %s names itself %s", key, l.ID)
	}
	return l, nil
}
