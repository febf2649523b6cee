package attempt

import (
	"bytes"
	"cmp"
	"slices"
	"strconv"
	"strings"
	"time"

	"jethook/streams"
)

// batch is what is stored together.
type batch struct {
	records []byte   // lines, in the order in which they came
	of      []record // whose each is
	sorted  []byte   // the same lines, those of an endpoint one after the other
	ledger  [parts][]byte
	lines   int
	bytes   int
	after   []func()  // called when it is stored
	since   time.Time // when the first of these began to wait
}

// record is a line of the records, by where it begins and ends.
type record struct {
	tenant, endpoint string
	from, to         int
}

// mostKept is how many bytes a buffer may have that is kept to be filled again.
const mostKept = 4 << 20

// reset empties a batch that was stored. Its buffers stay: to let them grow anew
// each time costs as much as to fill them.
func (b *batch) reset() {
	clear(b.of)     // or it would keep the events' subjects
	b.of = b.of[:0] // of 16 MiB of lines at the most, a tenth of what those have
	b.records, b.sorted = emptied(b.records), emptied(b.sorted)
	for i := range b.ledger {
		b.ledger[i] = emptied(b.ledger[i])
	}
	b.since, b.lines, b.bytes = time.Time{}, 0, 0
}

func emptied(buffer []byte) []byte {
	if cap(buffer) > mostKept {
		return nil
	}
	return buffer[:0]
}

// record adds the record of an attempt.
func (b *batch) record(m *Made, replica string) {
	before := len(b.records)
	b.records = appendRecord(b.records, m, replica)
	b.of = append(b.of, record{m.Delivery.Event.Tenant, m.Delivery.Endpoint, before, len(b.records)})
	b.bytes += len(b.records) - before
	b.lines++
}

func (b *batch) note(eventID string, line func([]byte) []byte) {
	part := &b.ledger[Part(eventID)]
	before := len(*part)
	*part = line(*part)
	b.bytes += len(*part) - before
	b.lines++
}

// message is one message of a batch.
type message struct {
	subject string
	data    []byte
}

// messages returns a batch as messages, whatever their size.
func (b *batch) messages(n streams.Names) (all []message) {
	slices.SortFunc(b.of, func(x, y record) int {
		return cmp.Or(strings.Compare(x.tenant, y.tenant), strings.Compare(x.endpoint, y.endpoint), x.from-y.from)
	})
	b.sorted = slices.Grow(b.sorted[:0], len(b.records)) // at once: messages point into it
	for i, from := 0, 0; i < len(b.of); i++ {
		r := b.of[i]
		b.sorted = append(b.sorted, b.records[r.from:r.to]...)
		if i+1 == len(b.of) || b.of[i+1].tenant != r.tenant || b.of[i+1].endpoint != r.endpoint {
			all = append(all, message{n.Attempt(r.tenant, r.endpoint), b.sorted[from:]})
			from = len(b.sorted)
		}
	}
	for i, lines := range b.ledger {
		if len(lines) > 0 {
			all = append(all, message{n.Ledger(strconv.Itoa(i)), lines})
		}
	}
	return all
}

const (
	// lineBytes is the most that a message of the stream has, whatever NATS takes.
	lineBytes = 640 << 10
	// headerBytes is what the headers of a message have at the most.
	headerBytes = 512
)

// divide returns messages as such that a server takes which takes so many bytes.
func divide(all []message, maxPayload int64) (divided []message) {
	most := max(min(lineBytes, int(maxPayload)-headerBytes), 1)
	for _, m := range all {
		divided = appendSplit(divided, m, most)
	}
	return divided
}

// appendSplit divides the lines of a message among as many as it takes, of so many
// bytes at the most, or a line.
func appendSplit(all []message, m message, most int) []message {
	for lines := m.data; len(lines) > 0; {
		end := len(lines)
		if end > most {
			if end = bytes.LastIndexByte(lines[:most], '\n') + 1; end == 0 {
				end = bytes.IndexByte(lines, '\n') + 1
			}
		}
		all, lines = append(all, message{m.subject, lines[:end]}), lines[end:]
	}
	return all
}
