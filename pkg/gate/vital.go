package gate

import "time"

// Leave is the answer to whether a delivery may go now. Its zero value lets
// nothing through.
type Leave int

const (
	// NotNow means that the endpoint works and has its fill for the moment.
	NotNow Leave = iota
	// Open means that the endpoint fails: nothing may go until it is known to
	// work again.
	Open
	// Go means that the delivery may go. Done must follow.
	Go
)

// Fault is what an attempt says of its endpoint's health.
type Fault int

const (
	// Neutral says nothing: the attempt was interrupted, the address blocked,
	// the answer 408 or 425.
	Neutral Fault = iota
	// Alive means that the endpoint answered, be it with a refusal.
	Alive
	// Overloaded means that it answered 429, 502, 503 or 504 or ran into the
	// timeout: a failure, and more than it bears.
	Overloaded
	// Failing means no connection, 500 or another 5xx.
	Failing
)

// Vital is what an attempt says of its endpoint. The zero value says nothing.
type Vital struct {
	Fault Fault
	// RetryAfter is how long the endpoint asked to be left alone; 0 when it did
	// not, or when what it answered was the last word on what was sent.
	RetryAfter time.Duration
	// Ended is for the tally and decides nothing.
	Ended Ended
}

// Failed reports whether the endpoint is not to be had for now: it failed, or asked
// to be left alone.
func (v Vital) Failed() bool {
	return v.Fault == Overloaded || v.Fault == Failing || v.RetryAfter > 0
}
