package hold

import (
	"cmp"
	"container/heap"
	"context"
	"time"

	"jethook/streams"
)

// Late finds the late deliveries of one endpoint whose time runs out first: they
// do not lie in that order. It is for one caller at a time. It remembers 40
// bytes for each that it ever saw and that was not popped, so it is to be
// dropped when the endpoint's deliveries are fed back.
type Late struct {
	store            *Store
	tenant, endpoint string
	next             uint64 // where Refresh goes on
	by               any
	end              func(first, since, made time.Time) time.Time
	heap             lateHeap
}

// late is one of them, in a form that is small. Times are Unix nanoseconds; all are
// 0 of what cannot be read, so that it comes before all others and somebody looks.
type late struct {
	seq                     uint64
	first, since, made, end int64
}

const lateBatch = 500

// Late returns a view of an endpoint's late deliveries that knows none before
// its first Refresh, and has no order before the first Order.
func (s *Store) Late(tenant, endpoint string) *Late {
	return &Late{store: s, tenant: tenant, endpoint: endpoint, next: 1}
}

// Order says when the time of a delivery ends that was first attempted or held, and
// whose round began, and whose endpoint was made, then; that is zero where it is not
// known. What it says must be the same as long as by is.
func (l *Late) Order(by any, end func(first, since, made time.Time) time.Time) {
	if l.end != nil && l.by == by {
		return
	}
	l.by, l.end = by, end
	for i := range l.heap {
		l.heap[i].ends(end)
	}
	heap.Init(&l.heap)
}

// Refresh learns of those that were held since the last Refresh. After an error
// it goes on where it was.
func (l *Late) Refresh(ctx context.Context) error {
	for {
		batch, err := l.store.Batch(ctx, l.tenant, l.endpoint, streams.HeldLate, l.next, lateBatch)
		if err != nil || len(batch) == 0 {
			return err
		}
		for i := range batch {
			e := entry(&batch[i])
			e.ends(l.end)
			heap.Push(&l.heap, e)
			l.next = batch[i].Seq + 1
		}
	}
}

// entry returns what is remembered of a delivery.
func entry(m *Stored) late {
	if m.Err != nil {
		return late{seq: m.Seq}
	}
	state := &m.Delivery.State
	first := state.First
	if first.IsZero() {
		first = m.Time // it was held then at the latest
	}
	e := late{seq: m.Seq, first: first.UnixNano(), since: state.Since.UnixNano()}
	if !state.EndpointMade.IsZero() {
		e.made = state.EndpointMade.UnixNano()
	}
	return e
}

func (e *late) ends(end func(first, since, made time.Time) time.Time) {
	if e.first == 0 || end == nil {
		return
	}
	var made time.Time
	if e.made != 0 {
		made = time.Unix(0, e.made)
	}
	e.end = 0 // over long ago, before any time that a Unix one can be
	if at := end(time.Unix(0, e.first), time.Unix(0, e.since), made); !at.IsZero() {
		e.end = at.UnixNano()
	}
}

// Next returns which of them has its time end before all others, and when that is;
// ok is false when there is none. It may be gone by now: Get tells.
func (l *Late) Next() (seq uint64, end time.Time, ok bool) {
	if len(l.heap) == 0 {
		return 0, time.Time{}, false
	}
	return l.heap[0].seq, time.Unix(0, l.heap[0].end), true
}

// Pop forgets the one that Next returns.
func (l *Late) Pop() {
	if len(l.heap) > 0 {
		heap.Pop(&l.heap)
	}
}

type lateHeap []late

func (h lateHeap) Len() int { return len(h) }
func (h lateHeap) Less(i, j int) bool {
	return cmp.Or(cmp.Compare(h[i].end, h[j].end), cmp.Compare(h[i].seq, h[j].seq)) < 0
}
func (h lateHeap) Swap(i, j int) { h[i], h[j] = h[j], h[i] }
func (h *lateHeap) Push(x any)   { *h = append(*h, x.(late)) }
func (h *lateHeap) Pop() any {
	last := len(*h) - 1
	x := (*h)[last]
	*h = (*h)[:last]
	return x
}
