package attempt

import (
	"context"
	"strconv"
	"sync"
	"time"

	"github.com/nats-io/nats.go/jetstream"
	"github.com/rs/zerolog"

	"jethook/pkg/delivery"
	"jethook/pkg/event"
	"jethook/streams"
)

// Level says how much is kept.
type Level string

// The levels: records of all attempts or of those that failed, both with the whole
// ledger, or nothing at all.
const (
	All      Level = "all"
	Failures Level = "failures"
	Off      Level = "off"
)

const (
	// flushEvery is for how long what is to be stored is gathered: a message more
	// each time costs more than a line more in it. An ack waits for as long, which
	// costs nobody anything but another copy of the event after a crash.
	flushEvery = 20 * time.Millisecond
	// enough is how many bytes are stored without waiting for more.
	enough = 512 << 10
	// mostBytes bounds what is gathered while NATS does not take it: attempts wait.
	mostBytes = 16 << 20
	// patience is how long acks wait for NATS to store what they wait for. What it
	// does not take by then is lost, and counted: no delivery depends on it. It is
	// well below the consumers' AckWait.
	patience = 8 * time.Second
	// lineBytes is about the most that a message of the stream has: NATS takes a
	// megabyte by default, and one more line may come.
	lineBytes = 640 << 10
)

// Counter counts records that were stored, and those that were lost.
type Counter interface {
	AttemptsLogged(n int)
	AttemptsLost(n int)
}

// Options are what a writer works with.
type Options struct {
	JetStream jetstream.JetStream
	Names     streams.Names
	Level     Level  // empty is All
	Replica   string // named in each record
	Counter   Counter
	Logger    zerolog.Logger
}

// Writer writes the log of one replica. A nil one writes nothing, and lets nothing
// wait. It is safe for concurrent use.
type Writer struct {
	o Options

	mu      sync.Mutex
	room    *sync.Cond // of mu: something was taken to be stored
	next    *batch
	spare   *batch        // empty
	filled  chan struct{} // of capacity 1: next is not empty any more, or large
	barrier chan struct{} // of capacity 1: do not gather any longer
	missing bool          // the last batch was lost: acks do not wait
	single  bool          // the stream takes no batches; of the goroutine that stores
	logged  time.Time     // when it was last said that something was lost; likewise
	stopped chan struct{} // closed when run has ended
}

// batch is what is stored together.
type batch struct {
	records map[string][]byte // lines for each endpoint, by subject
	ledger  [parts][]byte
	lines   int
	bytes   int
	after   []func() // called when it is stored
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
	clear(b.after)
	b.after, b.lines, b.bytes = b.after[:0], 0, 0
}

// NewWriter returns a writer that gathers, and stores what it gathered once it
// runs. It is nil for a level of Off.
func NewWriter(o Options) *Writer {
	switch o.Level {
	case Off:
		return nil
	case "":
		o.Level = All
	}
	w := &Writer{o: o, next: newBatch(), spare: newBatch(), filled: make(chan struct{}, 1), barrier: make(chan struct{}, 1), stopped: make(chan struct{})}
	w.room = sync.NewCond(&w.mu)
	return w
}

// Attempt keeps an attempt that was made.
func (w *Writer) Attempt(m *Made) {
	if w == nil {
		return
	}
	d := m.Delivery
	w.add(func(b *batch) {
		if w.o.Level == All || m.Verdict.Outcome != delivery.Delivered {
			subject := w.o.Names.Attempt(d.Event.Tenant, d.Endpoint)
			old := b.records[subject]
			line := appendRecord(old, m, w.o.Replica)
			b.records[subject] = line
			b.bytes += len(line) - len(old)
			b.lines++
		}
		b.note(d.Event.ID, func(part []byte) []byte { return appendOutcome(part, m) })
	})
}

// Matched keeps for whom an event is: the ids of endpoints of its tenant, and of
// those that get it in order.
func (w *Writer) Matched(e *event.Event, matched, ordered []string) {
	if w == nil {
		return
	}
	w.add(func(b *batch) {
		b.note(e.ID, func(part []byte) []byte {
			for i, chunk := range chunks(matched) {
				if i > 0 {
					ordered = nil // they are named once
				}
				part = appendMatched(part, e, chunk, ordered, i > 0)
			}
			return part
		})
	})
}

