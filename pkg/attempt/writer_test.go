package attempt

import (
	"bytes"
	"cmp"
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
	"github.com/rs/zerolog"

	"jethook/pkg/delivery"
	"jethook/pkg/event"
)

// Whatever was kept before After is stored when it calls.
func TestAfterIsAfter(t *testing.T) {
	w := newWorld(t)
	log, _ := w.writer(All)
	since := time.Now()
	const n, each = 8, 200
	var all sync.WaitGroup
	for g := range n {
		all.Go(func() {
			for i := range each {
				log.Attempt(attempted(g*each+i+1, fmt.Sprintf("e%d", g), 200, time.Now()))
			}
			done := make(chan struct{})
			log.After(func() { close(done) })
			<-done
			early := time.Since(since) >= patience // it may have called before all was stored
			if got := len(w.records(Filter{Tenant: "acme", Endpoint: fmt.Sprintf("e%d", g)})); got != each && !early {
				t.Errorf("%d records are stored, want %d", got, each)
			}
		})
	}
	all.Wait()
	w.flush(log)
	if records, lines := len(w.records(Filter{})), len(w.ledger()); records != n*each || lines != n*each {
		t.Errorf("%d records and %d lines in the ledger, want %d of each", records, lines, n*each)
	}
	if logged, lost := w.count.logged.Load(), w.count.lost.Load(); logged != 2*n*each || lost != 0 {
		t.Errorf("%d counted as stored and %d as lost", logged, lost)
	}
}

// Flush returns when what was kept is stored, and does not gather more before.
func TestFlush(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		const takes = time.Second
		var count counter
		log := NewWriter(Options{Counter: &count})
		log.send = func(context.Context, []message) (int, error) { time.Sleep(takes); return 0, nil }
		ctx, stop := context.WithCancel(t.Context())
		ended := make(chan struct{})
		go func() { defer close(ended); log.Run(ctx) }()
		log.Attempt(attempted(1, "crm", 200, time.Now()))
		since := time.Now()
		log.Flush(ctx)
		if took := time.Since(since); took != takes {
			t.Errorf("it returned after %s, want %s", took, takes)
		}
		stop()
		<-ended
	})
}

// What is kept when a replica stops is stored.
func TestStopStoresTheRest(t *testing.T) {
	w := newWorld(t)
	// A stop has no time for more than tryFor: one that took longer tells nothing.
	for i, took := 1, tryFor; took >= tryFor; i++ {
		w.must(w.ctx.Err())
		log, stop := w.writer(All)
		var called atomic.Bool
		log.Attempt(attempted(i, "crm", 200, time.Now()))
		log.After(func() { called.Store(true) })
		since := time.Now()
		stop()
		took = time.Since(since)
		stored := len(w.records(Filter{EventID: fmt.Sprintf("evt-%d", i)}))
		if !called.Load() || took < tryFor && stored != 1 {
			t.Errorf("called: %t, %d records", called.Load(), stored)
		}
		log.Flush(w.ctx) // returns, although nobody stores any more
	}
}

func TestLevels(t *testing.T) {
	for _, c := range []struct {
		level           Level
		records, ledger int
	}{{All, 2, 4}, {Failures, 1, 4}} {
		w := newWorld(t)
		log, _ := w.writer(c.level)
		log.Matched(&event.Event{ID: "evt-1", Tenant: "acme"}, []string{"crm"}, nil)
		log.Attempt(attempted(1, "crm", 503, time.Now()))
		log.Attempt(attempted(1, "crm", 200, time.Now()))
		log.Dead(attempted(1, "crm", 503, time.Now()).Delivery, delivery.Expired)
		w.flush(log)
		if r, l := len(w.records(Filter{})), len(w.ledger()); r != c.records || l != c.ledger {
			t.Errorf("level %s: %d records and %d lines, want %d and %d", c.level, r, l, c.records, c.ledger)
		}
	}
	off := NewWriter(Options{Level: Off})
	called := false
	off.Attempt(attempted(1, "crm", 200, time.Now()))
	off.Matched(&event.Event{}, nil, nil)
	off.Dead(nil, "")
	off.After(func() { called = true })
	off.Flush(t.Context())
	off.Run(t.Context())
	if off != nil || !called {
		t.Error("a writer that is off lets acks wait")
	}
}

