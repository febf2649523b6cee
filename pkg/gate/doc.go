// Package gate promises that an endpoint in trouble harms nobody but itself.
// The gate of an endpoint says of each delivery whether it may go now: it may
// not while the endpoint's rate or concurrency is used up, while the endpoint
// has its share of the slots that all endpoints use together, and while the
// endpoint fails.
//
// A [Gate] holds no goroutine and nothing that lasts. What it has learned of
// an endpoint it may forget with the replica, because it learns it again
// within seconds; what all replicas must agree on, that a gate is open, is in
// a [Fleet].
//
// A gate is closed in the normal case and open, like a circuit breaker, when
// the endpoint fails. Four rules decide, each in a file of its own:
//
//   - rate.go: a token bucket, and the ramp on which an endpoint starts that
//     was down
//   - concurrency.go: more at a time while that goes well, half when the
//     endpoint is overloaded
//   - slots.go: a share of the slots that grows with what is free
//   - health.go: how much failure opens the gate
//
// Who may not go is told so at once or within some milliseconds, except in
// [Gate.Take], which is for the one that feeds back what had to wait.
package gate
