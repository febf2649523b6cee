package delivery

import (
	"strconv"
	"time"
)

// Result is the facts of one attempt.
type Result struct {
	At       time.Time
	Duration time.Duration
	Status   int    // of the response; 0 when none came
	Fault    Fault  // why no complete response came; empty when one did
	Error    string // in words for the endpoint's owner; empty on 2xx
	// RetryAfter is the wait that the response asked for; 0 when it did not.
	RetryAfter time.Duration
	Disable    bool // the response asked to disable the endpoint
	Abort      bool // the response asked not to try this message again

	// What follows is for the attempt log alone.

	Parts    Parts
	Request  map[string]string // headers of one that was sent and did not do well, *** for what may be a credential
	Response map[string]string // headers of an allow list, with the request's credentials struck out
	Body     string            // the beginning of the response's, likewise, on one line
}

// Parts says how long parts of an attempt took; those that there were not are 0.
type Parts struct {
	DNS, Connect, TLS time.Duration
	FirstByte         time.Duration // from the request being written to the first byte of the answer
}

// Fault says why an attempt brought no complete response.
type Fault string

// The faults. They are also the metric's label.
const (
	FaultNone           Fault = ""
	FaultTimeout        Fault = "timeout"
	FaultDNS            Fault = "dns"
	FaultConnect        Fault = "connect"
	FaultTLS            Fault = "tls"
	FaultClosed         Fault = "closed"
	FaultProtocol       Fault = "protocol"
	FaultBlockedAddress Fault = "blocked_address"
	FaultInvalidRequest Fault = "invalid_request"
	FaultInterrupted    Fault = "interrupted"
)

// Label returns the result in one bounded word: the fault, or the class of the
// status, such as "5xx".
func (r Result) Label() string {
	if r.Fault != FaultNone {
		return string(r.Fault)
	}
	return strconv.Itoa(r.Status/100) + "xx"
}

// Outcome is what becomes of a delivery after an attempt.
type Outcome string

// The outcomes. They are also the metric's label.
const (
	Delivered   Outcome = "delivered"
	Retry       Outcome = "retry"
	Dead        Outcome = "dead"
	Interrupted Outcome = "interrupted" // we are stopping; the attempt does not count
)

// Reason says why a delivery became a dead letter.
type Reason string

// The reasons. They are the dead letter's reason and the metric's label.
const (
	AttemptsExhausted Reason = "attempts_exhausted"
	EndpointDown      Reason = "endpoint_down"
	Rejected          Reason = "rejected"
	Aborted           Reason = "aborted"
	Expired           Reason = "expired"
	EndpointDeleted   Reason = "endpoint_deleted"
	BlockedAddress    Reason = "blocked_address"
	InvalidRequest    Reason = "invalid_request"
	Poison            Reason = "poison"
)

// Reasons lists all reasons.
func Reasons() []Reason {
	return []Reason{AttemptsExhausted, EndpointDown, Rejected, Aborted, Expired,
		EndpointDeleted, BlockedAddress, InvalidRequest, Poison}
}
