package audit

import (
	"context"
	"fmt"
	"strings"

	"github.com/nats-io/nats.go/jetstream"

	"jethook/streams"
)

// hands are which events are with the consumers of events: not acked, or not handed
// out yet.
type hands struct {
	fanout  hand              // the default lane's, which has every event
	lanes   []hand            // those of the other lanes
	laned   map[uint64]hand   // of what the default lane passed: what a lane has still to have
	ordered map[string]uint64 // up to where each ordered endpoint has had all
}

// hand is how far a consumer has come.
type hand struct {
	filters []string
	floor   uint64 // up to there it has nothing left
	handed  uint64 // up to there it was handed out
}

// hands looks how far the consumers have come.
func (a *Auditor) hands(ctx context.Context) (hands, error) {
	stream, err := a.js.Stream(ctx, a.names.Events())
	if err != nil {
		return hands{}, fmt.Errorf("look up stream %s: %w", a.names.Events(), err)
	}
	last := stream.CachedInfo().State.LastSeq
	h := hands{fanout: hand{floor: last, handed: last}, laned: map[uint64]hand{}, ordered: map[string]uint64{}}
	list := stream.ListConsumers(ctx)
	for info := range list.Info() {
		if tenant, id, ok := streams.ParseOrdered(info.Name); ok {
			// What it wanted before has a consumer of its own, which comes first.
			name, floor := tenant+"/"+id, floorOf(info)
			if other, more := h.ordered[name]; more {
				floor = min(floor, other)
			}
			h.ordered[name] = floor
		} else if info.Name == streams.Fanout {
			h.fanout = handOf(info)
		} else if strings.HasPrefix(info.Name, streams.Fanout+"_") {
			h.lanes = append(h.lanes, handOf(info))
		}
	}
	if err := list.Err(); err != nil {
		return hands{}, fmt.Errorf("list the consumers of %s: %w", a.names.Events(), err)
	}
	return h, nil
}

func handOf(info *jetstream.ConsumerInfo) hand {
	filters := info.Config.FilterSubjects
	if f := info.Config.FilterSubject; f != "" {
		filters = []string{f}
	}
	return hand{filters, floorOf(info), info.Delivered.Stream}
}

// floorOf returns up to where a consumer has nothing left: all that it was to have
// where it waits for more.
func floorOf(info *jetstream.ConsumerInfo) uint64 {
	if info.NumPending == 0 && info.NumAckPending == 0 {
		return allOfIt
	}
	return max(info.AckFloor.Stream, max(info.Config.OptStartSeq, 1)-1)
}

// allOfIt is a floor that is above every sequence.
const allOfIt = 1 << 62

// least is up to where no consumer has anything left.
func (h *hands) least() uint64 {
	least := h.fanout.floor
	for _, l := range h.lanes {
		least = min(least, l.floor)
	}
	return least
}

// have reports whether an event is with a consumer.
func (h *hands) have(seq uint64) bool {
	_, laned := h.laned[seq]
	return laned || seq > h.fanout.floor
}

// had reports whether it was handed out.
func (h *hands) had(seq uint64) bool {
	if l, laned := h.laned[seq]; laned {
		return seq <= l.handed
	}
	return seq <= h.fanout.handed
}

// divide finds out which of the events that the default lane passed are those of a
// lane that has not, where that matters.
func (b *books) divide(ctx context.Context, h *hands) error {
	for _, l := range h.lanes {
		read := streams.Read{Stream: b.names.Events(), First: max(l.floor+1, b.first), Last: min(h.fanout.floor, b.last)}
		if !b.matters(read.First, read.Last) {
			continue
		}
		for _, read.Filter = range l.filters {
			for m, err := range read.All(ctx, b.js) {
				if err != nil {
					return err
				}
				h.laned[m.Seq] = l
				if b.left -= len(m.Data); b.left < 0 {
					h.fanout.floor = min(h.fanout.floor, m.Seq) // of what is behind it nothing is known
					b.say(tooMuch)
					break
				}
			}
		}
	}
	return nil
}

// matters reports whether of some events one was not matched, or has a delivery that
// is nowhere.
func (b *books) matters(first, last uint64) bool {
	for k := range b.nowhere() {
		if k.event >= first && k.event <= last {
			return true
		}
	}
	for seq := first; seq <= last; seq++ {
		if b.matches[seq] == 0 {
			return true
		}
	}
	return false
}
