package delivery

import (
	"net/http"
	"slices"
)

// Verdict is what a result means, before the endpoint's patience is asked.
type Verdict struct {
	Outcome Outcome
	Reason  Reason // of Dead
	Disable bool   // the endpoint is to be disabled
}

// Classify turns the facts of an attempt into a verdict. retryOn names statuses
// that the endpoint wants retried although they are final otherwise.
func Classify(r Result, retryOn []int) Verdict {
	v := classify(r, retryOn)
	v.Disable = v.Disable || r.Disable
	if r.Abort && v.Outcome == Retry {
		v.Outcome, v.Reason = Dead, Aborted
	}
	return v
}

func classify(r Result, retryOn []int) Verdict {
	switch r.Fault {
	case FaultNone:
	case FaultInterrupted:
		return Verdict{Outcome: Interrupted}
	case FaultBlockedAddress:
		return Verdict{Outcome: Dead, Reason: BlockedAddress}
	case FaultInvalidRequest:
		return Verdict{Outcome: Dead, Reason: InvalidRequest}
	default:
		return Verdict{Outcome: Retry}
	}
	switch s := r.Status; {
	case s >= 200 && s < 300:
		return Verdict{Outcome: Delivered}
	case s < 400 || s >= 500: // a redirect is never followed: the owner may mend it
		return Verdict{Outcome: Retry}
	case s == http.StatusRequestTimeout, s == http.StatusTooEarly, s == http.StatusTooManyRequests:
		return Verdict{Outcome: Retry}
	case slices.Contains(retryOn, s):
		return Verdict{Outcome: Retry}
	default:
		return Verdict{Outcome: Dead, Reason: Rejected, Disable: s == http.StatusGone}
	}
}
