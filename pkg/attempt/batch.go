package attempt

import (
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

// messages returns a batch as messages that NATS takes.
func (b *batch) messages(n streams.Names) (all []message) {
	for subject, lines := range b.records {
		if len(lines) > 0 {
			all = appendSplit(all, subject, lines)
		}
	}
	for i, lines := range b.ledger {
		if len(lines) > 0 {
			all = appendSplit(all, n.Ledger(strconv.Itoa(i)), lines)
		}
	}
	return all
}

// lineBytes is about the most that a message of the stream has: NATS takes a
// megabyte by default, and one more line may come.
const lineBytes = 640 << 10

// appendSplit divides lines among as many messages as it takes.
func appendSplit(all []message, subject string, lines []byte) []message {
	for len(lines) > lineBytes {
		end := lineBytes
		for end > 0 && lines[end-1] != '\n' {
			end--
		}
		if end == 0 { // a line of its own, which no writer here makes
			break
		}
		all, lines = append(all, message{subject, lines[:end]}), lines[end:]
	}
	return append(all, message{subject, lines})
}
