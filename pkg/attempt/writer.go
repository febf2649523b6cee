package attempt

import (
	"context"
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
	// patience is how long acks wait for NATS to store what they wait for, however
	// many batches are before it: no delivery depends on the log. A message may have
	// been in hand for four seconds since it was last kept alive, and consumers hand
	// it out again after ten.
	patience = 4 * time.Second
	// keepFor is how long it is tried to store a batch: what NATS does not take by
	// then is lost, and counted. It is below the stream's duplicate window, within
	// which to try again is harmless.
	keepFor = time.Minute
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
	// Restore makes the stream again where somebody deleted it. Nil leaves that to
	// others.
	Restore func(context.Context) error
	Counter Counter
	Logger  zerolog.Logger
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
	missing bool          // NATS does not store what was kept: acks do not wait
	stopped chan struct{} // closed when run has ended

	// Of the goroutine that stores.
	send     func(context.Context, []message) (lost int, err error)
	single   bool      // the stream takes no batches
	logged   time.Time // when it was last said that something is not stored
	restored time.Time // when it was last tried to make the stream again
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
	w := &Writer{o: o, next: new(batch), spare: new(batch), filled: make(chan struct{}, 1), barrier: make(chan struct{}, 1), stopped: make(chan struct{})}
	w.room = sync.NewCond(&w.mu)
	w.send = w.publish
	return w
}

// Attempt keeps an attempt that was made.
func (w *Writer) Attempt(m *Made) {
	if w == nil {
		return
	}
	w.add(func(b *batch) {
		if w.o.Level == All || m.Verdict.Outcome != delivery.Delivered {
			b.record(m, w.o.Replica)
		}
		b.note(m.Delivery.Event.ID, func(part []byte) []byte { return appendOutcome(part, m) })
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

// After calls do when all that was kept before is stored, or NATS takes too long
// to store it.
func (w *Writer) After(do func()) {
	if w != nil {
		w.mu.Lock()
		if !w.missing {
			w.next.after = append(w.next.after, do)
			if len(w.next.after) == 1 {
				w.next.since = time.Now()
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
// is done, NATS takes too long, or ctx ends.
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
		w.store(ctx, w.take())
	}
	w.store(ctx, w.take())
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

// store stores a batch, or gives it up after a time. Acks do not wait for as long.
func (w *Writer) store(ctx context.Context, b *batch) {
	var lost int
	var err error
	if b.lines > 0 {
		err = w.patiently(b, func() (err error) {
			ctx, cancel := within(ctx, keepFor)
			defer cancel()
			lost, err = w.send(ctx, b.messages(w.o.Names))
			return err
		})
	}
	w.letGo(b, err != nil)
	if err == nil {
		w.o.Counter.AttemptsLogged(b.lines - lost)
		w.o.Counter.AttemptsLost(lost)
		b.reset()
	} else {
		w.o.Counter.AttemptsLost(b.lines)
		w.complain(err)
		b = new(batch) // the client may try to send this one still
	}
	w.mu.Lock()
	w.spare = b
	w.mu.Unlock()
}

// patiently stores a batch, and lets acks go when that takes too long.
func (w *Writer) patiently(b *batch, store func() error) error {
	wait := patience
	if !b.since.IsZero() { // some waited while the batch before was being stored
		wait -= time.Since(b.since)
	}
	late := make(chan struct{})
	timer := time.AfterFunc(wait, func() { defer close(late); w.letGo(b, true) })
	err := store()
	if !timer.Stop() {
		<-late
	}
	return err
}

// letGo lets the acks go that wait for a batch. While NATS stores nothing, those
// that wait for the next one go too: they would wait for as long again.
func (w *Writer) letGo(b *batch, missing bool) {
	w.mu.Lock()
	w.missing = missing
	after := b.after
	if missing {
		after = append(after, w.next.after...)
		w.next.after, w.next.since = nil, time.Time{}
	}
	w.room.Broadcast()
	w.mu.Unlock()
	for _, do := range after {
		do()
	}
	clear(after)
	b.after = after[:0]
}

// within returns a context that ends after a time, and tryFor after ctx at the
// latest: a stop has no time for more.
func within(ctx context.Context, d time.Duration) (context.Context, context.CancelFunc) {
	bounded, cancel := context.WithTimeout(context.WithoutCancel(ctx), d)
	stop := context.AfterFunc(ctx, func() {
		timer := time.NewTimer(tryFor)
		defer timer.Stop()
		select {
		case <-timer.C:
			cancel()
		case <-bounded.Done():
		}
	})
	return bounded, func() { stop(); cancel() }
}

// complain says that something is not stored, and not too often.
func (w *Writer) complain(err error) {
	if time.Since(w.logged) > time.Minute {
		w.logged = time.Now()
		w.o.Logger.Warn().Err(err).
			Msg("NATS does not store the attempt log; deliveries go on, and what it does not take within a minute is missing there")
	}
}
