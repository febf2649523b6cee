package main

import (
	"bytes"
	"encoding/json"
	"errors"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
	"github.com/rs/zerolog"

	"jethook/pkg/deadletter"
	"jethook/pkg/delivery"
	"jethook/pkg/embedded"
	"jethook/pkg/endpoint"
	"jethook/pkg/event"
	"jethook/streams"
)

// deadLetters is a NATS server with an endpoint acme/crm and dead letters in
// turn for it and for acme/gone, which does not exist.
type deadLetters struct {
	*testing.T
	url string
	js  jetstream.JetStream
}

func startDeadLetters(t *testing.T, n int) *deadLetters {
	t.Helper()
	s, err := embedded.Start(embedded.Options{DataDir: t.TempDir(), Listen: "127.0.0.1:0", Sync: time.Minute, Logger: zerolog.Nop()})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := s.Stop(); err != nil {
			t.Error(err)
		}
	})
	nc, err := nats.Connect(s.URL())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(nc.Close)
	js, err := jetstream.New(nc)
	if err != nil {
		t.Fatal(err)
	}
	names, err := streams.NewNames("")
	if err != nil {
		t.Fatal(err)
	}
	topology, err := streams.NewTopology(streams.Options{Names: names})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := topology.Ensure(t.Context(), js); err != nil {
		t.Fatal(err)
	}
	kv, err := js.KeyValue(t.Context(), names.EndpointsBucket())
	if err != nil {
		t.Fatal(err)
	}
	d := endpoint.NewDocument()
	d.Tenant, d.ID, d.URL, d.Events = "acme", "crm", "https://crm.example.com/", []string{">"}
	if _, err := endpoint.NewStore(kv).Apply(t.Context(), d); err != nil {
		t.Fatal(err)
	}
	writer := deadletter.NewWriter(names, nc.MaxPayload)
	for i := range n {
		dead := delivery.New(event.Event{ID: "evt_" + strconv.Itoa(i+1), Tenant: "acme", Type: "order.created",
			Time: time.Now(), Seq: uint64(i + 1), Body: []byte(`{"total": ` + strconv.Itoa(i) + `}`)}, []string{"crm", "gone"}[i%2])
		_, dead.State = dead.After(delivery.Result{At: time.Now(), Status: 503, Error: "503 \x1b[31mred"}, delivery.Terms{}, func() float64 { return 0 })
		m, err := writer.Letter(&dead, "https://crm.example.com/", delivery.AttemptsExhausted, time.Now())
		if err != nil {
			t.Fatal(err)
		}
		if _, err := js.PublishMsg(t.Context(), m); err != nil {
			t.Fatal(err)
		}
	}
	return &deadLetters{t, s.URL(), js}
}

// run runs the command line in a pipe, with nobody to ask.
func (d *deadLetters) run(wantExit int, args ...string) (stdout, stderr string) {
	d.Helper()
	var out, errs bytes.Buffer
	a := &app{In: strings.NewReader(""), Out: &out, Err: &errs}
	if exit := run(append([]string{"--server", d.url}, args...), a); exit != wantExit {
		d.Errorf("%s: exit %d, want %d\n%s%s", args, exit, wantExit, &out, &errs)
	}
	if strings.ContainsRune(out.String(), '\x1b') {
		d.Errorf("%s: control codes in a pipe: %q", args, &out)
	}
	return out.String(), errs.String()
}

func (d *deadLetters) count(stream string) int {
	d.Helper()
	s, err := d.js.Stream(d.Context(), stream)
	if err != nil {
		d.Fatal(err)
	}
	return int(s.CachedInfo().State.Msgs)
}

func contains(t *testing.T, text string, wants ...string) {
	t.Helper()
	for _, want := range wants {
		if !strings.Contains(text, want) {
			t.Errorf("no %q in\n%s", want, text)
		}
	}
}

func TestDLQReads(t *testing.T) {
	d := startDeadLetters(t, 4)
	out, _ := d.run(exitDone, "dlq", "list")
	contains(t, out, "attempts_exhausted", "acme/crm", "acme/gone", "evt_4", "order.created", `503 \x1b[31mred`)
	out, _ = d.run(exitDone, "dlq", "list", "--endpoint", "acme/gone", "--since", "1h", "--json")
	lines := strings.Split(strings.TrimSpace(out), "\n")
	if len(lines) != 2 {
		t.Fatalf("%d lines, want 2:\n%s", len(lines), out)
	}
	var l deadletter.Letter
	if err := json.Unmarshal([]byte(lines[1]), &l); err != nil || l.Seq != 4 || l.EventID != "evt_4" {
		t.Errorf("%+v, %v", l, err)
	}
	out, _ = d.run(exitDone, "dlq", "show", "1", "--json")
	contains(t, out, `"payload":{"total":0}`, `"history":[{"attempt":1,`)
	out, _ = d.run(exitDone, "dlq", "show", "1")
	contains(t, out, "Dead letter 1", "acme/crm", `"total": 0`, "attempts_exhausted")
	out, _ = d.run(exitDone, "dlq", "stats")
	contains(t, out, "4 dead letters", "acme/gone", "oldest")
	out, _ = d.run(exitDone, "dlq", "stats", "--json", "--limit", "3")
	contains(t, out, `"total":3`, `"acme/crm":2`)
	_, errs := d.run(exitFailed, "dlq", "show", "99")
	contains(t, errs, "99", "dlq list")
	_, errs = d.run(exitDone, "dlq", "list", "--tenant", "nobody")
	contains(t, errs, "no dead letters")
}

