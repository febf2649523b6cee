package fleet

// ranking is the live replicas as rendezvous hashing needs them. It does not
// change once it is made.
type ranking struct {
	self   uint64
	hashes []uint64            // of all IDs, that of this replica included
	lanes  map[string][]uint64 // of those that serve the lane, for each that one names
	others []uint64            // of those that serve the lanes that none names
}

func rankingOf(members []Member, self string) *ranking {
	r := &ranking{self: hash(self), hashes: make([]uint64, len(members)), lanes: make(map[string][]uint64)}
	for i, m := range members {
		r.hashes[i] = hash(m.ID)
		for _, lane := range m.Lanes {
			r.lanes[lane] = nil
		}
	}
	for lane := range r.lanes {
		r.lanes[lane] = serving(members, lane)
	}
	// No lane is named "": what is left are those that serve every lane.
	if r.others = serving(members, ""); len(r.others) == 0 {
		r.others = r.hashes
	}
	return r
}

// serving returns those that serve a lane, and of them those that have the master
// keys if any has: the others would keep what is theirs from being delivered.
func serving(members []Member, lane string) []uint64 {
	var all, keyed []uint64
	for _, m := range members {
		if !m.Serves(lane) {
			continue
		}
		all = append(all, hash(m.ID))
		if !m.Keyless {
			keyed = append(keyed, hash(m.ID))
		}
	}
	if len(keyed) > 0 {
		return keyed
	}
	return all
}

// of returns those that share what belongs to a lane.
func (r *ranking) of(lane string) []uint64 {
	if hashes, named := r.lanes[lane]; named {
		return hashes
	}
	return r.others
}

// rank counts those that score higher for the key, and all of them when this
// replica is not one. A score depends on the key and one replica alone, so that
// the order of the others stays when one dies.
func (r *ranking) rank(hashes []uint64, key string) int {
	k := hash(key)
	own := mix(k ^ r.self)
	higher, among := 0, false
	for _, h := range hashes {
		among = among || h == r.self
		if mix(k^h) > own {
			higher++
		}
	}
	if !among {
		return len(hashes)
	}
	return higher
}

// hash is 64-bit FNV-1a: short, without allocation, and the same in every
// replica, which the hash of a map is not. Two of some thousand IDs meet once
// in a hundred thousand million fleets; then both would think that they own
// the same keys, which costs work and breaks nothing.
func hash(s string) uint64 {
	h := uint64(14695981039346656037)
	for i := range len(s) {
		h = (h ^ uint64(s[i])) * 1099511628211
	}
	return h
}

// mix spreads each bit over all (the finalizer of SplitMix64), because FNV
// leaves keys that end alike close together. No two numbers give the same.
func mix(x uint64) uint64 {
	x = (x ^ x>>30) * 0xbf58476d1ce4e5b9
	x = (x ^ x>>27) * 0x94d049bb133111eb
	return x ^ x>>31
}
