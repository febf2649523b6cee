package worker

import (
	"context"
	"fmt"
	"time"

	"github.com/nats-io/nats.go/jetstream"

	"jethook/pkg/endpoint"
	"jethook/streams"
)

const (
	// unservedFor is for how many looks in a row no replica served a lane before
	// the log tells: one that is restarted is back by then.
	unservedFor = 4
	// laneTime bounds how long it takes to make the consumers of such a lane.
	laneTime = 2 * time.Second
)

// everyLane returns all lanes that there are, whoever serves them.
func (f *figures) everyLane() []endpoint.Lane {
	return append(f.w.endpoints.Lanes(), endpoint.Lane{ID: streams.DefaultLane, Filters: []string{">"}})
}

// served tells how many live replicas serve each lane. Of one that none serves the
// log hears once, from one replica.
func (f *figures) served() {
	live, unserved := f.w.replicas.Live(), map[string]int{}
	for _, l := range f.everyLane() {
		n := 0
		for _, member := range live {
			if member.Serves(l.ID) {
				n++
			}
		}
		if f.w.serves(l.ID) {
			n = max(n, 1) // whatever it hears of itself
		}
		f.w.metrics.Lane(l.ID, n)
		unserved[l.ID] = 0
		if n > 0 {
			continue
		}
		unserved[l.ID] = f.unserved[l.ID] + 1
		if unserved[l.ID] == unservedFor && f.w.replicas.Rank("lane "+l.ID) == 0 {
			f.w.log.Warn().Str("lane", l.ID).Msg("no live replica serves this lane: what is in it waits")
		}
	}
	for name := range f.unserved {
		if _, there := unserved[name]; !there {
			f.w.metrics.NoLane(name)
			f.w.metrics.NoConsumer(streams.FanoutOf(name))
			f.w.metrics.NoConsumer(streams.DeliverOf(name))
		}
	}
	f.unserved = unserved
}

// consumers looks at the consumers of all lanes, tells how they are, and returns
// them by stream. One that is not there is left out: it is being made, its lane
// ends, or no replica ever served that. Then it is made here, so that what waits is
// counted.
func (f *figures) consumers(ctx context.Context) (byStream map[string][]*jetstream.ConsumerInfo, err error) {
	byStream = map[string][]*jetstream.ConsumerInfo{}
	for _, l := range f.everyLane() {
		durables := map[string]string{f.w.names.Deliveries(): streams.DeliverOf(l.ID)}
		if len(l.Filters) > 0 {
			durables[f.w.names.Events()] = streams.FanoutOf(l.ID)
		}
		missing := false
		for stream, durable := range durables {
			c, err := f.w.js.Consumer(ctx, stream, durable)
			if gone(err) {
				missing = true
				f.w.metrics.NoConsumer(durable)
				continue
			}
			if err != nil {
				return nil, fmt.Errorf("look up consumer %s: %w", durable, err)
			}
			info := c.CachedInfo()
			byStream[stream] = append(byStream[stream], info)
			f.w.metrics.Consumer(durable, info.NumPending, info.NumAckPending, info.Config.MaxAckPending)
		}
		if missing && f.unserved[l.ID] >= unservedFor && l.Until == 0 {
			ctx, cancel := context.WithTimeout(ctx, laneTime)
			f.w.makeLane(ctx, l.ID)
			cancel()
		}
	}
	return byStream, nil
}