// Dead keeps that a delivery became a dead letter.
func (w *Writer) Dead(d *delivery.Delivery, reason delivery.Reason) {
	if w == nil {
		return
	}
	now := time.Now()
	w.add(func(b *batch) {
		b.note(d.Event.ID, func(part []byte) []byte { return appendDead(part, d, reason, now) })
	})
}

func (b *batch) note(eventID string, line func([]byte) []byte) {
	part := &b.ledger[Part(eventID)]
	before := len(*part)
	*part = line(*part)
	b.bytes += len(*part) - before
	b.lines++
}

// add adds to what is stored next, and waits for room. While NATS stores nothing,
// what there is no room for is lost: attempts go on.
func (w *Writer) add(lines func(*batch)) {
	w.mu.Lock()
	defer w.mu.Unlock()
	for w.next.bytes > mostBytes {
		if w.missing {
			w.o.Counter.AttemptsLost(1)
			return
		}
		w.room.Wait()
	}
	before := w.next.bytes
	lines(w.next)
	if before == 0 || before < enough && w.next.bytes >= enough {
		signal(w.filled)
	}
}

// After calls do when all that was kept before is stored, or given up.
func (w *Writer) After(do func()) {
	if w != nil {
		w.mu.Lock()
		if !w.missing {
			w.next.after = append(w.next.after, do)
			if len(w.next.after) == 1 {
				signal(w.filled)
			}
			w.mu.Unlock()
			return
		}
		w.mu.Unlock()
	}
	do()
}

// Flush stores what was kept, without gathering any more, and returns when that
// is done or given up, or ctx ends.
func (w *Writer) Flush(ctx context.Context) {
	if w == nil {
		return
	}
	done := make(chan struct{})
	w.After(func() { close(done) })
	signal(w.barrier)
	select {
	case <-done:
	case <-w.stopped:
	case <-ctx.Done():
	}
}

func signal(c chan struct{}) {
	select {
	case c <- struct{}{}:
	default:
	}
}

// Run stores what is kept until ctx ends, and then what is left. Nothing may be
// kept afterwards.
func (w *Writer) Run(ctx context.Context) {
	if w == nil {
		return
	}
	defer close(w.stopped)
	for w.gather(ctx) {
		w.store(w.take(), patience)
	}
	w.store(w.take(), tryFor) // a stop has no time for more
}

// gather waits until something is to be stored. It reports false when ctx ends.
func (w *Writer) gather(ctx context.Context) bool {
	select {
	case <-w.filled:
	case <-w.barrier:
		return true
	case <-ctx.Done():
		return false
	}
	timer := time.NewTimer(flushEvery)
	defer timer.Stop()
	for {
		select {
		case <-timer.C:
			return true
		case <-w.barrier:
			return true
		case <-ctx.Done():
			return false
		case <-w.filled:
			if w.large() {
				return true
			}
		}
	}
}

func (w *Writer) large() bool {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.next.bytes >= enough
}

// take returns what is to be stored, and begins to gather anew.
func (w *Writer) take() *batch {
	w.mu.Lock()
	defer w.mu.Unlock()
	b := w.next
	w.next, w.spare = w.spare, nil
	w.room.Broadcast()
	return b
}

// store stores a batch, or gives it up after a time.
func (w *Writer) store(b *batch, within time.Duration) {
	var err error
	if b.lines > 0 {
		ctx, cancel := context.WithTimeout(context.Background(), within)
		err = w.publish(ctx, b.messages(w.o.Names))
		cancel()
	}
	w.mu.Lock()
	w.missing = err != nil
	w.room.Broadcast()
	w.mu.Unlock()
	for _, do := range b.after {
		do()
	}
	w.tell(b.lines, err)
	if err == nil {
		b.reset()
	} else {
		b = newBatch() // the client may try to send this one still
	}
	w.mu.Lock()
	w.spare = b
	w.mu.Unlock()
}

// tell counts what was stored or lost.
func (w *Writer) tell(lines int, err error) {
	if err == nil {
		w.o.Counter.AttemptsLogged(lines)
		return
	}
	w.o.Counter.AttemptsLost(lines)
	if time.Since(w.logged) > time.Minute {
		w.logged = time.Now()
		w.o.Logger.Warn().Err(err).Int("lines", lines).
			Msg("NATS does not store the attempt log; what is lost is missing there, and deliveries go on")
	}
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
