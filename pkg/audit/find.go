package audit

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"math"
	"slices"
	"strings"

	"github.com/nats-io/nats.go/jetstream"

	"jethook/streams"
)

// find looks for what the ledger does not say where it is.
func (b *books) find(ctx context.Context) error {
	// First, so that what is acked by now is in the ledger when that is read again.
	h, err := b.hands(ctx)
	if err != nil {
		return err
	}
	// What is replayed is stored as a delivery before its letter goes.
	if err := b.exhume(ctx); err != nil {
		return err
	}
	if err := b.look(ctx); err != nil {
		return err
	}
	if err := b.divide(ctx, &h); err != nil {
		return err
	}
	for k := range b.nowhere() {
		b.conclude(k, &h)
	}
	if b.left < 0 {
		for _, it := range b.nowhere() {
			it.state = Waiting
			b.say(tooMuch)
		}
	}
	b.lost, b.unread, b.handed = b.lost[:0], 0, 0
	for seq := b.first; seq <= b.last; seq++ {
		switch {
		case b.matches[seq] > 0:
		case h.have(seq):
			b.unread++
			if h.had(seq) {
				b.handed++
			}
		default:
			b.lost = append(b.lost, seq)
		}
	}
	return b.forgetDeleted(ctx)
}

const tooMuch = "so much waits or is held that not all of it was looked at: what was not found counts as waiting"

// conclude says what became of a delivery that lies nowhere, where what is acked and
// what operators removed tells.
func (b *books) conclude(k key, h *hands) {
	it := b.deliveries[k]
	floor, inOrder := h.ordered[k.endpoint]
	inOrder = inOrder && it.ordered
	switch died := !it.died.IsZero(); { // what comes of a dead letter is no event's to ack
	case !died && inOrder && k.event <= floor:
		b.deliveries[k] = nil // and not dead
	case !died && (inOrder || h.have(k.event)):
		it.state = Waiting // in hand, or about to be
	case slices.ContainsFunc(b.removals, func(r removal) bool { return r.covers(k, it) }):
		it.state = Discarded
	case it.match < b.matches[k.event]:
		delete(b.deliveries, k) // the event is not for this one any more
	}
}

// nowhere returns the deliveries that have not been found yet.
func (b *books) nowhere() map[key]*entry {
	missing := make(map[key]*entry)
	for k, it := range b.deliveries {
		if it != nil && it.match > 0 && it.state == "" {
			missing[k] = it
		}
	}
	return missing
}

// fewEndpoints is for up to how many endpoints those subjects only are looked
// through that are theirs.
const fewEndpoints = 8

// look looks in the stream of deliveries for what is missing. All that lies there of
// these events was stored after them. What moves is stored anew, behind all that was
// looked at: so what was looked for before can lie there only.
func (b *books) look(ctx context.Context) error {
	missing := b.nowhere()
	if len(missing) == 0 || b.left < 0 {
		return nil
	}
	stream, err := b.js.Stream(ctx, b.names.Deliveries())
	if err != nil {
		return fmt.Errorf("look up stream %s: %w", b.names.Deliveries(), err)
	}
	read := streams.Read{Last: stream.CachedInfo().State.LastSeq, First: math.MaxUint64}
	for _, it := range missing {
		read.First = min(read.First, it.looked+1)
	}
	if read.First == 1 && !b.since.IsZero() {
		read.First, read.Since = 0, b.since.Add(-b.skew)
	}
	for _, read.Filter = range b.subjects(missing) {
		for p, err := range b.places(ctx, read) {
			if err != nil {
				return err
			}
			k := key{p.eventSeq, p.tenant + "/" + p.endpoint}
			if it := missing[k]; it != nil {
				it.state, it.place = p.state, p
				delete(missing, k)
			}
			if b.left -= p.bytes; len(missing) == 0 || b.left < 0 {
				return nil
			}
		}
	}
	for _, it := range missing {
		it.looked = read.Last
	}
	return nil
}

// subjects are those under which deliveries may lie.
func (b *books) subjects(of map[key]*entry) []string {
	few := endpoints(of)
	if len(few) > fewEndpoints {
		return []string{">"}
	}
	n := b.names
	var all []string
	for _, name := range few {
		tenant, endpoint, _ := strings.Cut(name, "/")
		scheduled := n.Scheduled(tenant, endpoint, "*", "*")
		if len(of) == 1 {
			for _, it := range of {
				scheduled = n.Scheduled(tenant, endpoint, it.eventID, "*")
			}
		}
		all = append(all, scheduled, n.Delivery("*", tenant, endpoint), n.Held(tenant, endpoint, "*"))
	}
	return all
}

// endpoints returns whose deliveries these are, in order.
func endpoints(of map[key]*entry) []string {
	names := make(map[string]bool)
	for k := range of {
		names[k.endpoint] = true
	}
	return slices.Sorted(maps.Keys(names))
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
