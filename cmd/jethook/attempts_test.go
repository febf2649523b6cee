package main

import (
	"bytes"
	"context"
	"encoding/json"
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
	} {
		w.run(exitUsage, append([]string{"attempts"}, bad...)...)
	}
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
	contains(t, errs, "nothing is known", "evt_3")
	w.run(exitUsage, "event", "show", "not an id")
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
	out, errs = w.run(exitFailed, "audit")
	contains(t, out+errs, "1 cannot be found anywhere", "event evt_2 (sequence 2): acme/crm")
	out, _ = w.run(exitFailed, "audit", "--json")
	contains(t, out, `"delivered":1`, `"unaccounted":1`, `"event_id":"evt_2"`)
	w.run(exitUsage, "audit", "--since", "1h", "--until", "2h")
}
