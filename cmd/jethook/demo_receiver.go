package main

import (
	"net/http"
	"sync"
	"sync/atomic"
	"time"

	"jethook/pkg/receiver"
	"jethook/pkg/secret"
	"jethook/pkg/signature"
)

// demoTenant owns the demo's endpoints.
const demoTenant = "acme"

// demoRole is a part that a receiver plays.
type demoRole struct {
	id     string
	manner string // in words
	events string // that it wants, as YAML
	fail   float64
	status int
}

// demoMain matches the events that all receivers want. Only the first one wants
// others, so that something can happen to it alone.
const demoMain = `["order.*", "invoice.*"]`

// demoCast are the parts, the last one being the receiver that is down until it
// is repaired.
var demoCast = [...]demoRole{
	{"crm", "is well: it answers 200", `[">"]`, 0, 0},
	{"billing", "is shaky: 30% of its answers are 503", demoMain, 0.3, http.StatusServiceUnavailable},
	{"legacy", "is down: it answers 502", demoMain, 1, http.StatusBadGateway},
}

// demoReceiver is a receiver that plays its part, and counts what its own
// statistics do not.
type demoReceiver struct {
	*receiver.Receiver
	demoRole
	url    string
	secret secret.Secret

	repaired atomic.Bool
	retries  atomic.Int64
	verified atomic.Int64
	show     atomic.Pointer[func(receiver.Request)]

	mu    sync.Mutex
	times demoTimes
}

// demoTimes is when what happened at a receiver.
type demoTimes struct {
	slowest     time.Duration // from an event's publishing to its first attempt, at most
	refused     []time.Time   // the requests to the one that is down
	first, last time.Time     // successes
}

// add notes a request.
func (t *demoTimes) add(req receiver.Request, down bool) {
	if req.Attempt == 1 && !req.Replay {
		t.slowest = max(t.slowest, req.At.Sub(req.EventTime))
	}
	switch {
	case req.Status == http.StatusOK:
		if t.first.IsZero() {
			t.first = req.At
		}
		t.last = req.At
	case down:
		t.refused = append(t.refused, req.At)
	}
}

// seen returns the times up to now.
func (r *demoReceiver) seen() demoTimes {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.times
}

func newDemoReceiver(role demoRole) (*demoReceiver, error) {
	r := &demoReceiver{demoRole: role, secret: signature.NewSecret()}
	key, err := signature.ParseKey(r.secret)
	if err != nil {
		return nil, err
	}
	o := receiver.Options{Keys: []signature.Key{key}, Fail: role.fail, Status: role.status, OnRequest: r.count}
	if role.fail == 1 {
		o.Random = func() float64 {
			if r.repaired.Load() {
				return 1 // is not below any share: succeed
			}
			return 0
		}
	}
	r.Receiver = receiver.New(o)
	return r, nil
}

func (r *demoReceiver) name() string { return demoTenant + "/" + r.id }

func (r *demoReceiver) count(req receiver.Request) {
	r.mu.Lock()
	r.times.add(req, r.fail == 1)
	r.mu.Unlock()
	if req.Attempt > 1 {
		r.retries.Add(1)
	}
	if req.Verified == receiver.Yes {
		r.verified.Add(1)
	}
	if show := r.show.Load(); show != nil {
		(*show)(req)
	}
}
