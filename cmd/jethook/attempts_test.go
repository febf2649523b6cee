package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"jethook/pkg/attempt"
	"jethook/pkg/deadletter"
	"jethook/pkg/delivery"
	"jethook/pkg/event"
	"jethook/pkg/fleet"
	"jethook/pkg/gate"
	"jethook/streams"
)

// log returns a writer as a replica has it, and what stores all that was written.
func (w *world) log() (*attempt.Writer, func()) {
	w.Helper()
	log := attempt.NewWriter(attempt.Options{JetStream: w.js, Names: w.names, Replica: "r1", Counter: uncounted{}})
	ctx, stop := context.WithCancel(context.Background())
	ended := make(chan struct{})
	go func() { defer close(ended); log.Run(ctx) }()
	w.Cleanup(func() { stop(); <-ended })
	return log, func() { log.Flush(w.ctx) }
}

type uncounted struct{}

func (uncounted) AttemptsLogged(int) {}
func (uncounted) AttemptsLost(int)   {}

// published publishes an event of acme's that no replica acks.
func (w *world) published(id, body string) event.Event {
	w.Helper()
	m := nats.NewMsg("webhooks.events.acme.order.created")
	m.Header.Set(jetstream.MsgIDHeader, id)
	m.Data = []byte(body)
	ack, err := w.js.PublishMsg(w.ctx, m)
	w.must(err)
	return event.Event{ID: id, Tenant: "acme", Type: "order.created", Time: time.Now(), Seq: ack.Sequence, Body: m.Data}
}

func madeOf(e event.Event, endpoint string, r delivery.Result) *attempt.Made {
	d := delivery.New(e, endpoint)
	r.At, r.Duration = time.Now(), 1500*time.Microsecond
	return &attempt.Made{Delivery: &d, Result: r, Verdict: delivery.Classify(r, nil)}
}

var failure = delivery.Result{Status: 503, Error: "status 503 Service Unavailable: \x1b[31mred",
	Parts: delivery.Parts{FirstByte: time.Millisecond}, Response: map[string]string{"retry-after": "120"}}

func TestAttempts(t *testing.T) {
	w := startWorld(t)
	_, errs := w.run(exitDone, "attempts")
	contains(t, errs, "no attempts since")
	log, flush := w.log()
	e := w.published("evt_1", "{}")
	log.Attempt(madeOf(e, "crm", failure))
	log.Attempt(madeOf(e, "erp", delivery.Result{Status: 200}))
	flush()
	out, _ := w.run(exitDone, "attempts")
	contains(t, out, "acme/crm", "acme/erp", "evt_1", "retry", "delivered", `503 Service Unavailable: \x1b[31mred`, "1.5ms")
	out, _ = w.run(exitDone, "attempts", "--failed", "--endpoint", "acme/crm", "--type", "order.*", "--event", "evt_1", "--json")
	var r attempt.Record
	if err := json.Unmarshal([]byte(out), &r); err != nil || r.Name() != "acme/crm" || r.FirstByteMS != 1 || r.Response["retry-after"] != "120" {
		t.Errorf("%s: %+v, %v", out, r, err)
	}
	for _, bad := range [][]string{
		{"--endpoint", "crm"}, {"--endpoint", "acme/crm", "--tenant", "other"}, {"--type", "a..b"}, {"--follow", "--until", "1h"},
		{"--since", "1h", "--until", "2h"}, {"--limit", "-1"}, {"--tenant", "ACME"},
		{"--newest", "-1"}, {"--newest", "1", "--limit", "1"}, {"--newest", "1", "--follow"},
	} {
		w.run(exitUsage, append([]string{"attempts"}, bad...)...)
	}
}

