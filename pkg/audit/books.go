package audit

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/nats-io/nats.go/jetstream"

	"jethook/pkg/attempt"
	"jethook/pkg/delivery"
	"jethook/streams"
)

// books are what is known of a window's deliveries so far.
type books struct {
	*Auditor
	first, last  uint64 // of the events
	since, until time.Time
	note         string

	ledger   uint64         // up to where it was read
	seen     map[uint64]int // events, by how many deliveries they have
	open     map[key]*entry // deliveries that are neither delivered nor discarded
	early    map[key]State  // deliveries that were settled before their event was matched
	discards map[string]time.Time
	settled  int      // delivered
	lost     []uint64 // events that nobody matched, and nobody will
	unread   int      // events that nobody matched yet
}

// key names a delivery.
type key struct {
	event    uint64
	endpoint string // TENANT/ENDPOINT
}

// entry is a delivery that is not known to be delivered.
type entry struct {
	eventID    string
	ordered    bool
	superseded bool // the event was matched again, and is not for this one any more
	state      State
}

// reach finds out whether the ledger reaches back far enough.
func (b *books) reach(ctx context.Context) error {
	b.seen = make(map[uint64]int)
	stream, err := b.js.Stream(ctx, b.names.Attempts())
	if err != nil {
		return fmt.Errorf("look up stream %s: %w: without the attempt log nothing can be audited", b.names.Attempts(), err)
	}
	state := stream.CachedInfo().State
	if state.Msgs == 0 {
		b.note = "the attempt log is empty: JETHOOK_ATTEMPT_LOG may be off"
	}
	if state.FirstSeq <= 1 || !state.FirstTime.After(b.since) {
		return nil
	}
	from, err := b.firstSince(ctx, state.FirstTime)
	if err != nil {
		return err
	}
	if from == 0 || from > b.last {
		return fmt.Errorf("the attempt log reaches back to %s only: raise max_bytes of stream %s to keep more, or audit what came later",
			state.FirstTime.Format(time.RFC3339), b.names.Attempts())
	}
	b.first, b.since = from, state.FirstTime
	b.note = fmt.Sprintf("the attempt log reaches back to %s only", state.FirstTime.Format(time.RFC3339))
	return nil
}

// read reads what the ledger says that was not read before.
func (b *books) read(ctx context.Context) error {
	read := streams.Read{Stream: b.names.Attempts(), Filter: b.names.Ledger("*"), Since: b.since}
	if b.ledger > 0 {
		read.First, read.Since = b.ledger+1, time.Time{}
	}
	for m, err := range read.All(ctx, b.js) {
		if err != nil {
			return err
		}
		b.ledger = m.Seq
		for e, err := range attempt.Entries(m) {
			if err != nil {
				return err
			}
			b.enter(&e)
		}
	}
	return nil
}

// enter takes a line of the ledger into the books.
func (b *books) enter(e *attempt.Entry) {
	name := e.Tenant + "/" + e.Endpoint
	if e.Discarded {
		b.discards[name] = later(b.discards[name], e.At)
		return
	}
	if e.EventSeq < b.first || e.EventSeq > b.last {
		return
	}
	k := key{e.EventSeq, name}
	switch {
	case e.Endpoint == "":
		b.match(e)
	case e.Outcome == delivery.Delivered:
		b.settle(k, Delivered)
	case e.Dead != "":
		b.settle(k, Dead)
	}
}

// settle enters what became of a delivery. The event may be matched later only: when
// its delivery was stored, and whoever stored it died before the line about that.
func (b *books) settle(k key, s State) {
	it, open := b.open[k]
	_, known := b.seen[k.event]
	switch {
	case open && s == Delivered:
		delete(b.open, k)
		b.settled++
	case open:
		it.state = s
	case !known && b.early[k] != Delivered:
		b.early[k] = s
	}
}

