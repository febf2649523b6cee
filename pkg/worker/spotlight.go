package worker

import (
	"cmp"
	"slices"
	"strings"
	"time"

	"jethook/pkg/delivery"
	"jethook/pkg/gate"
	"jethook/pkg/telemetry"
)

// spotlight chooses the endpoints that have figures of their own: the busiest,
// and those in trouble. However many endpoints there are, it remembers those that
// it shows and as many that may be next, and has a look at those that had attempts.
type spotlight struct {
	most  int                 // of the busiest
	busy  map[string]busyness // of the busiest, and of those that may be next
	shown map[string]bool     // the busiest, and those in trouble
}

// busyness is how many attempts an endpoint has from one look to the next, in the
// long run: sum grows to that, and sum/weight is the average of the looks since it is
// known. Who is shown is chosen by sum, so that a moment makes nobody the busiest, and
// who may be next by the average, so that a newcomer is not passed over.
type busyness struct{ sum, weight float64 }

func (b busyness) average() float64 { return b.sum / b.weight }

// after returns it after a look at which there were n attempts.
func (b busyness) after(n float64) busyness {
	return busyness{fading*b.sum + (1-fading)*n, fading*b.weight + (1 - fading)}
}

const (
	// troubledShare is for how many times as many endpoints in trouble there is
	// room as for busy ones.
	troubledShare = 5
	// fading is how much of how busy an endpoint was counts at the next look, so
	// that one which pauses for a moment stays.
	fading = 0.9
)

// ended returns what the tally of an endpoint takes an attempt for.
func ended(r delivery.Result) gate.Ended {
	switch {
	case r.Fault == delivery.FaultInterrupted:
		return gate.Uncounted
	case r.Fault == delivery.FaultNone && r.Status/100 == 2:
		return gate.Delivered
	}
	return gate.Undelivered
}

func newSpotlight(most int) spotlight {
	return spotlight{most: most, busy: make(map[string]busyness), shown: make(map[string]bool)}
}

// look counts the attempts of endpoints that are shown, and chooses anew who is.
// troubled are those in trouble, the ones that are to be shown first.
func (s *spotlight) look(sets []*gate.Set, troubled []string, metrics *telemetry.Metrics) {
	attempts := make(map[string]float64, len(s.busy)) // of those that are known
	fresh := ranked{most: s.most}
	for _, set := range sets {
		set.Tallies(func(name string, t gate.Tally) {
			if s.shown[name] {
				metrics.EndpointAttempts(name, t.Delivered, t.Failed)
			}
			n := float64(t.Delivered) + float64(t.Failed)
			if _, known := s.busy[name]; known {
				attempts[name] += n
			} else {
				fresh.add(name, n)
			}
		})
	}
	for name, b := range s.busy {
		s.busy[name] = b.after(attempts[name])
	}
	busiest := s.rank(fresh)
	next := make(map[string]bool, len(busiest)+len(troubled))
	for _, e := range busiest {
		next[e.name] = true
	}
	for _, name := range troubled[:min(len(troubled), troubledShare*s.most)] {
		next[name] = true
	}
	for name := range s.shown {
		if !next[name] {
			metrics.HideEndpoint(name)
		}
	}
	s.shown = next
}

// rank returns the busiest, and remembers them and those that may be next. Of two
// that are equally busy the one stays that was there.
func (s *spotlight) rank(fresh ranked) (busiest []scored) {
	for _, e := range fresh.first {
		s.busy[e.name] = busyness{}.after(e.score)
	}
	first := ranked{most: s.most}
	for _, there := range []bool{true, false} {
		for name, b := range s.busy {
			if s.shown[name] == there {
				first.add(name, b.sum)
			}
		}
	}
	known := s.busy
	s.busy = make(map[string]busyness, 2*s.most)
	for _, e := range first.first {
		s.busy[e.name] = known[e.name]
		delete(known, e.name)
	}
	next := ranked{most: s.most}
	for name, b := range known {
		next.add(name, b.average())
	}
	for _, e := range next.first {
		s.busy[e.name] = known[e.name]
	}
	return first.first
}

// forget makes room: the endpoint is gone.
func (s *spotlight) forget(name string) { delete(s.busy, name) }

// ranked are those with the highest scores of all that were added, the highest
// first.
type ranked struct {
	most  int
	first []scored
}

type scored struct {
	name  string
	score float64
}

func (r *ranked) add(name string, score float64) {
	if n := len(r.first); n == r.most && (n == 0 || score <= r.first[n-1].score) {
		return
	}
	at, _ := slices.BinarySearchFunc(r.first, score, func(e scored, score float64) int { return cmp.Compare(score, e.score) })
	r.first = slices.Insert(r.first, at, scored{name, score})
	r.first = r.first[:min(len(r.first), r.most)]
}

// troubled returns the endpoints whose gate is open or that are disabled, and of
// each how it is. Those for which that has lasted longest come first.
func (f *figures) troubled() (names []string, states map[string]telemetry.EndpointState) {
	states = make(map[string]telemetry.EndpointState)
	since := make(map[string]time.Time)
	f.w.fleet.Each(func(name string, o gate.Opened) {
		states[name], since[name] = telemetry.EndpointState{GateOpen: true}, o.Since
		names = append(names, name)
	})
	for _, ep := range f.w.endpoints.Disabled() {
		state, open := states[ep.Name()]
		if !open {
			names, since[ep.Name()] = append(names, ep.Name()), ep.Disabled.At
		}
		state.Disabled = true
		states[ep.Name()] = state
	}
	slices.SortFunc(names, func(a, b string) int {
		return cmp.Or(since[a].Compare(since[b]), strings.Compare(a, b))
	})
	return names, states
}

// endpoints shows how the endpoints of the spotlight are.
func (f *figures) endpoints() {
	var sets []*gate.Set
	for _, l := range f.w.everyLane() {
		sets = append(sets, l.gates)
	}
	for name := range f.light.busy {
		if tenant, id, _ := strings.Cut(name, "/"); f.w.endpoints.Get(tenant, id) == nil {
			f.light.forget(name)
		}
	}
	names, states := f.troubled()
	f.light.look(sets, names, f.w.metrics)
	held := f.w.keeper.holds(f.light.shown)
	for name := range f.light.shown {
		state := states[name]
		state.Held = held[name]
		f.w.metrics.ShowEndpoint(name, state)
	}
}

// holds returns how many deliveries were held for endpoints when that was last
// listed.
func (k *keeper) holds(names map[string]bool) map[string]uint64 {
	k.mu.Lock()
	defer k.mu.Unlock()
	held := make(map[string]uint64, len(names))
	for name := range names {
		if h := k.known[name]; h != nil {
			held[name] = h.seen.Total()
		}
	}
	return held
}