// An event's type is whatever NATS lets through as a subject: a terminal gets it
// escaped, and a line of it the beginning.
func TestTypesAreEscapedAndCut(t *testing.T) {
	w := startWorld(t)
	log, flush := w.log()
	e := w.published("evt_1", "{}")
	const hostile = "order.\x1b[31mred\a\u009b\u202e\u200b\U000e0041"
	long := hostile + strings.Repeat("x", 3000)
	e.Type = long
	log.Attempt(madeOf(e, "crm", failure))
	flush()
	dead := delivery.New(e, "crm")
	m, err := deadletter.NewWriter(w.names, w.js.Conn().MaxPayload).Letter(&dead, "https://crm.example.com/", delivery.Rejected, time.Now())
	w.must(err)
	_, err = w.js.PublishMsg(w.ctx, m)
	w.must(err)
	const escaped = `order.\x1b[31mred\a\u009b\u202e\u200b\U000e0041`
	for _, c := range []struct {
		cut     bool
		command []string
	}{
		{true, []string{"attempts"}}, {true, []string{"attempts", "--follow", "--since", "1h", "--limit", "1"}},
		{true, []string{"dlq", "list"}}, {false, []string{"dlq", "show", "1"}},
	} {
		out, _ := w.run(exitDone, c.command...) // which fails at what a terminal would act upon
		contains(t, out, escaped)
		if c.cut == strings.Contains(out, strings.Repeat("x", fieldRunes)) {
			t.Errorf("%v: the type is cut: %t, want %t:\n%s", c.command, !c.cut, c.cut, out)
		}
		out, _ = w.run(exitDone, append(c.command, "--json")...)
		var document struct {
			Type string `json:"event_type"`
		}
		if err := json.Unmarshal([]byte(out), &document); err != nil || document.Type != long {
			t.Errorf("%s --json: %+q, %v", c.command, document.Type, err)
		}
	}
}

// An event is found by the id that it was published with, too.
func TestAttemptsByPublishedID(t *testing.T) {
	w := startWorld(t)
	log, flush := w.log()
	e := w.published("order:42/1", "{}")
	e.ID = event.IDOf("order:42/1")
	log.Attempt(madeOf(e, "crm", failure))
	flush()
	for _, id := range []string{"order:42/1", e.ID} {
		out, _ := w.run(exitDone, "attempts", "--event", id)
		contains(t, out, e.ID, "acme/crm")
	}
}

func TestAttemptsNewest(t *testing.T) {
	w := startWorld(t)
	log, flush := w.log()
	for i := range 5 {
		log.Attempt(madeOf(w.published(fmt.Sprintf("evt_%d", i), "{}"), "crm", failure))
	}
	flush()
	for n, want := range map[string][]string{"1": {"evt_4"}, "3": {"evt_2", "evt_3", "evt_4"}, "7": {"evt_0", "evt_1", "evt_2", "evt_3", "evt_4"}} {
		out, _ := w.run(exitDone, "attempts", "--newest", n, "--json")
		var got []string
		for line := range strings.Lines(out) {
			var r attempt.Record
			w.must(json.Unmarshal([]byte(line), &r))
			got = append(got, r.EventID)
		}
		if !slices.Equal(got, want) {
			t.Errorf("the newest %s are %v", n, got)
		}
	}
}

// Without --since an hour is shown: the last one, or the one before --until.
func TestAttemptsOfAnHour(t *testing.T) {
	now := time.Now()
	for name, c := range map[string]struct {
		flags attemptsCmd
		since time.Time
	}{
		"nothing is said": {attemptsCmd{}, now.Add(-time.Hour)},
		"until":           {attemptsCmd{Until: when{now.Add(-2 * time.Hour)}}, now.Add(-3 * time.Hour)},
		"since":           {attemptsCmd{Since: when{now.Add(-5 * time.Hour)}}, now.Add(-5 * time.Hour)},
		"both":            {attemptsCmd{Since: when{now.Add(-5 * time.Hour)}, Until: when{now.Add(-2 * time.Hour)}}, now.Add(-5 * time.Hour)},
		"follow":          {attemptsCmd{Follow: true}, time.Time{}},
	} {
		f, err := c.flags.filter()
		if err != nil || f.Since.Sub(c.since).Abs() > time.Minute {
			t.Errorf("%s: since %s, %v; want %s", name, f.Since, err, c.since)
		}
	}
}

// What cannot be read in the log is said, and hides nothing else.
func TestAttemptsSaysWhatCannotBeRead(t *testing.T) {
	w := startWorld(t)
	log, flush := w.log()
	_, err := w.js.Publish(w.ctx, w.names.Attempt("acme", "crm"), []byte("garbage\n{\n"))
	w.must(err)
	log.Attempt(madeOf(w.published("evt_1", "{}"), "crm", failure))
	flush()
	out, errs := w.run(exitDone, "attempts")
	contains(t, out, "evt_1")
	contains(t, errs, "2 lines of the attempt log cannot be read")
}

