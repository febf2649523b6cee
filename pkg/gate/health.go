package gate

import (
	"fmt"
	"math"
	"time"
)

const (
	// fatalStreak is how many failures in a row open a gate if nothing failed
	// before them. An endpoint that fails now and then needs longer ones, by
	// streakPerRatio for the share that failed: a streak that is mere chance
	// stays improbable.
	fatalStreak    = 5
	streakPerRatio = 20
	// rampStreak is how many open it again on the ramp, by the same rule: without
	// that, an endpoint that fails one in three would never get to its end.
	rampStreak = 3
	// Of the latest outcomes, this share opens a gate when so many are there.
	fatalPercent  = 60
	fatalOutcomes = 20

	window   = 30 * time.Second
	groups   = 10
	groupMax = 10 // outcomes
)

// health judges an endpoint by its latest outcomes. The zero value knows of
// none.
type health struct {
	streak int32   // failures since the last success
	before float32 // the share of failures before the streak
	now    uint8   // the group that is being filled
	// The latest outcomes, a hundred at most, in groups that are forgotten
	// whole: in a hundredth of the memory of the outcomes' times.
	latest [groups]group
}

// group is up to ten outcomes that lie within a tenth of the window.
type group struct {
	since         uint32 // when it began, in tenths of a second
	ended, failed uint8
}

func tenths(d time.Duration) uint32 { return uint32(d / (100 * time.Millisecond)) }

// judge notes an outcome and returns why the gate has to open, if it has to.
func (h *health) judge(v Vital, at instant, ramp bool) (why string) {
	if v.RetryAfter > 0 {
		return "asked to wait (Retry-After)"
	}
	if !v.Failed() {
		if v.Fault == Alive {
			h.streak = 0
			h.note(at, 0)
		}
		return ""
	}
	if h.streak == 0 {
		h.before = 0
		if ended, failed := h.sum(at); ended > 0 {
			h.before = float32(failed) / float32(ended)
		}
	}
	h.streak++
	h.note(at, 1)
	if h.streak >= h.fatal(ramp) {
		return fmt.Sprintf("%d failures in a row", h.streak)
	}
	if ended, failed := h.sum(at); ended >= fatalOutcomes && failed*100 >= ended*fatalPercent {
		return fmt.Sprintf("%d of the last %d attempts failed", failed, ended)
	}
	return ""
}

func (h *health) fatal(ramp bool) int32 {
	least := int32(fatalStreak)
	if ramp {
		least = rampStreak
	}
	return least + int32(math.Ceil(float64(streakPerRatio*h.before)))
}

func (h *health) note(at instant, failed uint8) {
	t := tenths(at)
	if g := h.latest[h.now]; g.ended == groupMax || t-g.since >= tenths(window)/groups {
		h.now = (h.now + 1) % groups
		h.latest[h.now] = group{since: t}
	}
	h.latest[h.now].ended++
	h.latest[h.now].failed += failed
}

// sum counts the outcomes that are remembered and not too old.
func (h *health) sum(at instant) (ended, failed int) {
	for _, g := range h.latest {
		if tenths(at)-g.since < tenths(window) {
			ended += int(g.ended)
			failed += int(g.failed)
		}
	}
	return ended, failed
}
