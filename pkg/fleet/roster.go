package fleet

import (
	"slices"
	"time"
)

const (
	// deadAfter is the silence after which a replica is dead: three heartbeats
	// missed, and half of one for those that come late.
	deadAfter = 3500 * time.Millisecond
	// deafAfter is the silence of all replicas, this one included, after which
	// it is not they who are dead: nothing comes through.
	deafAfter = 1500 * time.Millisecond
)

// roster is who was heard of, and when, by the local clock: no two clocks are
// compared. It has no lock and does not ask for the time itself.
type roster struct {
	self    string
	members map[string]heard
	last    time.Time // when anything was heard at all
}

type heard struct {
	member Member
	at     time.Time
}

func newRoster(self Member, now time.Time) roster {
	return roster{self: self.ID, members: map[string]heard{self.ID: {member: self, at: now}}, last: now}
}

// hear takes in a heartbeat and reports whether it is that of a replica that
// was not alive before, or served other lanes: one that was killed and is
// started again under its name was never missed.
func (r *roster) hear(m Member, now time.Time) bool {
	r.awake(now)
	before, known := r.members[m.ID]
	r.members[m.ID] = heard{member: m, at: now}
	return !known || !slices.Equal(before.member.Lanes, m.Lanes)
}

// awake notes that something came through. After a time in which nothing did,
// the silence of the others begins anew: what they said was lost.
func (r *roster) awake(now time.Time) {
	if r.deaf(now) {
		for id, h := range r.members {
			h.at = now
			r.members[id] = h
		}
	}
	r.last = now
}

// deaf reports whether nothing has come through for so long that the silence
// of a single replica says nothing.
func (r *roster) deaf(now time.Time) bool { return now.Sub(r.last) > deafAfter }

// remove takes out a replica that left and reports whether it was there. This
// one never leaves, whoever removes its key.
func (r *roster) remove(id string, now time.Time) bool {
	r.awake(now)
	if _, known := r.members[id]; !known || id == r.self {
		return false
	}
	delete(r.members, id)
	return true
}

// sweep takes out those that were silent for too long and reports whether
// there were any.
func (r *roster) sweep(now time.Time) (changed bool) {
	if r.deaf(now) {
		return false
	}
	for id, h := range r.members {
		if id != r.self && now.Sub(h.at) > deadAfter {
			delete(r.members, id)
			changed = true
		}
	}
	return changed
}

func (r *roster) live() []Member {
	members := make([]Member, 0, len(r.members))
	for _, h := range r.members {
		members = append(members, h.member)
	}
	return members
}
