package receiver

import (
	"net/http"
	"strconv"
	"time"
)

// Verified says what came of the check of a signature.
type Verified string

// The outcomes of a signature's check.
const (
	// Unchecked is a request that came in while no keys were set.
	Unchecked Verified = "unchecked"
	// Yes is a request that one of the keys signed, not too long ago.
	Yes Verified = "yes"
	// No is any other; Request.VerifyError says why.
	No Verified = "no"
)

// Request is one request as the receiver saw it, with the answer it gave.
type Request struct {
	// At is when the request arrived.
	At time.Time

	// EventID and EventType are the headers webhook-id and webhook-event-type.
	EventID, EventType string

	// EventTime is when the event was published; zero when the header
	// webhook-event-time is absent or not a time.
	EventTime time.Time

	// Attempt counts from 1; 0 when the header webhook-attempt is absent or not
	// a number.
	Attempt int

	// Replay is true for an event that is sent again on somebody's demand.
	Replay bool

	// Body is what was sent, cut at 32 MiB.
	Body []byte

	// Header holds all headers of the request.
	Header http.Header

	// Status is the answer, 0 when none was given: the receiver hangs, or the
	// sender went away while it waited.
	Status int

	// Verified is the outcome of the signature's check.
	Verified Verified

	// VerifyError says what is wrong with the signature when Verified is No.
	VerifyError string

	// Duplicate is true when a request with this id was answered with a success
	// before: a receiver in production would drop this one.
	Duplicate bool
}

// newRequest reads what the headers say.
func newRequest(hr *http.Request) Request {
	req := Request{
		At:        time.Now(),
		EventID:   hr.Header.Get("webhook-id"),
		EventType: hr.Header.Get("webhook-event-type"),
		Attempt:   parseAttempt(hr.Header.Get("webhook-attempt")),
		Replay:    hr.Header.Get("webhook-replay") == "true",
		Header:    hr.Header.Clone(),
		Verified:  Unchecked,
	}
	if at, err := time.Parse(time.RFC3339, hr.Header.Get("webhook-event-time")); err == nil {
		req.EventTime = at
	}
	return req
}

// answeredOK tells whether the sender was told that the event has arrived.
func (r *Request) answeredOK() bool {
	return r.Status >= 200 && r.Status <= 299
}

// parseAttempt reads the header webhook-attempt; 0 is one that says nothing.
func parseAttempt(value string) int {
	n, err := strconv.Atoi(value)
	if err != nil || n < 1 {
		return 0
	}
	return n
}
