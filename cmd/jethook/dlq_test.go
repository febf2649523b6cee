package main

import (
	"bytes"
	"encoding/json"
	"errors"
	"regexp"
	"strconv"
	"strings"
	"testing"
	"time"

	"jethook/pkg/deadletter"
	"jethook/pkg/delivery"
	"jethook/pkg/event"
)

// startDeadLetters starts a world with dead letters in turn for acme/crm and for
// acme/gone, which does not exist.
func startDeadLetters(t *testing.T, n int) *world {
	t.Helper()
	w := startWorld(t)
	writer := deadletter.NewWriter(w.names, w.js.Conn().MaxPayload)
	for i := range n {
		dead := delivery.New(event.Event{ID: "evt_" + strconv.Itoa(i+1), Tenant: "acme", Type: "order.created",
			Time: time.Now(), Seq: uint64(i + 1), Body: []byte(`{"total": ` + strconv.Itoa(i) + `}`)}, []string{"crm", "gone"}[i%2])
		_, dead.State = dead.After(delivery.Result{At: time.Now(), Status: 503, Error: "503 \x1b[31mred"}, delivery.Terms{}, func() float64 { return 0 })
		m, err := writer.Letter(&dead, "https://crm.example.com/", delivery.AttemptsExhausted, time.Now())
		w.must(err)
		_, err = w.js.PublishMsg(t.Context(), m)
		w.must(err)
	}
	return w
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

func TestDLQShowsWhatWasAProbe(t *testing.T) {
	w := startWorld(t)
	dead := delivery.New(event.Event{ID: "evt_1", Tenant: "acme", Type: "order.created", Time: time.Now(), Seq: 1}, "crm")
	dead.State = dead.AfterProbe(delivery.Result{At: time.Now(), Status: 502})
	_, dead.State = dead.After(delivery.Result{At: time.Now(), Status: 503}, delivery.Terms{}, func() float64 { return 0 })
	m, err := deadletter.NewWriter(w.names, w.js.Conn().MaxPayload).Letter(&dead, "https://crm.example.com/", delivery.EndpointDown, time.Now())
	w.must(err)
	_, err = w.js.PublishMsg(w.ctx, m)
	w.must(err)
	out, _ := w.run(exitDone, "dlq", "show", "1")
	if probe := regexp.MustCompile(`(?m)^ *probe .* 502 `); !probe.MatchString(out) {
		t.Errorf("no probe in\n%s", out)
	}
	if attempt := regexp.MustCompile(`(?m)^ *1 .* 503 `); !attempt.MatchString(out) {
		t.Errorf("no first attempt in\n%s", out)
	}
	out, _ = w.run(exitDone, "dlq", "show", "1", "--json")
	contains(t, out, `"probe":true`)
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
	out, _ := d.run(exitDone, "dlq", "purge", "--yes", "--seq", "2")
	contains(t, out, "1 dead letter removed")
	// What is missing is accounted for, and nothing beside it.
	ledger, err := d.js.Stream(t.Context(), d.names.Attempts())
	d.must(err)
	said, err := ledger.GetLastMsgForSubject(t.Context(), d.names.Ledger("0"))
	d.must(err)
	contains(t, string(said.Data), `"tenant":"acme","endpoint":"gone"`, `"discarded":true,"letters":true`)
	if strings.Contains(string(said.Data), `"crm"`) {
		t.Errorf("it is said of others, too: %s", said.Data)
	}
	d.must(d.js.DeleteStream(t.Context(), d.names.Attempts()))
	out, errs = d.run(exitDone, "dlq", "purge", "--yes", "--json")
	contains(t, out, `{"removed":3}`)
	contains(t, errs, "audit will not know")
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
	out, _ = d.run(exitDone, "replay", "--dry-run", "--json")
	contains(t, out, `"replayed":1`, `"dry_run":true`)
	out, _ = d.run(exitDone, "replay", "--json")
	contains(t, out, `"replayed":1`, `"dry_run":false`, `"no_endpoint":{"acme/gone":2}`, `"windowed":false`)
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
