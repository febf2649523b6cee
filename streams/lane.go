package streams

import (
	"slices"
	"strings"

	"github.com/nats-io/nats.go/jetstream"
)

// Lane returns the topology of a lane other than the default one: its two
// consumers, on streams that are there already. The first reads the events that
// the filters match, patterns over TENANT.TYPE, from a sequence on; there is
// none without filters. The second reads the lane's deliveries. What makes them
// other than the default lane's consumers is nothing else.
func (t Topology) Lane(id string, filters []string, from uint64) Topology {
	var lane Topology
	for _, c := range t.Consumers {
		switch c.Config.Durable {
		case Fanout:
			if len(filters) == 0 {
				continue
			}
			prefix := strings.TrimSuffix(c.Config.FilterSubject, ">")
			c.Config.FilterSubject = ""
			for _, f := range broadest(filters) {
				c.Config.FilterSubjects = append(c.Config.FilterSubjects, prefix+f)
			}
			c.Config.DeliverPolicy, c.Config.OptStartSeq = jetstream.DeliverByStartSequencePolicy, max(from, 1)
		case Deliver:
			c.Config.FilterSubject = strings.Replace(c.Config.FilterSubject, "."+DefaultLane+".", "."+id+".", 1)
		}
		c.Config.Durable = ofLane(c.Config.Durable, id)
		c.Config.Name = c.Config.Durable
		lane.Consumers = append(lane.Consumers, c)
	}
	return lane
}

// broadest leaves out the filters that another one covers: the server refuses
// them beside it.
func broadest(filters []string) []string {
	filters = slices.Compact(slices.Sorted(slices.Values(filters)))
	return slices.DeleteFunc(slices.Clone(filters), func(f string) bool {
		return slices.ContainsFunc(filters, func(other string) bool { return other != f && covers(other, f) })
	})
}

// Crossing reports whether some subjects match both patterns while neither
// pattern covers the other, as a.*.x and a.b.* do. A consumer with both as its
// filters gets each message once, but the server counts some of them twice among
// those that are pending.
func Crossing(a, b string) bool {
	return !covers(a, b) && !covers(b, a) && meet(strings.Split(a, "."), strings.Split(b, "."))
}

// meet reports whether a subject matches both patterns.
func meet(a, b []string) bool {
	for i := range min(len(a), len(b)) {
		switch {
		case a[i] == ">" || b[i] == ">":
			return true
		case a[i] != b[i] && a[i] != "*" && b[i] != "*":
			return false
		}
	}
	return len(a) == len(b)
}

// readsEvents reports whether a durable is the fanout of a lane.
func readsEvents(durable string) bool {
	return durable == Fanout || strings.HasPrefix(durable, Fanout+"_")
}