// Whoever follows sees attempts as they are made, in colour on a terminal.
func TestAttemptsFollow(t *testing.T) {
	w := startWorld(t)
	log, flush := w.log()
	log.Attempt(madeOf(w.published("evt_1", "{}"), "crm", failure))
	log.Attempt(madeOf(w.published("evt_2", "{}"), "crm", delivery.Result{Status: 200}))
	flush()
	var out bytes.Buffer
	a := newApp()
	a.Out, a.Terminal, a.flags.Server = &out, true, w.url
	c := attemptsCmd{Follow: true, Limit: 2, Since: when{time.Now().Add(-time.Minute)}}
	if err := c.Run(w.ctx, a); err != nil {
		t.Fatal(err)
	}
	if lines := strings.Split(strings.TrimSpace(out.String()), "\n"); len(lines) != 2 {
		t.Errorf("%d lines: %q", len(lines), lines)
	}
	contains(t, out.String(), "\x1b[33mretry", "\x1b[32mdelivered", "evt_1", "evt_2")
}

// Whoever follows is told when that has to wait, and when it goes on.
func TestFollowersAreTold(t *testing.T) {
	var errs bytes.Buffer
	a := &app{Err: &errs}
	a.waits(errors.New("no \x1b[31manswer"))
	a.waits(nil)
	lines := strings.Split(strings.TrimSpace(errs.String()), "\n")
	if len(lines) != 2 || !strings.Contains(lines[0], `trying on: no \x1b[31manswer`) || !strings.Contains(lines[1], "can be read again") {
		t.Errorf("told %q", lines)
	}
}

func TestEventShow(t *testing.T) {
	w := startWorld(t)
	log, flush := w.log()
	e := w.published("evt_1", `{"total": 12}`)
	log.Matched(&e, []string{"crm", "erp", "bin"}, nil)
	log.Attempt(madeOf(e, "erp", delivery.Result{Status: 200}))
	failed := madeOf(e, "crm", failure)
	log.Attempt(failed)
	waits := *failed.Delivery
	waits.State.Due = time.Now().Add(time.Hour)
	m, err := waits.Encode(w.names.Scheduled("acme", "crm", e.ID, waits.State.Origin), 0)
	w.must(err)
	_, err = w.js.PublishMsg(w.ctx, m)
	w.must(err)
	held := delivery.New(e, "bin")
	m, err = held.Encode(w.names.Held("acme", "bin", streams.HeldNew), 0)
	w.must(err)
	_, err = w.js.PublishMsg(w.ctx, m)
	w.must(err)
	flush()
	out, _ := w.run(exitDone, "event", "show", "evt_1", "--payload")
	contains(t, out, "order.created", "acme/crm: waiting until", "in 59m", "acme/erp: delivered at", "acme/bin: held; the endpoint is removed",
		`503 Service Unavailable: \x1b[31mred`, `"total": 12`)
	out, _ = w.run(exitDone, "event", "show", "evt_1", "--json")
	var shown struct {
		ID         string `json:"event_id"`
		Deliveries []struct {
			Endpoint, State string
			Attempts        []attempt.Record
		}
	}
	if err := json.Unmarshal([]byte(out), &shown); err != nil || len(shown.Deliveries) != 3 || shown.Deliveries[1].State != "waiting" ||
		len(shown.Deliveries[1].Attempts) != 1 || shown.Deliveries[1].Attempts[0].Status != 503 || strings.Contains(out, "payload") {
		t.Errorf("%s: %+v, %v", out, shown, err)
	}
	unread := w.published("evt_2", "\xff")
	out, _ = w.run(exitDone, "event", "show", unread.ID, "--payload")
	contains(t, out, "No replica has read it yet", "1 bytes that are no text")
	_, errs := w.run(exitFailed, "event", "show", "evt_3")
	contains(t, errs, "nothing is known", "evt_3", "reaches back to")
	w.run(exitUsage, "event", "show", "")
}

