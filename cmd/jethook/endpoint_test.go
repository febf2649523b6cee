package main

import (
	"encoding/json"
	"errors"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
	"github.com/rs/zerolog"

	"jethook/pkg/delivery"
	"jethook/pkg/endpoint"
	"jethook/pkg/event"
	"jethook/pkg/gate"
	"jethook/streams"
)

// lies stores n deliveries for an endpoint under a subject, begun a while ago.
func (w *world) lies(n int, name, subject string, ago time.Duration) {
	w.Helper()
	tenant, id, _ := strings.Cut(name, "/")
	for range n {
		d := delivery.New(event.Event{ID: nats.NewInbox()[7:], Tenant: tenant, Type: "order.created", Time: time.Now(), Seq: 1}, id)
		d.State.First = time.Now().Add(-ago)
		m, err := d.Encode(subject, 0)
		w.must(err)
		_, err = w.js.PublishMsg(w.ctx, m)
		w.must(err)
	}
}

func (w *world) held(n int, name string, ago time.Duration) {
	w.Helper()
	tenant, id, _ := strings.Cut(name, "/")
	w.lies(n, name, w.names.Held(tenant, id, streams.HeldNew), ago)
}

func (w *world) opensGate(name string, o gate.Opened) {
	w.Helper()
	f := gate.NewFleet(w.bucket(w.names.GatesBucket()), "r1", zerolog.Nop())
	w.must(f.Start(w.ctx))
	defer f.Stop()
	w.must(f.Open(w.ctx, name, o))
}

// inOrder is the consumer of the ordered endpoint that startStates makes.
var inOrder = streams.OrderedSince("acme", "seq", []string{">"}, 1)

// startStates starts a world with an endpoint in each state.
func startStates(t *testing.T) *world {
	t.Helper()
	w := startWorld(t)
	w.apply("acme/held", func(d *endpoint.Document) { d.Paused = true })
	w.apply("acme/failing", nil)
	w.apply("acme/off", nil)
	w.apply("acme/seq", func(d *endpoint.Document) { d.Ordered = true })
	w.apply("globex/crm", nil)
	_, err := w.store.Disable(w.ctx, "acme/off", "410 Gone")
	w.must(err)
	now := time.Now()
	w.opensGate("acme/failing", gate.Opened{Why: "5 failures in a row", Since: now.Add(-90 * time.Minute), Probes: 7,
		NextProbe: now.Add(119 * time.Second), LastStatus: 503, LastError: "503 \x1b[31mred"})
	w.held(3, "acme/held", 2*time.Hour+5*time.Minute+time.Second)
	w.held(1, "acme/failing", time.Minute)
	w.held(1, "globex/crm", time.Minute)
	w.lies(1, "acme/crm", w.names.Scheduled("acme", "crm", "evt_1", "e1"), 3*time.Hour+time.Second)
	w.lies(2, "acme/crm", w.names.Delivery("default", "acme", "crm"), 0)
	events, err := w.names.Event("acme", "order.created")
	w.must(err)
	_, err = w.js.CreateConsumer(w.ctx, w.names.Events(), jetstream.ConsumerConfig{
		Durable: inOrder, FilterSubject: events, AckPolicy: jetstream.AckExplicitPolicy, MaxAckPending: 1,
	})
	w.must(err)
	for range 4 {
		_, err = w.js.Publish(w.ctx, events, nil)
		w.must(err)
	}
	seq, err := w.js.Consumer(w.ctx, w.names.Events(), inOrder)
	w.must(err)
	_, err = seq.Next() // it is being attempted and waits all the same
	w.must(err)
	w.knows(4, w.names.Events(), inOrder)
	return w
}

// spans of less than a minute differ with how fast the test is.
var seconds = regexp.MustCompile(`\b[0-9]+s\b`)

