package hold

import (
	"cmp"
	"container/heap"
	"context"
	"time"

	"jethook/streams"
)

// Late finds the late deliveries of one endpoint whose time runs out first: they
// do not lie in that order. It is for one caller at a time. It remembers 24
// bytes for each that it ever saw and that was not popped, so it is to be
// dropped when the endpoint's deliveries are fed back.
type Late struct {
	store            *Store
	tenant, endpoint string
	next             uint64 // where Refresh goes on
	heap             lateHeap
}

// late is one of them, in a form that is small. Times are Unix nanoseconds.
type late struct {
	seq          uint64
	first, since int64
}

const lateBatch = 500

// Late returns a view of an endpoint's late deliveries that knows none before
// its first Refresh.
func (s *Store) Late(tenant, endpoint string) *Late {
	return &Late{store: s, tenant: tenant, endpoint: endpoint, next: 1}
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
			heap.Push(&l.heap, entry(&batch[i]))
			l.next = batch[i].Seq + 1
		}
	}
}

// entry returns what is remembered of a delivery. What cannot be read comes
// before all others, so that somebody looks at it.
func entry(m *Stored) late {
	if m.Err != nil {
		return late{seq: m.Seq}
	}
	state := &m.Delivery.State
	first := state.First
	if first.IsZero() {
		first = m.Time // it was held then at the latest
	}
	return late{m.Seq, first.UnixNano(), state.Since.UnixNano()}
}

// Next returns which of them was first attempted or held before all others, when
// that was, and since when its round is on; ok is false when there is none. It
// may be gone by now: Get tells.
func (l *Late) Next() (seq uint64, first, since time.Time, ok bool) {
	if len(l.heap) == 0 {
		return 0, time.Time{}, time.Time{}, false
	}
	head := l.heap[0]
	return head.seq, time.Unix(0, head.first), time.Unix(0, head.since), true
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
	return cmp.Or(cmp.Compare(h[i].first, h[j].first), cmp.Compare(h[i].seq, h[j].seq)) < 0
}
func (h lateHeap) Swap(i, j int) { h[i], h[j] = h[j], h[i] }
func (h *lateHeap) Push(x any)   { *h = append(*h, x.(late)) }
func (h *lateHeap) Pop() any {
	last := len(*h) - 1
	x := (*h)[last]
	*h = (*h)[:last]
	return x
}