// Of a delivery that is held, the reason is told or none: that others are before it
// only where there are any.
func TestEventShowTellsWhyADeliveryIsHeld(t *testing.T) {
	w := startWorld(t)
	log, flush := w.log()
	e := w.published("evt_1", "{}")
	log.Matched(&e, []string{"crm"}, nil)
	flush()
	shown := func() string {
		t.Helper()
		out, _ := w.run(exitDone, "event", "show", "evt_1")
		contains(t, out, "acme/crm: held")
		return out
	}
	w.held(1, "acme/crm", 0)
	hold := func(e event.Event) {
		t.Helper()
		d := delivery.New(e, "crm")
		m, err := d.Encode(w.names.Held("acme", "crm", streams.HeldNew), 0)
		w.must(err)
		_, err = w.js.PublishMsg(w.ctx, m)
		w.must(err)
	}
	hold(e)
	contains(t, shown(), "others are before it")
	stream, err := w.js.Stream(w.ctx, w.names.Deliveries())
	w.must(err)
	w.must(stream.Purge(w.ctx))
	hold(e)
	hides(t, shown(), "others", "master keys")
	w.until("no replica has the keys", func() bool {
		w.member(fleet.Member{ID: "keyless", Keyless: true}) // each time: a heartbeat is soon forgotten
		return strings.Contains(shown(), "no live replica has the master keys")
	})
	w.member(fleet.Member{ID: "keyed"})
	hides(t, shown(), "others", "master keys")
	w.opensGate("acme/crm", gate.Opened{Why: "5 failures in a row", Probes: 1})
	contains(t, shown(), "the endpoint is failing: 5 failures in a row; probes: 1 failed, the next ")
}

// An event is found by the id that its producer gave it, whatever that is, and what
// it says of itself does nothing to a terminal.
func TestEventShowOfHostileEvents(t *testing.T) {
	w := startWorld(t)
	log, flush := w.log()
	m := nats.NewMsg("webhooks.events.acme.\x1b[31mred\u202e")
	m.Header.Set(jetstream.MsgIDHeader, "order:42/1")
	ack, err := w.js.PublishMsg(w.ctx, m)
	w.must(err)
	e := event.New(event.Message{Tenant: "acme", Type: "\x1b[31mred\u202e", Header: m.Header, Seq: ack.Sequence, Time: time.Now()})
	log.Matched(&e, []string{"crm"}, nil)
	log.Attempt(madeOf(e, "crm", delivery.Result{Status: 400}))
	log.Dead(madeOf(e, "crm", delivery.Result{Status: 400}).Delivery, delivery.Rejected)
	flush()
	w.must(attempt.NewStore(w.js, w.names).DiscardLetters(w.ctx, []string{"acme/crm"}))
	out, _ := w.run(exitDone, "event", "show", "order:42/1", "--all")
	contains(t, out, e.ID, `\x1b[31mred\u202e`, "acme/crm: discarded by an operator; it was a dead letter: rejected")
	out, _ = w.run(exitDone, "event", "show", "order:42/1", "--all", "--json")
	contains(t, out, `"event_type":"\u001b[31mred\u202e"`)
}

func TestAudit(t *testing.T) {
	w := startWorld(t)
	_, errs := w.run(exitDone, "audit")
	contains(t, errs, "no events in this span of time")
	log, flush := w.log()
	e := w.published("evt_1", "{}")
	log.Matched(&e, []string{"crm"}, nil)
	log.Attempt(madeOf(e, "crm", delivery.Result{Status: 200}))
	lost := w.published("evt_2", "{}")
	log.Matched(&lost, []string{"crm"}, nil)
	flush()
	out, _ := w.run(exitDone, "audit") // no replica acked it, so that it is on its way
	contains(t, out, "2 events", "everything is accounted for")
	fanout, err := w.js.Consumer(w.ctx, w.names.Events(), streams.Fanout)
	w.must(err)
	for range 2 {
		m, err := fanout.Next()
		w.must(err)
		w.must(m.DoubleAck(w.ctx))
	}
	// A line that cannot be read hides no other.
	_, err = w.js.Publish(w.ctx, w.names.Ledger("1"), []byte("{\n"))
	w.must(err)
	out, errs = w.run(exitFailed, "audit")
	contains(t, out+errs, "1 cannot be found anywhere", "event evt_2 (sequence 2): acme/crm", "1 line of the attempt log cannot be read")
	out, _ = w.run(exitFailed, "audit", "--json")
	contains(t, out, `"delivered":1`, `"unaccounted":1`, `"event_id":"evt_2"`)
	w.run(exitUsage, "audit", "--since", "1h", "--until", "2h")
}
