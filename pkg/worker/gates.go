package worker

import (
	"context"
	"net/http"
	"strings"
	"time"

	"jethook/pkg/delivery"
	"jethook/pkg/endpoint"
	"jethook/pkg/gate"
	"jethook/streams"
)

// home returns the lane that an endpoint's gate counts in, whatever the lane of
// an event: an endpoint has one gate. One whose lane is not served by this
// replica is at home in another. It returns nil before the first lane begins.
func (w *Worker) home(ep *endpoint.Endpoint) *lane {
	if l := w.lane(w.laneFor(ep, streams.DefaultLane)); l != nil {
		return l
	}
	if all := w.lanes.list(); len(all) > 0 {
		return all[0]
	}
	return nil
}

// rank says how many of the replicas that serve an endpoint's lane come before
// this one in caring for it.
func (w *Worker) rank(name string) int {
	tenant, id, _ := strings.Cut(name, "/")
	return w.replicas.RankOf(w.laneFor(w.endpoints.Get(tenant, id), streams.DefaultLane), name)
}

// gateOf returns the gate of an endpoint in this replica. There must be a lane.
func (w *Worker) gateOf(ep *endpoint.Endpoint) *gate.Gate {
	terms := gate.Terms{MaxInFlight: ep.MaxInFlight}
	if ep.RateLimit != nil {
		terms.PerSecond, terms.Burst = ep.RateLimit.PerSecond, ep.RateLimit.Burst
	}
	home := w.home(ep)
	// The lane's gates divide the terms among so many; not all are shared by those.
	if n, by := w.sharing(home.name), w.attempting(ep); n != by {
		terms.PerSecond *= float64(n) / float64(by)
		terms.Burst = terms.Burst * n / by
		terms.MaxInFlight = terms.MaxInFlight * n / by
	}
	return home.gates.Of(ep.Name(), terms)
}

// isAnothers reports whether it is for another replica to make the attempts at an
// endpoint. The one that serves an ordered one makes all of them, of replays as well:
// one at a time needs the whole rate, and no rest is left to share.
func (w *Worker) isAnothers(ep *endpoint.Endpoint) bool { return ep.Ordered && w.rank(ep.Name()) > 0 }

// attempting says how many replicas make attempts at an endpoint.
func (w *Worker) attempting(ep *endpoint.Endpoint) int {
	switch own := w.laneFor(ep, streams.DefaultLane); {
	case ep.Ordered:
		return 1
	case own != streams.DefaultLane:
		return w.replicas.CountOf(own)
	}
	return w.replicas.Count() // its events come in any lane
}

// enter asks the endpoint's gate whether an attempt may be made now. Go must be
// followed by the gate's Done.
func (w *Worker) enter(ep *endpoint.Endpoint) (*gate.Gate, gate.Leave) {
	if _, open := w.fleet.Get(ep.Name()); open {
		return nil, gate.Open
	}
	g := w.gateOf(ep)
	return g, g.Enter(w.attempts)
}

// barred reports whether an endpoint gets no attempts from this replica for now, so
// that its deliveries are held without asking any further.
func (w *Worker) barred(ep *endpoint.Endpoint) bool {
	if _, unavailable := ep.Unavailable(); unavailable || w.isAnothers(ep) {
		return true
	}
	_, open := w.fleet.Get(ep.Name())
	return open
}

// opened tells all replicas that an endpoint's gate is open, and tries until
// they know.
func (w *Worker) opened(ep *endpoint.Endpoint, why string, r delivery.Result) {
	now := time.Now()
	wait := min(r.RetryAfter, ep.Retry.Longest())
	o := gate.Opened{Why: why, Since: now, FailingSince: now, LastError: r.Error, LastStatus: r.Status, LastClass: r.Label(),
		Document: ep.Revision, NextProbe: now.Add(gate.Interval(0, wait, w.random))}
	// Not its error, which quotes what the receiver answered: that is for whoever
	// looks at the endpoint.
	w.log.Warn().Str("endpoint", ep.Name()).Str("reason", why).Int("status", r.Status).Str("fault", string(r.Fault)).
		Msg("gate opened: no attempts until a probe succeeds")
	w.metrics.GateOpened()
	w.telling.Go(func() {
		for w.attempts.Err() == nil {
			ctx, cancel := context.WithTimeout(w.attempts, publishTimeout)
			err := w.fleet.Open(ctx, ep.Name(), o)
			cancel()
			if err == nil {
				w.gating.over(w.log, "open gates are stored again")
				return
			}
			w.gating.wait(w.attempts, w.log, err, "could not tell the other replicas of an open gate, trying until they know")
		}
	})
}

// gateChanged is told of every gate that opens, is probed or closes.
func (w *Worker) gateChanged(name string, open bool) {
	tenant, id, err := endpoint.ParseName(name)
	if err != nil {
		return // not written by jethook
	}
	if ep := w.endpoints.Get(tenant, id); ep != nil && w.home(ep) != nil {
		w.gateOf(ep).SetOpen(true) // a gate that is only made now closes slowly, too
	}
	// Also where the endpoint was at home before, and when it is gone: an open
	// gate is never swept.
	for _, l := range w.everyLane() {
		if g := l.gates.Known(name); g != nil {
			g.SetOpen(open)
		}
	}
	w.keeper.touch(name, !open)
}

// vital returns what a result says of the health of an endpoint that has these
// statuses retried.
func vital(r delivery.Result, retryOn []int) gate.Vital {
	v := gate.Vital{Ended: ended(r)}
	switch r.Fault {
	case delivery.FaultNone:
		v.Fault = vitalStatus(r.Status)
	case delivery.FaultTimeout:
		v.Fault = gate.Overloaded
	case delivery.FaultInterrupted, delivery.FaultBlockedAddress, delivery.FaultInvalidRequest:
		v.Fault = gate.Neutral
	default:
		v.Fault = gate.Failing
	}
	// With a final answer there is nothing to come back with.
	r.Abort = false // which is about the event alone
	if r.RetryAfter > 0 && delivery.Classify(r, retryOn).Outcome == delivery.Retry {
		v.RetryAfter = r.RetryAfter
	}
	return v
}

func vitalStatus(status int) gate.Fault {
	switch {
	case status == http.StatusRequestTimeout, status == http.StatusTooEarly:
		return gate.Neutral
	case status == http.StatusTooManyRequests, status == http.StatusBadGateway,
		status == http.StatusServiceUnavailable, status == http.StatusGatewayTimeout:
		return gate.Overloaded
	case status >= 500:
		return gate.Failing
	}
	return gate.Alive // it answers; what, is for the delivery to bear
}