// Batches that no message could hold are divided between lines.
func TestLargeBatchesAreDivided(t *testing.T) {
	w := newWorld(t)
	log, _ := w.writer(All)
	const n = 3000
	m := attempted(1, "crm", 500, time.Now())
	m.Result.Error = string(slices.Repeat([]byte("x"), 500))
	for range n {
		log.Attempt(m)
	}
	w.flush(log)
	if got := len(w.records(Filter{})); got != n {
		t.Errorf("%d records, want %d", got, n)
	}
	names := make([]string, 10_000)
	for i := range names {
		names[i] = fmt.Sprintf("%063d", i)
	}
	log.Matched(&m.Delivery.Event, names, []string{"o"})
	w.flush(log)
	var matched, ordered int
	for _, e := range w.ledger() {
		matched += len(e.Matched)
		ordered += len(e.Ordered)
	}
	if matched != len(names) || ordered != 1 {
		t.Errorf("%d names and %d ordered ones in the ledger, want %d and 1", matched, ordered, len(names))
	}
}

// Where the stream takes no batches, its messages come one by one.
func TestWithoutBatches(t *testing.T) {
	w := newWorld(t)
	s, err := w.js.Stream(w.ctx, w.names.Attempts())
	w.must(err)
	config := s.CachedInfo().Config
	config.AllowAtomicPublish = false
	_, err = w.js.UpdateStream(w.ctx, config)
	w.must(err)
	log, _ := w.writer(All)
	for i := range 20 {
		log.Attempt(attempted(i, fmt.Sprintf("e%d", i), 200, time.Now()))
	}
	w.flush(log)
	if got := len(w.records(Filter{})); got != 20 || w.count.lost.Load() != 0 {
		t.Errorf("%d records, %d lost", got, w.count.lost.Load())
	}
}

// What was stored, and the answer lost, is not stored twice.
func TestStoredOnce(t *testing.T) {
	w := newWorld(t)
	for single, id := range map[bool]string{false: "a", true: "b"} {
		log := NewWriter(Options{JetStream: w.js, Names: w.names, Counter: &w.count})
		log.single = single
		lines := appendRecord(nil, attempted(1, "crm", 200, time.Now()), "")
		for stored := 0; stored < 2; {
			_, err := log.publishOnce(w.ctx, []message{{w.names.Attempt("acme", id), lines}, {w.names.Attempt("acme", id), lines}}, id)
			if err == nil {
				stored++
			} else if w.ctx.Err() != nil { // one try is short for a machine that stands still
				t.Fatal(err)
			}
		}
		if n := len(w.records(Filter{Tenant: "acme", Endpoint: id})); n != 2 {
			t.Errorf("one by one %t: %d records, want 2", single, n)
		}
	}
}

// While the log cannot be stored, deliveries are acked without it, and later with
// it again.
func TestDeliveriesGoOnWithoutTheLog(t *testing.T) {
	w := newWorld(t)
	w.must(w.js.DeleteStream(w.ctx, w.names.Attempts()))
	log, _ := w.writer(All)
	kept := func() {
		t.Helper()
		log.Attempt(attempted(1, "crm", 200, time.Now()))
		done := make(chan struct{})
		log.After(func() { close(done) })
		select {
		case <-done:
		case <-w.ctx.Done():
			t.Fatal("an ack waits for ever")
		}
	}
	kept()
	kept()
	if w.count.logged.Load() != 0 {
		t.Errorf("%d logged without a stream", w.count.logged.Load())
	}
	topology := w.topology()
	_, err := topology.Ensure(w.ctx, w.js)
	w.must(err)
	ticker := time.NewTicker(5 * time.Millisecond)
	defer ticker.Stop()
	for w.count.logged.Load() == 0 { // not faster than it is stored: what there is no room for is lost
		select {
		case <-ticker.C:
			kept()
		case <-w.ctx.Done():
			t.Fatal("nothing is stored again")
		}
	}
	log.Attempt(attempted(2, "crm", 200, time.Now()))
	w.flush(log)
	if len(w.records(Filter{EventID: "evt-2"})) != 1 {
		t.Error("the log is not stored again")
	}
	if lost := w.count.lost.Load(); lost != 0 {
		t.Errorf("%d lines are lost, although the stream was away for less than a minute", lost)
	}
}

