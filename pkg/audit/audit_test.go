package audit

import (
	"strings"
	"testing"
	"time"

	"jethook/pkg/delivery"
	"jethook/streams"
)

// Every place in which a delivery can be is found, and one that is nowhere is
// listed.
func TestEveryDeliveryIsAccountedFor(t *testing.T) {
	w := newWorld(t)
	n := w.names
	everyone := []string{"done", "wait", "sched", "held", "dead", "lost"}
	first := w.publish("e-1")
	w.log.Matched(&first, everyone, nil)
	w.attempt(first, "done", 200)
	w.store(w.attempt(first, "wait", 503), n.Delivery("default", "acme", "wait"))
	sched := w.attempt(first, "sched", 503)
	w.store(sched, n.Scheduled("acme", "sched", "e-1", sched.State.Origin))
	held := delivery.New(first, "held")
	w.store(&held, n.Held("acme", "held", streams.HeldNew))
	w.bury(w.attempt(first, "dead", 400))
	w.attempt(first, "lost", 503)
	none := w.publish("e-2")
	w.log.Matched(&none, nil, nil)
	w.ackAll()
	w.publish("e-3") // which no replica has read
	r := w.audit(Window{})
	w.expect(r, Report{Events: 2, Unread: 1, Matched: 6, Delivered: 1, Waiting: 2, Held: 1, Dead: 1, Unaccounted: 1})
	if len(r.Differences) != 1 || r.Differences[0] != (Difference{first.Seq, "e-1", "acme/lost"}) {
		t.Errorf("differences %+v", r.Differences)
	}
	// An operator who discards what waits for an endpoint says so.
	w.must(w.Auditor.log.Discard(w.ctx, "acme", "lost"))
	w.expect(w.audit(Window{}), Report{Events: 2, Unread: 1, Matched: 6, Delivered: 1, Waiting: 2, Held: 1, Dead: 1, Discarded: 1})
	// A dead letter that is replayed waits, and then is delivered.
	again := delivery.New(first, "dead")
	again.State.Replay = true
	w.store(&again, n.Delivery("default", "acme", "dead"))
	w.expect(w.audit(Window{}), Report{Events: 2, Unread: 1, Matched: 6, Delivered: 1, Waiting: 3, Held: 1, Discarded: 1})
	w.attempt(first, "dead", 200)
	w.expect(w.audit(Window{}), Report{Events: 2, Unread: 1, Matched: 6, Delivered: 2, Waiting: 2, Held: 1, Discarded: 1})
}

// An event that was acked and of which there is no line is a difference; one that an
// operator deleted is none.
func TestEventsWithoutALine(t *testing.T) {
	w := newWorld(t)
	for _, id := range []string{"a", "b", "c"} {
		e := w.publish(id)
		if id == "a" {
			w.log.Matched(&e, []string{"crm"}, nil)
			w.attempt(e, "crm", 200)
		}
	}
	w.ackAll()
	stream, err := w.js.Stream(w.ctx, w.names.Events())
	w.must(err)
	w.must(stream.DeleteMsg(w.ctx, 2))
	r := w.audit(Window{})
	w.expect(r, Report{Events: 1, Matched: 1, Delivered: 1, Unaccounted: 1})
	if len(r.Differences) != 1 || r.Differences[0] != (Difference{EventSeq: 3}) {
		t.Errorf("differences %+v", r.Differences)
	}
}

// What a replica that died left behind, and what the next one did, add up, in
// whatever order their lines are.
func TestLinesOfReplicasThatDied(t *testing.T) {
	w := newWorld(t)
	twice := w.publish("twice") // delivered, killed before the ack, and delivered again
	for range 2 {
		w.log.Matched(&twice, []string{"crm", "erp"}, nil)
		w.attempt(twice, "crm", 200)
		w.attempt(twice, "erp", 200)
	}
	// Stored as a delivery, killed before the line about that, delivered, matched again.
	late := w.publish("late")
	w.attempt(late, "crm", 200)
	w.bury(w.attempt(late, "erp", 400))
	w.log.Matched(&late, []string{"crm", "erp"}, nil)
	// Matched, killed, and matched again when an endpoint was gone.
	fewer := w.publish("fewer")
	w.log.Matched(&fewer, []string{"crm", "gone"}, nil)
	w.log.Matched(&fewer, []string{"crm"}, nil)
	w.attempt(fewer, "crm", 200)
	w.ackAll()
	w.expect(w.audit(Window{}), Report{Events: 3, Matched: 5, Delivered: 4, Dead: 1})
}

