package delivery

import (
	"strconv"
	"time"

	"jethook/pkg/event"
)

// Delivery is one event for one endpoint.
type Delivery struct {
	Event    event.Event
	Endpoint string // its id; the tenant is the event's
	State    State
	// BodyInEvent says that the body is not here: it is, or was, in the event
	// only. What is stored says so, too.
	BodyInEvent bool
}

// State is what a delivery remembers from attempt to attempt. It travels with
// the delivery, because a consumer's count of redeliveries is not a count of
// attempts.
type State struct {
	// Origin says where this delivery began, and tells apart two deliveries of
	// one event to one endpoint: e<seq> is the event, d<seq> a dead letter.
	Origin string `json:"origin"`
	// Attempts is how many attempts of this round failed. A replay begins a new
	// round.
	Attempts int `json:"attempts"`
	// Since is when this round began: the event's time, or the replay's.
	Since time.Time `json:"since"`
	// First is when this round was first attempted or first held, whichever
	// came first: the retry policy's window begins there. Zero is not yet.
	First time.Time `json:"first,omitzero"`
	// Due is when the next attempt may be made; zero is now.
	Due time.Time `json:"due,omitzero"`
	// Dead is why the delivery was given up, where its dead letter could not be
	// stored yet. Empty for one that may still be attempted.
	Dead Reason `json:"dead,omitempty"`
	// Replay says that this round is a replay.
	Replay bool `json:"replay,omitempty"`
	// EndpointMade is when the endpoint was made that this is for: it never goes to one
	// that has that name later. Zero is whichever there is when a worker sees it first.
	EndpointMade time.Time `json:"endpoint_made,omitzero"`
	// Trace says where in a trace of OpenTelemetry the delivery stands. Zero, and
	// not stored, while traces are off.
	Trace Trace `json:"trace,omitzero"`
	// History holds the attempts of all rounds, oldest first, at most MaxHistory.
	History []Attempt `json:"history,omitempty"`
}

// Trace lets the spans of later attempts, made by whichever replica, come below
// the delivery's own and link to those before them.
type Trace struct {
	Delivery string `json:"delivery"`          // traceparent of the delivery's span
	Attempt  string `json:"attempt,omitempty"` // span id of its last attempt
}

// MaxHistory is how many attempts a history holds; the oldest go first.
const MaxHistory = 64

// Attempt is one attempt that was made, as the history tells it.
type Attempt struct {
	Attempt    int       `json:"attempt"` // counts from 1 in each round
	At         time.Time `json:"at"`
	Status     int       `json:"status"` // 0 when no response came
	Error      string    `json:"error"`
	DurationMS float64   `json:"duration_ms"`
	// Probe says that the attempt found out whether an endpoint that was down
	// works again. One that failed does not count.
	Probe bool `json:"probe,omitempty"`
}

// Made returns how many attempts were ever made, those of earlier rounds included
// and failed probes left out; where the history is full, at least that many.
func (s *State) Made() int {
	n := 0
	for _, a := range s.History {
		if !a.Probe {
			n++
		}
	}
	return max(n, s.Attempts)
}

// New returns the delivery of an event to an endpoint, before its first
// attempt.
func New(e event.Event, endpoint string) Delivery {
	return Delivery{
		Event:    e,
		Endpoint: endpoint,
		State:    State{Origin: origin("e", e.Seq, e.Time), Since: e.Time},
	}
}

// Again returns the origin of the round that begins with the dead letter that
// is stored under seq since at.
func Again(seq uint64, at time.Time) string { return origin("d", seq, at) }

// origin names a stored message. The time is for a stream that was made anew
// and counts from 1 again.
func origin(kind string, seq uint64, at time.Time) string {
	return kind + strconv.FormatUint(seq, 10) + "_" + strconv.FormatInt(at.UnixNano(), 36)
}

// Name returns TENANT/ENDPOINT.
func (d *Delivery) Name() string { return d.Event.Tenant + "/" + d.Endpoint }

// Number returns the number of the attempt that comes next, from 1.
func (d *Delivery) Number() int { return d.State.Attempts + 1 }

// MsgID returns the id under which the delivery's present state is stored, so
// that storing it again changes nothing. It never meets itself again for
// another reason: the origin is new for every round, the count within it grows.
func (d *Delivery) MsgID() string {
	return d.key() + "." + strconv.Itoa(d.State.Attempts)
}

// WaitMsgID returns the id for storing an unchanged state anew, after the one
// under sequence seq has been handed out too often.
func (d *Delivery) WaitMsgID(seq uint64) string {
	return d.key() + ".w" + strconv.FormatUint(seq, 10)
}

// DeadMsgID returns the id under which the delivery's dead letter is stored.
func (d *Delivery) DeadMsgID() string { return d.key() + ".dead" }

func (d *Delivery) key() string {
	return d.Event.Tenant + "." + d.Endpoint + "." + d.Event.ID + "." + d.State.Origin
}