func TestListShowsEveryState(t *testing.T) {
	w := startStates(t)
	out, _ := w.run(exitDone, "endpoint", "list")
	contains(t, out, "Endpoint", "State", "Since", "Probe", "Waiting", "Oldest", "Why")
	want := []string{
		"acme/crm active - - 3 3h0m -",
		"acme/failing failing 1h30m in 1m 1 1m 5 failures in a row",
		"acme/held paused <1m - 3 2h5m an operator paused it",
		"acme/off disabled <1m - - - 410 Gone",
		"acme/seq active - - 4 <1m -",
		"globex/crm active - - 1 1m -",
	}
	if got := seconds.ReplaceAllString(strings.Join(rows(out), "\n"), "<1m"); got != strings.Join(want, "\n") {
		t.Errorf("got\n%s\nwant\n%s", got, strings.Join(want, "\n"))
	}
	out, _ = w.run(exitDone, "endpoint", "list", "--tenant", "globex")
	if got := rows(out); len(got) != 1 || got[0] != want[5] {
		t.Errorf("of one tenant: %q", got)
	}
	out, _ = w.run(exitDone, "endpoint", "list", "--json")
	lines := strings.Split(strings.TrimSpace(out), "\n")
	if len(lines) != len(want) {
		t.Fatalf("%d lines, want %d:\n%s", len(lines), len(want), out)
	}
	contains(t, lines[0], `{"tenant":"acme","id":"crm",`, `"secrets":["***"]`, `"state":{"is":"active","waiting":{"held":0,"scheduled":1,"to_attempt":2},"oldest":"`)
	contains(t, lines[1], `"state":{"is":"failing","why":"5 failures in a row","since":"`, `"next_probe":"`)
	contains(t, lines[2], `"paused_at":"`, `"state":{"is":"paused","why":"an operator paused it","since":"`)
	contains(t, lines[4], `"waiting":{"held":0,"scheduled":0,"to_attempt":0,"ordered":4},"oldest":"`)
}

// What an ordered endpoint wanted before may have a consumer of its own yet.
func TestListCountsAllThatWaitsInOrder(t *testing.T) {
	w := startStates(t)
	before := streams.Ordered(w.names, "acme", "seq", []string{"order.>"}, 1)
	_, err := w.js.CreateConsumer(w.ctx, before.Stream, before.Config)
	w.must(err)
	for _, command := range [][]string{{"list", "--json"}, {"show", "acme/seq", "--json"}} {
		out, _ := w.run(exitDone, append([]string{"endpoint"}, command...)...)
		contains(t, out, `"ordered":8`)
	}
}

func TestListAsksForTheAgesOfSome(t *testing.T) {
	w := startStates(t)
	a := &app{flags: natsFlags{Server: w.url}}
	client, err := a.connect(w.ctx)
	w.must(err)
	defer client.Close()
	documents, _, err := w.store.List(w.ctx)
	w.must(err)
	for limit, want := range map[int]string{0: "3h0m 1m 2h5m - <1m 1m", 1: "3h0m ? ? - ? ?", 2: "3h0m 1m ? - ? ?"} {
		states, err := client.states(w.ctx, documents, "", limit)
		w.must(err)
		var ages []string
		for _, s := range states {
			ages = append(ages, s.age())
		}
		if got := seconds.ReplaceAllString(strings.Join(ages, " "), "<1m"); got != want {
			t.Errorf("limit %d: %s, want %s", limit, got, want)
		}
	}
}

func TestShowTellsOfEveryState(t *testing.T) {
	w := startStates(t)
	for name, wants := range map[string][]string{
		"acme/crm":     {"acme/crm: active\n  waiting   1 scheduled, 2 to be attempted\n  oldest    3h0m\n{\n"},
		"acme/held":    {"acme/held: paused\n  why       an operator paused it\n  since     ", "\n  waiting   3 held\n  oldest    2h5m\n{\n", `"paused": true`},
		"acme/off":     {"acme/off: disabled\n  why       410 Gone\n  since     ", "  waiting   nothing\n{"},
		"acme/seq":     {"acme/seq: active\n  waiting   4 in order\n  oldest    "},
		"acme/failing": {"acme/failing: failing\n  why       5 failures in a row\n  since     ", "(1h30m)\n", `  error     503 \x1b[31mred`, "  probes    7 failed, the next at ", "(in 1m)\n  waiting   1 held\n  oldest    1m\n{"},
	} {
		out, _ := w.run(exitDone, "endpoint", "show", name)
		contains(t, out, wants...)
		if strings.Contains(out, `"state"`) {
			t.Errorf("the state is told twice:\n%s", out)
		}
	}
	out, _ := w.run(exitDone, "endpoint", "show", "acme/failing", "--json")
	var shown struct {
		ID    string
		State endpointState
	}
	w.must(json.Unmarshal([]byte(out), &shown))
	s := shown.State
	if shown.ID != "failing" || s.Is != stateFailing || s.Why == "" || s.Since.IsZero() || s.Oldest.IsZero() || s.Waiting != (waiting{Held: 1}) {
		t.Errorf("got %+v", shown)
	}
	if s.Gate == nil || s.Gate.Probes != 7 || s.Gate.NextProbe.Before(time.Now()) || s.Gate.LastStatus != 503 {
		t.Errorf("its gate is %+v", s.Gate)
	}
}

