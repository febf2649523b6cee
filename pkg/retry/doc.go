// Package retry promises that the same policy, count of failed attempts and
// random numbers always give the same delay: it reads no clock and holds no
// randomness of its own, so whoever calls it decides about both.
//
// A [Policy] says how long to wait after each failed attempt and when to give
// up. Its edges are fixed here, once, for everybody:
//
//   - Attempts are counted from 1. The first is made at once; a delay follows
//     a failed attempt, so a policy of n attempts has n-1 delays.
//   - What was interrupted, or was a probe of an endpoint that is down, is no
//     attempt. Callers leave it out of the count that they pass in.
//   - Exponential delays before jitter never shrink and never exceed
//     max_delay, however large the count or the factor: arithmetic that would
//     overflow ends there. A schedule is followed as written.
//   - A receiver's Retry-After lengthens a delay, up to the policy's longest,
//     and never shortens one.
package retry