// No ack waits longer than patience has it, however long each of several batches
// takes and whether it is stored at last: consumers hand out again after ten
// seconds what was kept alive up to four seconds before it was finished.
func TestAcksWaitForOneBatchOnly(t *testing.T) {
	if most := 10*time.Second - 4*time.Second; patience+flushEvery > most-time.Second {
		t.Fatalf("patience is %s: an ack that waits %s comes too late", patience, most)
	}
	for name, c := range map[string]struct {
		takes []time.Duration // to store each batch; the last for all others
		err   error           // of these that take keepFor
	}{
		"slow":                  {takes: []time.Duration{patience - 100*time.Millisecond}},
		"never":                 {takes: []time.Duration{keepFor}, err: errNever},
		"slow, then never":      {takes: []time.Duration{patience - 100*time.Millisecond, keepFor}, err: errNever},
		"away for ten seconds":  {takes: []time.Duration{10 * time.Second, time.Millisecond}},
		"now fast and now slow": {takes: []time.Duration{time.Millisecond, 3 * time.Second, time.Millisecond, 3900 * time.Millisecond, 2 * time.Second}},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				var count counter
				log := NewWriter(Options{Counter: &count})
				batches := 0
				log.send = func(ctx context.Context, _ []message) (int, error) {
					takes := c.takes[min(batches, len(c.takes)-1)]
					batches++
					select {
					case <-time.After(takes):
					case <-ctx.Done():
					}
					if takes >= keepFor {
						return 0, c.err
					}
					return 0, nil
				}
				ctx, stop := context.WithCancel(t.Context())
				ended := make(chan struct{})
				go func() { defer close(ended); log.Run(ctx) }()
				var longest atomic.Int64
				var acked sync.WaitGroup
				for i := range 1500 { // 15 seconds
					log.Attempt(attempted(i, "crm", 200, time.Now()))
					since := time.Now()
					acked.Add(1)
					log.After(func() {
						longest.Store(max(longest.Load(), int64(time.Since(since))))
						acked.Done()
					})
					time.Sleep(10 * time.Millisecond)
				}
				stop()
				acked.Wait()
				<-ended
				if got := time.Duration(longest.Load()); got > patience+flushEvery {
					t.Errorf("an ack waited %s, with %d batches", got, batches)
				}
				if lost := count.lost.Load(); (lost > 0) != (c.err != nil) {
					t.Errorf("%d lines are lost", lost)
				}
			})
		})
	}
}

var errNever = errors.New("never")

// The stream is made again where somebody deleted it, and what was kept meanwhile
// is in it.
func TestStreamIsMadeAgain(t *testing.T) {
	for _, single := range []bool{false, true} {
		w := newWorld(t)
		w.must(w.js.DeleteStream(w.ctx, w.names.Attempts()))
		asked := 0
		log := NewWriter(Options{JetStream: w.js, Names: w.names, Counter: &w.count, Restore: func(ctx context.Context) error {
			asked++
			topology := w.topology()
			_, err := topology.Stream(w.names.Attempts()).Ensure(ctx, w.js)
			return err
		}})
		log.single = single
		log.Attempt(attempted(1, "crm", 200, time.Now()))
		log.store(w.ctx, log.take())
		if n := len(w.records(Filter{})); n != 1 || asked != 1 || w.count.lost.Load() != 0 {
			t.Errorf("one by one %t: %d records, asked for the stream %d times, %d lines lost", single, n, asked, w.count.lost.Load())
		}
	}
}

// Who may not make the stream again says so, and does not ask at every try.
func TestStreamThatCannotBeMadeAgain(t *testing.T) {
	w := newWorld(t)
	w.must(w.js.DeleteStream(w.ctx, w.names.Attempts()))
	var said bytes.Buffer
	asked := 0
	ctx, stop := context.WithCancel(w.ctx)
	defer stop()
	log := NewWriter(Options{JetStream: w.js, Names: w.names, Counter: &w.count, Logger: zerolog.New(&said), Restore: func(context.Context) error {
		asked++
		time.AfterFunc(3*tryAgain, stop) // and it tries meanwhile
		return errNever
	}})
	if _, err := log.publish(ctx, []message{{w.names.Attempt("acme", "crm"), []byte("{}\n")}}); err == nil || asked != 1 ||
		!strings.Contains(said.String(), "streams apply") || !strings.Contains(said.String(), errNever.Error()) {
		t.Errorf("%v, asked %d times: %s", err, asked, said.String())
	}
}

