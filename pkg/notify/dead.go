package notify

import (
	"fmt"
	"maps"
	"slices"
	"time"

	"jethook/pkg/delivery"
	"jethook/streams"
)

// Deaths are dead letters of an endpoint, counted. The zero value is none.
type Deaths struct {
	Count   int                     `json:"count,omitempty"`
	Reasons map[delivery.Reason]int `json:"reasons,omitempty"`
	Last    []Death                 `json:"last,omitempty"` // at most MaxDeaths, the latest last
	// First names the first of them, and Since says when it was. With Count it is
	// what a word about them is known by: one that tells of more is another.
	First string    `json:"first,omitempty"`
	Since time.Time `json:"since,omitzero"`
}

// one returns a dead letter as what is counted.
func one(d Death) Deaths {
	return Deaths{Count: 1, Reasons: map[delivery.Reason]int{d.Reason: 1}, Last: []Death{d},
		First: d.EventID + " " + at(d.At), Since: d.At}
}

// and returns these dead letters and later ones. It changes neither.
func (d Deaths) and(more Deaths) Deaths {
	switch {
	case d.Count == 0:
		return more
	case more.Count == 0:
		return d
	}
	sum := Deaths{Count: d.Count + more.Count, Reasons: map[delivery.Reason]int{}, First: d.First, Since: d.Since}
	maps.Copy(sum.Reasons, d.Reasons)
	for reason, n := range more.Reasons {
		sum.Reasons[reason] += n
	}
	sum.Last = slices.Concat(d.Last, more.Last)
	sum.Last = sum.Last[max(0, len(sum.Last)-MaxDeaths):]
	return sum
}

// pendingDeaths are dead letters that are not told of yet, because others were
// just now.
type pendingDeaths struct {
	Deaths
	// Until is when the next word about them may be said.
	Until time.Time `json:"until,omitzero"`
}

// dead tells of dead letters: of the first at once, of those that follow together.
func (r *Record) dead(s Settings, f Facts) (words []Word, look time.Time) {
	r.Dead.Deaths = r.Dead.and(f.Deaths)
	if latest := f.Now.Add(s.Every).UTC(); r.Dead.Until.After(latest) {
		r.Dead.Until = latest // the clock of whoever said the last word is ahead
	}
	d := r.Dead
	switch {
	case d.Count == 0:
		return nil, time.Time{}
	case f.Now.Before(d.Until):
		return nil, d.Until
	}
	last := d.Last[len(d.Last)-1]
	r.Dead = pendingDeaths{Until: f.Now.Add(s.Every).UTC()}
	return []Word{{Type: streams.DeliveryDead, Endpoint: f.Name, URL: f.URL, At: f.Now.UTC(), Since: d.Since.UTC(),
		EventID: last.EventID, EventType: last.EventType, Reason: last.Reason, Attempts: last.Attempts, LastStatus: last.LastStatus,
		Count: d.Count, Reasons: d.Reasons, Events: d.Last, identity: fmt.Sprint(d.First, " ", d.Count)}}, time.Time{}
}
