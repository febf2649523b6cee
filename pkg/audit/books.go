package audit

import (
	"cmp"
	"context"
	"math"
	"slices"
	"strings"
	"time"

	"jethook/pkg/attempt"
	"jethook/pkg/delivery"
	"jethook/streams"
)

// books are what is known of the deliveries of a span of events so far.
type books struct {
	*Auditor
	first, last  uint64 // of the events
	since, until time.Time
	notes        []string // why not all that was asked for is in them

	ledger     uint64            // up to where it was read
	matches    map[uint64]int    // how often an event was matched
	deliveries map[key]*entry    // nil for one that was delivered
	endpoints  map[string]string // their names, each kept once
	removals   []removal
	left       int      // how many bytes of bodies may still be read; below 0 not all was
	unburied   bool     // dead letters are taken to be where the ledger says
	lost       []uint64 // events that nobody matched, and nobody will
	unread     int      // events that nobody matched yet
	handed     int      // those of them that somebody was given
}

// key names a delivery.
type key struct {
	event    uint64
	endpoint string // TENANT/ENDPOINT
}

// entry is a delivery that is not known to be delivered, or not to be any event's.
type entry struct {
	eventID string
	ordered bool
	// match is the last of the event's matches that named the endpoint. Where it is
	// not the last there was, a replica died over the event, and it is not for this
	// endpoint any more unless that was stored before. With 0 the line that names it
	// is still to come, or it was sent from the history to whom it was not for.
	match  int
	state  State     // empty: nowhere
	last   time.Time // when the last line about it was stored
	looked uint64    // up to where it was looked for in the stream of deliveries
	place  place     // where it was found there
	died   time.Time // when the last line was stored that says that it is a dead letter
	letter uint64    // that dead letter, where it was looked for and found
}

// removal is what an operator removed.
type removal struct {
	endpoint string // TENANT/ENDPOINT; empty is all
	letters  bool   // dead letters, and not what waits
	until    time.Time
}

// covers reports whether a delivery was removed: later than the last that is known
// of it.
func (r removal) covers(k key, it *entry) bool {
	return (r.endpoint == "" || r.endpoint == k.endpoint) && !it.last.After(r.until) &&
		(!r.letters || it.last.Equal(it.died))
}

// removing is for how long what an operator removes may go on to come, and to be
// removed, after it was said.
const removing = 30 * time.Second

// skew is by how much the clocks of the servers that store streams may differ.
const skew = 5 * time.Second

func (a *Auditor) newBooks(first, last uint64, since time.Time) *books {
	return &books{Auditor: a, first: first, last: last, since: since, left: math.MaxInt,
		matches: make(map[uint64]int), deliveries: make(map[key]*entry), endpoints: make(map[string]string)}
}

// read reads what the ledger says that was not read before.
func (b *books) read(ctx context.Context) error {
	read := streams.Read{Stream: b.names.Attempts(), Filter: b.names.Ledger("*"), Since: b.since.Add(-b.skew)}
	if b.ledger > 0 {
		read.First = b.ledger + 1
	}
	for m, err := range read.All(ctx, b.js) {
		if err != nil {
			return err
		}
		b.ledger = m.Seq
		for e := range b.log.Entries(m) {
			b.enter(&e)
		}
	}
	return nil
}

// enter takes a line of the ledger into the books.
func (b *books) enter(l *attempt.Entry) {
	name := b.name(l.Tenant, l.Endpoint)
	switch {
	case l.Discarded:
		b.removals = append(b.removals, removal{name, l.Letters, l.Stored.Add(removing)})
	case l.EventSeq < b.first || l.EventSeq > b.last:
	case l.Endpoint == "":
		b.match(l)
	default:
		b.attempted(l, key{l.EventSeq, name})
	}
}

// name returns TENANT/ENDPOINT, the same text for the same: there are millions of
// deliveries to some endpoints.
func (b *books) name(tenant, endpoint string) string {
	name := tenant + "/" + endpoint
	if known, ok := b.endpoints[name]; ok {
		return known
	}
	b.endpoints[name] = name
	return name
}

// match enters for whom an event is. It is matched anew when a replica died over it,
// and then those only that are named now still have it to get.
func (b *books) match(l *attempt.Entry) {
	if !l.More {
		b.matches[l.EventSeq]++
	}
	for i, ids := range [][]string{l.Matched, l.Ordered} {
		for _, id := range ids {
			k := key{l.EventSeq, b.name(l.Tenant, id)}
			it := b.entry(k)
			if it == nil {
				continue
			}
			it.eventID, it.ordered, it.match, it.last = l.EventID, i == 1, max(b.matches[l.EventSeq], 1), l.Stored
			if it.state == Delivered { // the line about the match came late
				b.deliveries[k] = nil
			}
		}
	}
}

// attempted enters what came of an attempt.
func (b *books) attempted(l *attempt.Entry, k key) {
	it := b.entry(k)
	if it == nil {
		return
	}
	it.eventID, it.last = l.EventID, l.Stored
	switch {
	case l.Outcome == delivery.Delivered && it.match > 0:
		b.deliveries[k] = nil
	case l.Outcome == delivery.Delivered:
		it.state = Delivered
	case l.Dead != "" && it.state != Delivered:
		it.state, it.died, it.letter = Dead, l.Stored, 0
	}
}

// entry returns what is known of a delivery, and nil of one that was delivered.
func (b *books) entry(k key) *entry {
	it, known := b.deliveries[k]
	if !known {
		it = &entry{}
		b.deliveries[k] = it
	}
	return it
}

// say notes something once.
func (b *books) say(note string) {
	if !slices.Contains(b.notes, note) {
		b.notes = append(b.notes, note)
	}
}

func (b *books) report() Report {
	r := Report{Since: b.since, Until: b.until, Note: strings.Join(b.notes, "; "), Events: len(b.matches), Unread: b.unread, Unaccounted: len(b.lost)}
	for _, seq := range b.lost {
		r.Differences = append(r.Differences, Difference{EventSeq: seq})
	}
	for k, it := range b.deliveries {
		if it != nil && it.match == 0 {
			continue
		}
		r.Matched++
		switch {
		case it == nil:
			r.Delivered++
		case it.state == Waiting:
			r.Waiting++
		case it.state == Held:
			r.Held++
		case it.state == Dead:
			r.Dead++
		case it.state == Discarded:
			r.Discarded++
		default:
			r.Unaccounted++
			r.Differences = append(r.Differences, Difference{k.event, it.eventID, k.endpoint})
		}
	}
	slices.SortFunc(r.Differences, func(a, b Difference) int {
		return cmp.Or(cmp.Compare(a.EventSeq, b.EventSeq), cmp.Compare(a.Endpoint, b.Endpoint))
	})
	r.Differences = r.Differences[:min(len(r.Differences), mostDifferences)]
	return r
}
