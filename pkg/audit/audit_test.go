package audit

import (
	"errors"
	"fmt"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"jethook/pkg/attempt"
	"jethook/pkg/delivery"
	"jethook/pkg/event"
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
	w.exhumed(1)
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

// An event for so many endpoints that several lines name them is matched twice, the
// second time for others.
func TestManyEndpointsMatchedTwice(t *testing.T) {
	w := newWorld(t)
	many := make([]string, 9000)
	for i := range many {
		many[i] = fmt.Sprint("many-", i)
	}
	e := w.publish("a")
	w.log.Matched(&e, append(many, "gone"), []string{"before", "ledger"})
	for _, endpoint := range append(many, "ledger") {
		w.attempt(e, endpoint, 200)
	}
	w.log.Matched(&e, append(append([]string{"lost"}, many...), "new"), []string{"ledger"})
	w.attempt(e, "new", 200)
	w.ackAll()
	r := w.audit(Window{})
	w.expect(r, Report{Events: 1, Matched: 9003, Delivered: 9002, Unaccounted: 1})
	if len(r.Differences) != 1 || r.Differences[0].Endpoint != "acme/lost" {
		t.Errorf("differences %+v", r.Differences)
	}
}

// What is looked for lies behind its event, and under the subjects of its endpoint.
// All else is not read, however much there is.
func TestTheRestIsNotRead(t *testing.T) {
	w := newWorld(t)
	body := make([]byte, 10_000)
	held := func(e event.Event, endpoint string) {
		for range 300 {
			e.Body = body
			d := delivery.New(e, endpoint)
			w.store(&d, w.names.Held("acme", endpoint, streams.HeldNew))
		}
	}
	old := w.publish("old")
	held(old, "down")
	e := w.publish("new")
	w.log.Matched(&e, []string{"down", "lost"}, nil)
	held(e, "other")
	d := delivery.New(e, "down")
	w.store(&d, w.names.Held("acme", "down", streams.HeldNew))
	w.ackAll()
	w.log.Flush(w.ctx)
	b := w.newBooks(e.Seq, e.Seq, e.Time)
	before := w.js.Conn().Stats().InBytes
	for range 3 {
		w.must(b.read(w.ctx))
		w.must(b.find(w.ctx))
	}
	if read := w.js.Conn().Stats().InBytes - before; read > 200_000 {
		t.Errorf("%d bytes were read", read)
	}
	w.expect(b.report(), Report{Events: 1, Matched: 2, Held: 1, Unaccounted: 1})
}

// A delivery may be stored before the line is that says for whom its event is: what
// was looked through before that is looked through for it.
func TestMatchedWhileItIsLookedFor(t *testing.T) {
	w := newWorld(t)
	first, second := w.publish("first"), w.publish("second")
	w.log.Matched(&first, []string{"lost"}, nil)
	d := delivery.New(second, "late")
	w.store(&d, w.names.Delivery("default", "acme", "late"))
	w.ackAll()
	w.log.Flush(w.ctx)
	b := w.newBooks(first.Seq, second.Seq, first.Time)
	w.must(b.read(w.ctx))
	w.must(b.find(w.ctx))
	w.log.Matched(&second, []string{"late"}, nil)
	w.log.Flush(w.ctx)
	w.must(b.read(w.ctx))
	w.must(b.find(w.ctx))
	w.expect(b.report(), Report{Events: 2, Matched: 2, Waiting: 1, Unaccounted: 1})
}

// A discard accounts for what was there when it was said, or came while it went on,
// and for nothing later.
func TestALossLaterThanADiscard(t *testing.T) {
	at := time.Now()
	b := (&Auditor{}).newBooks(1, 3, at)
	for seq := range uint64(3) {
		b.enter(&attempt.Entry{EventSeq: seq + 1, Tenant: "acme", Matched: []string{"crm"}, Stored: at})
	}
	at = at.Add(time.Minute)
	b.enter(&attempt.Entry{Tenant: "acme", Endpoint: "crm", Discarded: true, Stored: at})
	b.enter(&attempt.Entry{EventSeq: 2, Tenant: "acme", Endpoint: "crm", Outcome: delivery.Retry, Stored: at.Add(removing)})
	b.enter(&attempt.Entry{EventSeq: 3, Tenant: "acme", Endpoint: "crm", Outcome: delivery.Retry, Stored: at.Add(removing + 1)})
	for k := range b.nowhere() {
		b.conclude(k, &hands{fanout: hand{floor: 3}})
	}
	if r := b.report(); r.Discarded != 2 || r.Unaccounted != 1 || r.Differences[0].EventSeq != 3 {
		t.Errorf("got %+v", r)
	}
}

// A dead letter that the ledger tells of is there, or was replayed or removed. Where
// it is not, that is a difference.
func TestDeadLettersAreThere(t *testing.T) {
	w := newWorld(t)
	e := w.publish("a")
	w.log.Matched(&e, []string{"before", "there", "lost", "purged", "after"}, nil)
	for _, endpoint := range []string{"before", "there", "lost", "purged", "after"} {
		w.bury(w.attempt(e, endpoint, 400))
	}
	w.ackAll()
	w.expect(w.audit(Window{}), Report{Events: 1, Matched: 5, Dead: 5})
	w.must(w.Auditor.log.DiscardLetters(w.ctx, []string{"acme/purged"}))
	w.exhumed(4)
	w.exhumed(3)
	r := w.audit(Window{})
	w.expect(r, Report{Events: 1, Matched: 5, Dead: 3, Discarded: 1, Unaccounted: 1})
	if len(r.Differences) != 1 || r.Differences[0].Endpoint != "acme/lost" {
		t.Errorf("differences %+v", r.Differences)
	}
	w.expect(w.audit(Window{Unburied: true}), Report{Events: 1, Matched: 5, Dead: 5})
	// Replayed, attempted and lost: that a letter was purged is no excuse.
	w.attempt(e, "purged", 503)
	w.expect(w.audit(Window{}), Report{Events: 1, Matched: 5, Dead: 3, Unaccounted: 2})
	// Somebody empties the stream with another tool.
	stream, err := w.js.Stream(w.ctx, w.names.DeadLetters())
	w.must(err)
	w.must(stream.Purge(w.ctx))
	w.expect(w.audit(Window{}), Report{Events: 1, Matched: 5, Discarded: 4, Unaccounted: 1})
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

// One whose consumer has acked nothing yet waits, too, and one without a consumer
// waits for nothing.
func TestOrderedEndpointsThatHadNothing(t *testing.T) {
	w := newWorld(t)
	e := w.publish("a")
	w.log.Matched(&e, nil, []string{"ledger", "gone"})
	w.ackAll()
	c := streams.Ordered(w.names, "acme", "ledger", []string{">"}, 1)
	_, err := w.js.CreateConsumer(w.ctx, c.Stream, c.Config)
	w.must(err)
	r := w.audit(Window{})
	w.expect(r, Report{Events: 1, Matched: 2, Waiting: 1, Unaccounted: 1})
	if len(r.Differences) != 1 || r.Differences[0].Endpoint != "acme/gone" {
		t.Errorf("differences %+v", r.Differences)
	}
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
		"all":          {Window{}, 4},
		"since":        {Window{Since: times[1]}, 3},
		"until":        {Window{Until: times[1]}, 1},
		"between":      {Window{Since: times[1], Until: times[3]}, 2},
		"most":         {Window{Most: 2}, 2},
		"before":       {Window{Until: times[0]}, 0},
		"after":        {Window{Since: time.Now().Add(time.Hour)}, 0},
		"most of all":  {Window{Most: 4}, 4},
		"most of none": {Window{Since: times[2], Until: times[2], Most: 1}, 0},
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
	// By another server's clock, events before it may be no older than what is left.
	w.skew = time.Hour
	if r, err := w.Audit(w.ctx, Window{}); err == nil {
		t.Errorf("with a log that begins later by another clock: %+v", r)
	}
	w.skew = 0
	w.must(stream.Purge(w.ctx))
	if r, err := w.Audit(w.ctx, Window{}); !errors.Is(err, errEmptied) {
		t.Errorf("with an emptied log: %+v, %v", r, err)
	}
	w.must(w.js.DeleteStream(w.ctx, w.names.Attempts()))
	if _, err := w.Audit(w.ctx, Window{}); err == nil {
		t.Error("no error without a stream")
	}
	topology, err := streams.NewTopology(streams.Options{Names: w.names})
	w.must(err)
	_, err = topology.Ensure(w.ctx, w.js)
	w.must(err)
	if r, err := w.Audit(w.ctx, Window{}); err == nil {
		t.Errorf("with a log made anew: %+v", r)
	}
	e := w.publish("f")
	w.log.Matched(&e, []string{"crm"}, nil)
	w.attempt(e, "crm", 200)
	w.log.Flush(w.ctx)
	w.ackAll()
	if r := w.audit(Window{}); r.Events != 1 || r.Unaccounted != 0 || !strings.Contains(r.Note, "reaches back") {
		t.Errorf("with a log made anew: %+v", r)
	}
}

// However much was logged for how few events, the newest of it only is looked at
// where that is asked for. Where the window's events are older, that is said, and not
// that there is no difference.
func TestTheNewestOfTheLog(t *testing.T) {
	w := newWorld(t)
	var lines uint64 // bytes of the ledger, of the event before
	story := func(id string, attempts int) event.Event {
		w.log = w.newLog() // one that runs later, and so makes one message of the event's lines
		e := w.publish(id)
		w.log.Matched(&e, []string{"crm"}, nil)
		for range attempts {
			w.attempt(e, "crm", 503)
		}
		w.attempt(e, "crm", 200)
		w.run(w.log)
		w.log.Flush(w.ctx)
		m, err := w.js.Stream(w.ctx, w.names.Attempts())
		w.must(err)
		last, err := m.GetLastMsgForSubject(w.ctx, w.names.Ledger(strconv.Itoa(attempt.Part(id))))
		w.must(err)
		lines = uint64(len(last.Data))
		return e
	}
	var last event.Event
	for i := range 4 {
		last = story("busy-"+strconv.Itoa(i), 1000)
	}
	busy := lines
	w.ackAll()
	// Of the oldest message only those events are certain that were stored later.
	for most, events := range map[uint64]int{5 * busy: 4, 7 * busy / 2: 2, 5 * busy / 2: 1} {
		if r := w.audit(Window{MostLog: most}); r.Events != events || r.Unaccounted != 0 || (r.Note == "") != (events == 4) {
			t.Errorf("%d bytes of the log of four events with %d each: %+v", most, busy, r)
		}
	}
	for i := range 100 {
		story("quiet-"+strconv.Itoa(i), 0)
	}
	w.ackAll()
	if r := w.audit(Window{MostLog: 100 * lines}); r.Events < 75 || r.Events > 100 || r.Unaccounted != 0 {
		t.Errorf("the log of a hundred quiet events behind four busy ones: %+v", r)
	}
	if r := w.audit(Window{Since: last.Time.Add(1), MostLog: 40 * busy}); r.Events != 100 || r.Note != "" {
		t.Errorf("the same, asked for by time: %+v", r)
	}
	if r := w.audit(Window{}); r.Events != 104 || r.Note != "" {
		t.Errorf("all of the log: %+v", r)
	}
	if r, err := w.Audit(w.ctx, Window{Until: last.Time.Add(1), MostLog: lines}); err == nil || !strings.Contains(err.Error(), "older than the newest") {
		t.Errorf("events of which the newest of the log says nothing: %+v, %v", r, err)
	}
}

// What waits in a lane that nobody serves hides no loss elsewhere, however much later:
// each event is with the lane that it is in. That of a lane is not lost because the
// default lane, which passes it over, has acked it.
func TestALaneThatNobodyServes(t *testing.T) {
	w := newWorld(t)
	lane := func(id string, filters ...string) jetstream.Consumer {
		topology, err := streams.NewTopology(streams.Options{Names: w.names})
		w.must(err)
		c := topology.Lane(id, filters, 1).Consumers[0]
		made, err := w.js.CreateConsumer(w.ctx, c.Stream, c.Config)
		w.must(err)
		return made
	}
	bulk := lane("bulk", "*.billing.>", "*.report")
	served := lane("fast", "*.auth.>")
	var err error
	for i, eventType := range []string{"billing.x", "order", "report", "auth.x", "order"} {
		_, err = w.js.PublishMsg(w.ctx, &nats.Msg{Subject: "webhooks.events.acme." + eventType, Data: []byte("{}")})
		w.must(err)
		if eventType == "order" {
			w.log.Matched(&event.Event{ID: fmt.Sprint(i), Tenant: "acme", Seq: uint64(i + 1)}, []string{"crm"}, nil) // and it is lost
		}
	}
	w.ackAll()
	for info := (&jetstream.ConsumerInfo{}); info.NumPending < 2; { // which it learns a moment later
		info, err = bulk.Info(w.ctx)
		w.must(err)
	}
	m, err := served.Next()
	w.must(err)
	w.must(m.DoubleAck(w.ctx)) // without a line
	r := w.audit(Window{})
	w.expect(r, Report{Events: 2, Unread: 2, Matched: 2, Unaccounted: 3})
	if fmt.Sprint(r.Differences) != "[{2 1 acme/crm} {4  } {5 4 acme/crm}]" {
		t.Errorf("differences %+v", r.Differences)
	}
	r = w.audit(Window{MostBodies: 1})
	w.expect(r, Report{Events: 2, Unread: 3, Matched: 2, Waiting: 2, Note: tooMuch}) // the lane's events were not read
	for seq, unread := range map[uint64]bool{1: true, 3: true, 4: false} {
		e, err := w.read(w.ctx, seq)
		w.must(err)
		if s := w.story(e.ID); s.Unmatched != unread || s.Unlogged == unread {
			t.Errorf("of event %d it is said %+v", seq, s)
		}
	}
}

// An event of which the log knows nothing may have been acked while an older one is in
// hand: that no replica has read it yet is said only of one that nobody was given.
func TestAnEventBehindOneInHand(t *testing.T) {
	w := newWorld(t)
	for _, id := range []string{"slow", "done", "next"} {
		w.publish(id)
	}
	fanout, err := w.js.Consumer(w.ctx, w.names.Events(), streams.Fanout)
	w.must(err)
	for range 2 {
		m, err := fanout.Next()
		w.must(err)
		if strings.HasSuffix(m.Headers().Get(jetstream.MsgIDHeader), "done") {
			w.must(m.DoubleAck(w.ctx))
		}
	}
	for id, unread := range map[string]bool{"slow": false, "done": false, "next": true} {
		if s := w.story(id); s.Unmatched != unread || s.Unlogged == unread {
			t.Errorf("of %s it is said %+v", id, s)
		}
	}
}

// The bodies of what waits come along, so no more is read of them than is asked for.
// What was not looked at is no difference, and it is said. So it is with a lane's events.
func TestBodiesAreReadWithinBounds(t *testing.T) {
	w := newWorld(t)
	const n, size = 40, 256 << 10
	for i := range n {
		e := w.publish("e-" + strconv.Itoa(i))
		e.Body = make([]byte, size)
		endpoint := "down-" + strconv.Itoa(i%10)
		w.log.Matched(&e, []string{endpoint}, nil)
		d := delivery.New(e, endpoint)
		w.store(&d, w.names.Held("acme", endpoint, streams.HeldNew))
	}
	lost := w.publish("lost")
	w.log.Matched(&lost, []string{"crm"}, nil)
	w.ackAll()
	w.expect(w.audit(Window{MostBodies: n*size + 1}), Report{Events: n + 1, Matched: n + 1, Held: n, Unaccounted: 1})
	before := w.js.Conn().Stats().InBytes
	r := w.audit(Window{MostBodies: 2 * size})
	if read := int(w.js.Conn().Stats().InBytes - before); read > n*size {
		t.Errorf("%d bytes were read, where half a megabyte was asked for", read)
	}
	if r.Held != 3 || r.Waiting != n-2 || r.Unaccounted != 0 || r.Note == "" {
		t.Errorf("got %+v", r)
	}
}