func TestPausedIsSaidAlsoOfAnEndpointThatFails(t *testing.T) {
	w := startStates(t)
	w.run(exitDone, "endpoint", "pause", "acme/failing")
	out, _ := w.run(exitDone, "endpoint", "show", "acme/failing")
	contains(t, out, "acme/failing: paused\n  why       an operator", "\n  error     503", "  probes    7 failed, none while it is paused\n")
	w.must(w.js.DeleteKeyValue(w.ctx, w.names.GatesBucket()))
	out, _ = w.run(exitDone, "endpoint", "show", "acme/failing")
	contains(t, out, "acme/failing: paused\n  why ", "\n  since ", ")\n  waiting   1 held")
}

func TestProbesAreToldFromTheGate(t *testing.T) {
	now := time.Now()
	for want, o := range map[string]gate.Opened{
		"0 failed, the next at":            {NextProbe: now.Add(time.Minute)},
		"2 failed, one is being made by r": {Probes: 2, Prober: "r", NextProbe: now, LeaseEnds: now.Add(time.Second)},
		"3 failed, the next as soon as":    {Probes: 3, Prober: "r", NextProbe: now, LeaseEnds: now},
	} {
		contains(t, probes(o, now), want)
	}
	for want, o := range map[string]gate.Opened{
		"":                {},
		"connection lost": {LastError: "connection lost"},
		"503":             {LastStatus: 503},
		"503 too busy":    {LastStatus: 503, LastError: "too busy"},
		"status 503":      {LastStatus: 503, LastError: "status 503"},
	} {
		if got := lastAnswer(o); got != want {
			t.Errorf("%+v: %q, want %q", o, got, want)
		}
	}
}

func TestPauseAndResumeSayWhatBecomesOfDeliveries(t *testing.T) {
	w := startStates(t)
	for _, c := range []struct{ command, name, want string }{
		{"pause", "acme/crm", "acme/crm paused: its deliveries are held until it is resumed; those that become older than 72h (expire_after)"},
		{"resume", "acme/crm", "acme/crm resumed: nothing was held"},
		{"resume", "acme/held", "acme/held resumed: 3 deliveries that waited are fed back now"},
		{"resume", "acme/seq", "acme/seq resumed: 4 deliveries that waited"},
		{"resume", "globex/crm", "globex/crm resumed: 1 delivery that waited is fed back now"},
		{"resume", "acme/failing", "acme/failing resumed: 1 delivery that waited will be fed back as soon as a probe succeeds"},
		{"resume", "acme/off", "acme/off resumed, but it stays disabled: `jethook endpoint enable acme/off`"},
		{"enable", "acme/off", "acme/off enabled: nothing was held"},
		{"pause", "acme/off", "acme/off paused"},
		{"enable", "acme/off", "acme/off enabled, but it stays paused: `jethook endpoint resume acme/off`"},
	} {
		out, _ := w.run(exitDone, "endpoint", c.command, c.name)
		contains(t, out, c.want)
	}
	for name, unavailable := range map[string]bool{"acme/crm": false, "acme/held": false, "acme/off": true} {
		d, err := w.store.Get(w.ctx, name)
		w.must(err)
		if d.Paused != unavailable || d.Disabled != nil {
			t.Errorf("%s: paused %t, disabled %v", name, d.Paused, d.Disabled)
		}
	}
	_, stderr := w.run(exitFailed, "endpoint", "resume", "acme/hedl")
	contains(t, stderr, "did you mean acme/held?")
}

// exists reports whether an endpoint is there.
func (w *world) exists(name string) bool {
	w.Helper()
	_, err := w.store.Get(w.ctx, name)
	if err != nil && !errors.Is(err, endpoint.ErrNotFound) {
		w.Fatal(err)
	}
	return err == nil
}
