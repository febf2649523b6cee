package endpoint

import (
	"maps"
	"slices"
	"strings"
)

// laneInForce is a lane of the registry, with its filters taken apart.
type laneInForce struct {
	Lane
	tenants, types []string // of each filter
	revision       uint64
	created        int64 // see Endpoint
}

func compileLane(key string, value []byte) (*laneInForce, error) {
	lane, err := decodeLane(key, value)
	if err != nil {
		return nil, err
	}
	l := &laneInForce{Lane: lane}
	for _, filter := range lane.Filters {
		tenant, eventType, more := strings.Cut(filter, ".")
		if !more { // ">" alone
			tenant, eventType = "*", ">"
		}
		l.tenants, l.types = append(l.tenants, tenant), append(l.types, eventType)
	}
	return l, nil
}

// has reports whether an event is the lane's.
func (l *laneInForce) has(tenant, eventType string, seq uint64) bool {
	if seq < l.From || l.Until > 0 && seq > l.Until {
		return false
	}
	for i, t := range l.tenants {
		if (t == "*" || t == tenant) && matches(l.types[i], eventType) {
			return true
		}
	}
	return false
}

// replaceLane puts l, or nothing if l is nil, in the place of a key's lane. What
// LaneOf reads is made anew and never changed.
func (r *Registry) replaceLane(key string, l *laneInForce) {
	if l == nil && r.laneByKey[key] == nil {
		return
	}
	if l == nil {
		delete(r.laneByKey, key)
	} else {
		r.laneByKey[key] = l
	}
	lanes := make([]*laneInForce, 0, len(r.laneByKey))
	for _, k := range slices.Sorted(maps.Keys(r.laneByKey)) {
		lanes = append(lanes, r.laneByKey[k])
	}
	r.lanes.Store(&lanes)
}

func (r *Registry) allLanes() []*laneInForce {
	if lanes := r.lanes.Load(); lanes != nil {
		return *lanes
	}
	return nil
}

// Lanes returns the lanes sorted by id, also those that are being removed. The
// default lane is not among them.
func (r *Registry) Lanes() []Lane {
	var lanes []Lane
	for _, l := range r.allLanes() {
		lanes = append(lanes, l.Lane)
	}
	return lanes
}

// LaneOf returns the lane that an event belongs to, by its sequence in the
// stream of events: the first by id that has a filter which matches it and was
// in force when it was published; else the default lane.
func (r *Registry) LaneOf(tenant, eventType string, seq uint64) string {
	for _, l := range r.allLanes() {
		if l.has(tenant, eventType, seq) {
			return l.ID
		}
	}
	return DefaultLane
}

// HasLane reports whether deliveries can be given to a lane: the default one, or
// one that is there and is not being removed.
func (r *Registry) HasLane(id string) bool {
	return id == DefaultLane || slices.ContainsFunc(r.allLanes(), func(l *laneInForce) bool { return l.ID == id && l.Until == 0 })
}