// An ordered endpoint has had what its consumer acked, and waits for the rest.
func TestOrderedEndpoints(t *testing.T) {
	w := newWorld(t)
	for _, id := range []string{"a", "b", "c"} {
		e := w.publish(id)
		w.log.Matched(&e, nil, []string{"ledger"})
	}
	w.ackAll()
	c := streams.Ordered(w.names, "acme", "ledger", []string{">"}, 1)
	consumer, err := w.js.CreateConsumer(w.ctx, c.Stream, c.Config)
	w.must(err)
	for range 2 {
		m, err := consumer.Next()
		w.must(err)
		w.must(m.DoubleAck(w.ctx))
	}
	w.expect(w.audit(Window{}), Report{Events: 3, Matched: 3, Delivered: 2, Waiting: 1})
}

func TestWindows(t *testing.T) {
	w := newWorld(t)
	if r := w.audit(Window{}); r.Events != 0 {
		t.Errorf("without events: %+v", r)
	}
	var times []time.Time
	for _, id := range []string{"a", "b", "c", "d"} {
		e := w.publish(id)
		times = append(times, e.Time)
		w.log.Matched(&e, []string{"crm"}, nil)
		w.attempt(e, "crm", 200)
	}
	w.ackAll()
	for name, c := range map[string]struct {
		window Window
		events int
	}{
		"all":         {Window{}, 4},
		"since":       {Window{Since: times[1]}, 3},
		"until":       {Window{Until: times[1]}, 1},
		"between":     {Window{Since: times[1], Until: times[3]}, 2},
		"most":        {Window{Most: 2}, 2},
		"before":      {Window{Until: times[0]}, 0},
		"after":       {Window{Since: time.Now().Add(time.Hour)}, 0},
		"most of all": {Window{Most: 4}, 4},
	} {
		r := w.audit(c.window)
		if r.Events != c.events || r.Delivered != c.events || r.Unaccounted != 0 {
			t.Errorf("%s: %+v, want %d events", name, r, c.events)
		}
		if (r.Note != "") != (c.window.Most == 2) {
			t.Errorf("%s: note %q", name, r.Note)
		}
	}
}

// Where the log does not reach back, or there is none, it is said.
func TestWithoutALog(t *testing.T) {
	w := newWorld(t)
	w.publish("a")
	w.ackAll()
	if r := w.audit(Window{}); r.Unaccounted != 1 || !strings.Contains(r.Note, "JETHOOK_ATTEMPT_LOG") {
		t.Errorf("with an empty log: %+v", r)
	}
	for _, id := range []string{"b", "c"} {
		e := w.publish(id)
		w.log.Matched(&e, []string{"crm"}, nil)
		w.attempt(e, "crm", 200)
		w.log.Flush(w.ctx)
	}
	w.ackAll()
	stream, err := w.js.Stream(w.ctx, w.names.Attempts())
	w.must(err)
	w.must(stream.Purge(w.ctx))
	for _, id := range []string{"d", "e"} {
		e := w.publish(id)
		w.log.Matched(&e, []string{"crm"}, nil)
		w.attempt(e, "crm", 200)
		w.log.Flush(w.ctx)
	}
	w.ackAll()
	if r := w.audit(Window{}); r.Events != 1 || r.Unaccounted != 0 || !strings.Contains(r.Note, "reaches back") {
		t.Errorf("with a log that is shorter: %+v", r)
	}
	w.must(w.js.DeleteStream(w.ctx, w.names.Attempts()))
	if _, err := w.Audit(w.ctx, Window{}); err == nil {
		t.Error("no error without a stream")
	}
}