// match enters for whom an event is. It is read anew when a replica died over it,
// and then only what it is for now counts, beside what was stored before.
func (b *books) match(e *attempt.Entry) {
	if _, known := b.seen[e.EventSeq]; known && !e.More {
		for k, it := range b.open {
			if k.event == e.EventSeq && !slices.Contains(e.Matched, k.endpoint[len(e.Tenant)+1:]) {
				it.superseded = true
			}
		}
		return
	}
	b.seen[e.EventSeq] += len(e.Matched) + len(e.Ordered)
	for i, names := range [][]string{e.Matched, e.Ordered} {
		for _, id := range names {
			k := key{e.EventSeq, e.Tenant + "/" + id}
			b.open[k] = &entry{eventID: e.EventID, ordered: i == 1}
			if s, early := b.early[k]; early {
				delete(b.early, k)
				b.settle(k, s)
			}
		}
	}
}

// find looks for what the ledger does not say where it is.
func (b *books) find(ctx context.Context) error {
	// First, so that what is acked by now is in the ledger when that is read again.
	least, ordered, err := b.floors(ctx)
	if err != nil {
		return err
	}
	if b.nowhere() > 0 {
		for _, it := range b.open {
			if it.state == Waiting || it.state == Held {
				it.state = ""
			}
		}
		for _, subject := range b.all() {
			for p, err := range b.places(ctx, subject) {
				if err != nil {
					return err
				}
				if it, open := b.open[key{p.eventSeq, p.tenant + "/" + p.endpoint}]; open {
					it.state = p.state // also of a dead one that is being replayed
				}
			}
		}
	}
	for k, it := range b.open {
		switch {
		case it.state != "":
		case it.ordered && k.event <= ordered[k.endpoint]:
			delete(b.open, k) // acked, and not dead
			b.settled++
		case it.ordered && ordered[k.endpoint] > 0, k.event > least:
			it.state = Waiting // in hand, or about to be
		case !b.discards[k.endpoint].IsZero():
			it.state = Discarded
		case it.superseded:
			delete(b.open, k)
			b.seen[k.event]--
		}
	}
	b.lost, b.unread = b.lost[:0], 0
	for seq := b.first; seq <= b.last; seq++ {
		switch _, known := b.seen[seq]; {
		case known:
		case seq > least:
			b.unread++
		default:
			b.lost = append(b.lost, seq)
		}
	}
	return b.forgetDeleted(ctx)
}

// forgetDeleted drops events that nobody matched because they are not there: an
// operator deleted them.
func (b *books) forgetDeleted(ctx context.Context) error {
	const some = 1000 // a difference as large is one, whatever was deleted
	if len(b.lost) == 0 || len(b.lost) > some {
		return nil
	}
	stream, err := b.js.Stream(ctx, b.names.Events())
	if err != nil {
		return fmt.Errorf("look up stream %s: %w", b.names.Events(), err)
	}
	b.lost = slices.DeleteFunc(b.lost, func(seq uint64) bool {
		_, err := stream.GetMsg(ctx, seq)
		return errors.Is(err, jetstream.ErrMsgNotFound)
	})
	return nil
}

// nowhere returns how many deliveries and events have not been found yet.
func (b *books) nowhere() int {
	n := len(b.lost)
	for _, it := range b.open {
		if it.state == "" {
			n++
		}
	}
	return n
}

func (b *books) report() Report {
	r := Report{Since: b.since, Until: b.until, Delivered: b.settled, Note: b.note,
		Events: len(b.seen), Unread: b.unread, Unaccounted: len(b.lost)}
	for _, n := range b.seen {
		r.Matched += n
	}
	for _, seq := range b.lost {
		r.Differences = append(r.Differences, Difference{EventSeq: seq})
	}
	for k, it := range b.open {
		switch it.state {
		case Waiting:
			r.Waiting++
		case Held:
			r.Held++
		case Dead:
			r.Dead++
		case Discarded:
			r.Discarded++
		default:
			r.Unaccounted++
			r.Differences = append(r.Differences, Difference{k.event, it.eventID, k.endpoint})
		}
	}
	slices.SortFunc(r.Differences, func(a, b Difference) int { return cmp.Compare(a.EventSeq, b.EventSeq) })
	r.Differences = r.Differences[:min(len(r.Differences), mostDifferences)]
	return r
}
