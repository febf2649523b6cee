package delivery

import (
	"slices"
	"testing"
)

// The table of the contract: from and to are statuses, the last row that names
// a status counts.
var statuses = []struct {
	from, to int
	want     Verdict
}{
	{100, 199, Verdict{Outcome: Retry}}, // no final answer
	{200, 299, Verdict{Outcome: Delivered}},
	{300, 399, Verdict{Outcome: Retry}}, // never followed
	{400, 499, Verdict{Outcome: Dead, Reason: Rejected}},
	{408, 408, Verdict{Outcome: Retry}},
	{410, 410, Verdict{Outcome: Dead, Reason: Rejected, Disable: true}},
	{425, 425, Verdict{Outcome: Retry}},
	{429, 429, Verdict{Outcome: Retry}},
	{500, 599, Verdict{Outcome: Retry}},
}

func wanted(status int) (want Verdict) {
	for _, row := range statuses {
		if row.from <= status && status <= row.to {
			want = row.want
		}
	}
	return want
}

func TestClassifyEveryStatus(t *testing.T) {
	retryOn := []int{404, 422}
	for status := 100; status <= 599; status++ {
		want := wanted(status)
		if want.Outcome == "" {
			t.Fatalf("the table does not say what %d is", status)
		}
		for name, c := range map[string]struct {
			result  Result
			retryOn []int
			want    Verdict
		}{
			"plain":          {Result{Status: status}, nil, want},
			"retry_on":       {Result{Status: status}, retryOn, onlyRetry(status, retryOn, want)},
			"retry_on all":   {Result{Status: status}, everyFinal(), onlyRetry(status, everyFinal(), want)},
			"disable":        {Result{Status: status, Disable: true}, nil, disabled(want)},
			"abort":          {Result{Status: status, Abort: true}, nil, aborted(want)},
			"abort retry_on": {Result{Status: status, Abort: true}, retryOn, aborted(onlyRetry(status, retryOn, want))},
			"both":           {Result{Status: status, Abort: true, Disable: true}, nil, disabled(aborted(want))},
			"with a wait":    {Result{Status: status, RetryAfter: 1}, nil, want},
		} {
			if got := Classify(c.result, c.retryOn); got != c.want {
				t.Errorf("%d, %s: %+v, want %+v", status, name, got, c.want)
			}
		}
	}
}

// everyFinal is what a document may name in retry_on: all 4xx that are final
// but 410, which the document's check refuses.
func everyFinal() (all []int) {
	for status := 400; status <= 499; status++ {
		if v := wanted(status); v.Outcome == Dead && !v.Disable {
			all = append(all, status)
		}
	}
	return all
}

func onlyRetry(status int, retryOn []int, v Verdict) Verdict {
	if slices.Contains(retryOn, status) {
		return Verdict{Outcome: Retry}
	}
	return v
}

func disabled(v Verdict) Verdict {
	v.Disable = true
	return v
}

// aborted: what would be tried again is not; what was delivered or rejected
// already stays so.
func aborted(v Verdict) Verdict {
	if v.Outcome == Retry {
		return Verdict{Outcome: Dead, Reason: Aborted}
	}
	return v
}

var faults = map[Fault]Verdict{
	FaultTimeout:        {Outcome: Retry},
	FaultDNS:            {Outcome: Retry},
	FaultConnect:        {Outcome: Retry},
	FaultTLS:            {Outcome: Retry},
	FaultClosed:         {Outcome: Retry},
	FaultProtocol:       {Outcome: Retry},
	FaultBlockedAddress: {Outcome: Dead, Reason: BlockedAddress},
	FaultInvalidRequest: {Outcome: Dead, Reason: InvalidRequest},
	FaultInterrupted:    {Outcome: Interrupted},
	"unheard of":        {Outcome: Retry},
}

// A fault counts whatever status had arrived: the exchange was not complete.
func TestClassifyEveryFault(t *testing.T) {
	for fault, want := range faults {
		for _, status := range []int{0, 200, 404, 410, 503} {
			if got := Classify(Result{Fault: fault, Status: status}, []int{404}); got != want {
				t.Errorf("%s with status %d: %+v, want %+v", fault, status, got, want)
			}
		}
	}
}

func TestEveryReasonIsListedOnce(t *testing.T) {
	seen := map[Reason]bool{}
	for _, r := range Reasons() {
		if seen[r] || r == "" {
			t.Errorf("reason %q is listed twice or empty", r)
		}
		seen[r] = true
	}
	for _, v := range faults {
		if v.Outcome == Dead && !seen[v.Reason] {
			t.Errorf("reason %q is not listed", v.Reason)
		}
	}
	for _, r := range []Reason{"attempts_exhausted", "endpoint_down", "rejected", "aborted", "expired",
		"endpoint_deleted", "blocked_address", "invalid_request", "poison"} {
		if !seen[r] {
			t.Errorf("the contract's reason %q is not listed", r)
		}
		delete(seen, r)
	}
	if len(seen) > 0 {
		t.Errorf("the contract does not know %v", seen)
	}
}

// A metric's label must not have as many values as there are statuses.
func TestLabel(t *testing.T) {
	labels := map[string]bool{}
	for status := 100; status <= 599; status++ {
		labels[Result{Status: status}.Label()] = true
	}
	if len(labels) != 5 || !labels["2xx"] || !labels["5xx"] {
		t.Errorf("labels %v, want 1xx to 5xx", labels)
	}
	if got := (Result{Status: 200, Fault: FaultTimeout}).Label(); got != "timeout" {
		t.Errorf("label %q, want the fault", got)
	}
}
