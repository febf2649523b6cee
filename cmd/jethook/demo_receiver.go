package main

import (
	"net/http"
	"sync/atomic"

	"jethook/pkg/receiver"
	"jethook/pkg/signature"
)

// demoTenant owns the demo's endpoints.
const demoTenant = "acme"

// demoRole is a part that a receiver plays.
type demoRole struct {
	id     string
	manner string // in words
	fail   float64
	status int
}

// demoCast are the parts, the last one being the receiver that is down until it
// is repaired.
var demoCast = [...]demoRole{
	{"crm", "is well: it answers 200", 0, 0},
	{"billing", "is shaky: 40% of its answers are 503", 0.4, http.StatusServiceUnavailable},
	{"legacy", "is down: it answers 502", 1, http.StatusBadGateway},
}

// demoReceiver is a receiver that plays its part, and counts what its own
// statistics do not.
type demoReceiver struct {
	*receiver.Receiver
	demoRole
	url    string
	secret signature.Secret

	repaired atomic.Bool
	retries  atomic.Int64
	verified atomic.Int64
	show     atomic.Pointer[func(receiver.Request)]
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