func TestDLQWrongUsage(t *testing.T) {
	d := startDeadLetters(t, 0)
	for _, args := range [][]string{
		{"dlq", "list", "--since", "yesterday"},
		{"dlq", "list", "--reason", "rejcted"},
		{"dlq", "list", "--endpoint", "crm"},
		{"dlq", "list", "--endpoint", "acme/crm", "--tenant", "globex"},
		{"dlq", "list", "--type", "a..b"},
		{"dlq", "show", "0"},
		{"dlq", "stats", "--limit", "-1"},
		{"replay", "--rate", "-1"},
		{"replay", "--seq", "x"},
	} {
		if _, errs := d.run(exitUsage, args...); errs == "" {
			t.Errorf("%s: said nothing", args)
		}
	}
}

func TestDLQPurgeAsks(t *testing.T) {
	d := startDeadLetters(t, 4)
	_, errs := d.run(exitUsage, "dlq", "purge")
	contains(t, errs, "--yes")
	if n := d.count("WEBHOOKS_DLQ"); n != 4 {
		t.Fatalf("%d dead letters are left", n)
	}
	for answer, left := range map[string]int{"n\n": 4, "": 4} {
		var out bytes.Buffer
		a := &app{In: strings.NewReader(answer), Out: &out, Err: &out, Interactive: true, flags: natsFlags{Server: d.url}}
		if err := new(dlqPurgeCmd).Run(t.Context(), a); err != nil || d.count("WEBHOOKS_DLQ") != left {
			t.Errorf("%q: %v, %d are left", answer, err, d.count("WEBHOOKS_DLQ"))
		}
		contains(t, out.String(), "Remove 4 dead letters")
	}
	out, _ := d.run(exitDone, "dlq", "purge", "--yes", "--seq", "2,3")
	contains(t, out, "2 dead letters removed")
	out, _ = d.run(exitDone, "dlq", "purge", "--yes", "--json")
	contains(t, out, `{"removed":2}`)
}

func TestReplay(t *testing.T) {
	d := startDeadLetters(t, 4)
	out, errs := d.run(exitDone, "replay", "--dry-run")
	contains(t, errs, "4 dead letters to replay")
	contains(t, out, "2 dead letters would be replayed", "2 kept because the endpoint does not exist (acme/gone)")
	if n := d.count("WEBHOOKS_DELIVERIES"); n != 0 {
		t.Errorf("a dry run sent %d", n)
	}
	out, _ = d.run(exitDone, "replay", "--seq", "1", "--rate", "1000")
	contains(t, out, "1 dead letter replayed")
	out, _ = d.run(exitDone, "replay", "--json")
	contains(t, out, `"replayed":1`, `"no_endpoint":{"acme/gone":2}`, `"windowed":false`)
	if n := d.count("WEBHOOKS_DELIVERIES"); n != 2 {
		t.Errorf("%d deliveries", n)
	}
	if n := d.count("WEBHOOKS_DLQ"); n != 2 {
		t.Errorf("%d dead letters are left", n)
	}
}

func TestReplayOfOldLettersAsks(t *testing.T) {
	d := startDeadLetters(t, 2)
	later := func() time.Time { return time.Now().Add(25 * time.Hour) }
	try := func(c replayCmd, answer string, interactive bool) (string, error) {
		var out bytes.Buffer
		c.now = later
		a := &app{In: strings.NewReader(answer), Out: &out, Err: &out, Interactive: interactive, flags: natsFlags{Server: d.url}}
		err := c.Run(t.Context(), a)
		return out.String(), err
	}
	out, err := try(replayCmd{}, "", false)
	var usage usageError
	if !errors.As(err, &usage) || !strings.Contains(err.Error(), "--yes") {
		t.Errorf("with nobody to ask: %v", err)
	}
	contains(t, out, "2 of them older than a day")
	out, err = try(replayCmd{}, "no\n", true)
	if err != nil || d.count("WEBHOOKS_DLQ") != 2 {
		t.Errorf("after a no: %v", err)
	}
	contains(t, out, "nothing replayed")
	if out, err = try(replayCmd{DryRun: true}, "", false); err != nil || d.count("WEBHOOKS_DLQ") != 2 {
		t.Errorf("a dry run: %v", err)
	}
	contains(t, out, "2 of them older than a day", "1 dead letter would be")
	if _, err = try(replayCmd{}, "y\n", true); err != nil || d.count("WEBHOOKS_DLQ") != 1 {
		t.Errorf("after a yes: %v", err)
	}
	if _, err = try(replayCmd{Yes: true}, "", false); err != nil {
		t.Errorf("with --yes: %v", err)
	}
}

func TestReplayShowsABarOnATerminal(t *testing.T) {
	d := startDeadLetters(t, 1)
	var out bytes.Buffer
	a := &app{Out: &out, Err: &out, Terminal: true, flags: natsFlags{Server: d.url}}
	if err := new(replayCmd).Run(t.Context(), a); err != nil {
		t.Fatal(err)
	}
	contains(t, out.String(), "replaying", "1 dead letter replayed")
}
