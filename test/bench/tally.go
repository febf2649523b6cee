package main

import (
	"maps"
	"math"
	"time"
)

// The bounds of what a tally takes: half a MiB of bits for the events that it
// tells apart, and two hours of buckets.
const (
	maxSerial  = 4_000_000
	bucket     = 100 * time.Millisecond
	maxBuckets = int(2 * time.Hour / bucket)
)

// tally is what an endpoint has counted, within bounds however many come.
type tally struct {
	epoch         time.Time
	requests      int64
	answered      map[int]int64 // by status; 0: not at all
	distinct      int64         // events with a 2xx answer
	seen          []uint64      // bits, by serial number
	first, last   time.Time     // requests
	delivered     time.Time     // the last event that was new
	latency       [2600]int32   // of 2xx answers, from publishing to the request; see cell
	mostInFlight  int
	mostInASecond int
	second        second
	buckets       []int32 // requests
}

func (t *tally) begin(now time.Time, inFlight int) {
	t.requests++
	if t.first.IsZero() {
		t.first = now
	}
	t.last = now
	t.mostInFlight = max(t.mostInFlight, inFlight)
	t.mostInASecond = max(t.mostInASecond, t.second.count(now.Sub(t.epoch)))
	i := int(now.Sub(t.epoch) / bucket)
	if i < 0 || i >= maxBuckets {
		return
	}
	for len(t.buckets) <= i {
		t.buckets = append(t.buckets, 0)
	}
	t.buckets[i]++
}

func (t *tally) end(began time.Time, status int, head []byte) {
	if t.answered == nil {
		t.answered = map[int]int64{}
	}
	t.answered[status]++
	at, serial, ok := published(head)
	if status < 200 || status > 299 || !ok {
		return
	}
	t.latency[cell(began.Sub(at))]++
	if serial < 0 || serial >= maxSerial {
		return
	}
	word, bit := serial/64, uint64(1)<<(serial%64)
	for len(t.seen) <= word {
		t.seen = append(t.seen, 0)
	}
	if t.seen[word]&bit == 0 {
		t.seen[word] |= bit
		t.distinct++
		t.delivered = began
	}
}

// add adds what another tally of the same epoch counted. Two endpoints' events
// are never the same.
func (t *tally) add(o *tally) {
	if t.answered == nil {
		t.answered = map[int]int64{}
	}
	t.epoch = o.epoch
	t.requests += o.requests
	t.distinct += o.distinct
	for status := range maps.Keys(o.answered) {
		t.answered[status] += o.answered[status]
	}
	if t.first.IsZero() || !o.first.IsZero() && o.first.Before(t.first) {
		t.first = o.first
	}
	t.last, t.delivered = later(t.last, o.last), later(t.delivered, o.delivered)
	for i, n := range o.latency {
		t.latency[i] += n
	}
	t.mostInFlight = max(t.mostInFlight, o.mostInFlight)
	t.mostInASecond = max(t.mostInASecond, o.mostInASecond)
	for len(t.buckets) < len(o.buckets) {
		t.buckets = append(t.buckets, 0)
	}
	for i, n := range o.buckets {
		t.buckets[i] += n
	}
}

func later(a, b time.Time) time.Time {
	if a.Before(b) {
		return b
	}
	return a
}

// cells of a latency are 1% wide, and begin with a microsecond.
const cellWidth = 1.01

func cell(d time.Duration) int {
	i := int(math.Log(max(1, float64(d)/1000)) / math.Log(cellWidth))
	return min(i, len(tally{}.latency)-1)
}

// quantile returns the upper end of the cell in which a share of the latencies
// ends.
func (t *tally) quantile(share float64) time.Duration {
	var all int64
	for _, n := range t.latency {
		all += int64(n)
	}
	left := int64(share * float64(all))
	for i, n := range t.latency {
		if left -= int64(n); left < 0 {
			return time.Duration(1000 * math.Pow(cellWidth, float64(i+1)))
		}
	}
	return 0
}

// second counts what came within the last second, to the millisecond.
type second struct {
	cells [1001]int32 // so that two requests a second apart count as one second
	at    int64       // the newest cell's millisecond
	sum   int
}

// count adds one at a time since the epoch and returns how many the second
// that ends with it had.
func (s *second) count(since time.Duration) int {
	now := since.Milliseconds()
	for i := max(s.at+1, now-int64(len(s.cells))+1); i <= now; i++ {
		s.sum -= int(s.cells[i%int64(len(s.cells))])
		s.cells[i%int64(len(s.cells))] = 0
	}
	s.at = max(s.at, now) // requests may come here a little out of order
	s.cells[s.at%int64(len(s.cells))]++
	s.sum++
	return s.sum
}
