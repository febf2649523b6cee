package attempt

import (
	"bytes"
	"strconv"
	"time"

	"jethook/streams"
)

// batch is what is stored together.
type batch struct {
	records map[string][]byte // lines for each endpoint, by subject
	ledger  [parts][]byte
	lines   int
	bytes   int
	after   []func()  // called when it is stored
	since   time.Time // when the first of these began to wait
}

func newBatch() *batch { return &batch{records: make(map[string][]byte)} }

// mostKept is up to how many endpoints' buffers are kept to be filled again, and
// mostKeptBytes how large each may be.
const (
	mostKept      = 256
	mostKeptBytes = 1 << 20
)

// reset empties a batch that was stored. Its buffers stay: to let them grow anew
// each time costs as much as to fill them.
func (b *batch) reset() {
	if len(b.records) > mostKept {
		clear(b.records)
	}
	for subject, lines := range b.records {
		if len(lines) == 0 || cap(lines) > mostKeptBytes { // nobody has come for a while
			delete(b.records, subject)
			continue
		}
		b.records[subject] = lines[:0]
	}
	for i := range b.ledger {
		b.ledger[i] = b.ledger[i][:0]
	}
	b.since, b.lines, b.bytes = time.Time{}, 0, 0
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
	for subject, lines := range b.records {
		if len(lines) > 0 {
			all = append(all, message{subject, lines})
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