// Whatever a server or the stream takes at a time, nothing is lost that it takes, in
// batches or one by one: messages are made so small. What it will never take keeps
// nothing else waiting.
func TestMessagesAreAsSmallAsNATSWantsThem(t *testing.T) {
	for name, c := range map[string]struct {
		payload, stream int32 // what they take at the most; 0 is the default
		single          bool
	}{
		"a server":            {payload: 64 << 10},
		"a server, singly":    {payload: 64 << 10, single: true},
		"the stream":          {stream: 64 << 10},
		"the stream, singly":  {stream: 64 << 10, single: true},
		"hardly a line, both": {payload: 16 << 10, stream: 2000},
	} {
		t.Run(name, func(t *testing.T) {
			w := newWorld(t)
			if c.payload > 0 {
				w.down()
				w.opts.MaxPayload = c.payload
				url := w.up()
				nc, err := nats.Connect(url, nats.Timeout(testTimeout))
				w.must(err)
				t.Cleanup(nc.Close)
				w.js, err = jetstream.New(nc)
				w.must(err)
				w.store = NewStore(w.js, w.names)
			}
			s, err := w.js.Stream(w.ctx, w.names.Attempts())
			w.must(err)
			config := s.CachedInfo().Config
			config.MaxMsgSize, config.AllowAtomicPublish = cmp.Or(c.stream, -1), !c.single
			_, err = w.js.UpdateStream(w.ctx, config)
			w.must(err)
			log, _ := w.writer(All)
			const n = 500
			m := attempted(1, "crm", 503, time.Now())
			m.Result.Body = strings.Repeat("x", 512)
			for range n {
				log.Attempt(m)
			}
			w.flush(log)
			if records, lines := len(w.records(Filter{})), len(w.ledger()); records != n || lines != n {
				t.Errorf("%d records and %d lines of the ledger, want %d of each", records, lines, n)
			}
			log.Matched(&m.Delivery.Event, slices.Repeat([]string{strings.Repeat("e", 63)}, 400), nil) // 26 KB
			log.Attempt(attempted(2, "crm", 200, time.Now()))
			w.flush(log)
			lost := int64(0)
			if c.payload == 16<<10 {
				lost = 1
			}
			if len(w.records(Filter{EventID: "evt-2"})) != 1 || w.count.lost.Load() != lost || w.count.logged.Load() != 2*n+3-lost {
				t.Errorf("%d lines logged and %d lost, want %d lost", w.count.logged.Load(), w.count.lost.Load(), lost)
			}
		})
	}
}

// Too much to be kept makes attempts wait, and not the memory grow.
func TestBackpressure(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var count counter
		log := NewWriter(Options{Counter: &count})
		line := func(b *batch) {
			b.note("evt", func(part []byte) []byte { return append(part, make([]byte, 1<<20)...) })
		}
		for range mostBytes>>20 + 1 {
			log.add(line)
		}
		var waited atomic.Bool
		go func() {
			log.add(line)
			waited.Store(true)
		}()
		synctest.Wait()
		if waited.Load() {
			t.Error("more was kept than there is room for")
		}
		log.take()
		synctest.Wait()
		if !waited.Load() {
			t.Error("nobody was told that there is room again")
		}
		// While nothing is stored, nobody waits.
		for range mostBytes >> 20 {
			log.add(line)
		}
		log.missing = true
		if log.add(line); count.lost.Load() != 1 {
			t.Errorf("%d lines are lost, want 1", count.lost.Load())
		}
	})
}

// A batch of which the client refuses a message would stay begun at the server, which
// has room for some such only: messages are divided before.
func TestDivided(t *testing.T) {
	lines := bytes.Repeat([]byte(strings.Repeat("x", 999)+"\n"), 2000)
	for payload, most := range map[int64]int{1 << 20: lineBytes, 64 << 10: 64<<10 - headerBytes, 1: 1000, 0: 1000} {
		var whole []byte
		for _, m := range divide([]message{{"a", lines[:1000]}, {"a", lines[1000:]}}, payload) {
			if whole = append(whole, m.data...); len(m.data) > most {
				t.Errorf("a message of %d bytes, want %d at the most", len(m.data), most)
			}
		}
		if !bytes.Equal(whole, lines) {
			t.Errorf("with %d bytes of payload not all is there", payload)
		}
	}
}
