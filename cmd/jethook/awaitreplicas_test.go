package main

import (
	"bytes"
	"encoding/json"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"jethook/pkg/endpoint"
	"jethook/pkg/fleet"
)

// beats writes one heartbeat of a replica that has a revision in force.
func (w *world) beats(id string, revision uint64) {
	w.Helper()
	w.member(fleet.Member{ID: id, Endpoints: revision})
}

// member writes one heartbeat.
func (w *world) member(m fleet.Member) {
	w.Helper()
	data, err := json.Marshal(m)
	w.must(err)
	_, err = w.bucket(w.names.ReplicasBucket()).Put(w.ctx, m.ID, data)
	w.must(err)
}

// file writes a file of endpoints.
func (w *world) file(text string) string {
	w.Helper()
	name := filepath.Join(w.TempDir(), "endpoints.yaml")
	w.must(os.WriteFile(name, []byte(text), 0o600))
	return name
}

const oneOfEach = `
lanes: [{id: urgent, filters: ["*.auth.>"], weight: 4}]
endpoints: [{tenant: acme, id: erp, url: "https://erp.example.com/", events: ["order.*"]}]
`

func TestEveryChangeTellsOfAReplicaThatDoesNotFollow(t *testing.T) {
	t.Parallel()
	w := startWorld(t)
	file := w.file(oneOfEach)
	for _, c := range []struct {
		args []string
		says string
	}{
		{[]string{"endpoint", "apply", "-f", file}, "acme/erp created"},
		{[]string{"endpoint", "apply", "-f", file, "--json"}, `"result":"unchanged"`},
		{[]string{"endpoint", "pause", "acme/erp"}, "acme/erp paused"},
		{[]string{"endpoint", "resume", "acme/erp"}, "acme/erp resumed"},
		{[]string{"endpoint", "enable", "acme/erp"}, "acme/erp enabled"},
		{[]string{"endpoint", "rotate-secret", "acme/erp"}, "shown once"},
		{[]string{"endpoint", "remove", "acme/erp", "--yes"}, "acme/erp removed"},
		{[]string{"lane", "remove", "urgent", "--yes"}, "lane urgent"},
	} {
		w.beats("quick", 1<<40)
		w.beats("slow", 0)
		var out, errs bytes.Buffer
		a := &app{In: strings.NewReader(""), Out: &out, Err: &errs, patience: 3 * time.Second}
		_, stderr := w.runAs(a, exitDone, c.args...)
		contains(t, out.String(), c.says)
		contains(t, stderr, "slow", "old documents")
		if strings.Contains(stderr, "quick") {
			t.Errorf("%s: %s", c.args, stderr)
		}
	}
}

// What was stored before a document that is refused is awaited like any change,
// and without such there is nothing to await.
func TestAFileThatIsRefusedInTheMiddle(t *testing.T) {
	t.Parallel()
	w := startWorld(t)
	w.run(exitDone, "endpoint", "apply", "-f", w.file(oneOfEach))
	for _, c := range []struct {
		lanes string
		waits bool
	}{
		{`{id: bulk}, {id: urgent, filters: ["*.bank.>"]}`, true},
		{`{id: urgent, filters: ["*.bank.>"]}`, false},
	} {
		w.beats("slow", 0)
		var out, errs bytes.Buffer
		a := &app{In: strings.NewReader(""), Out: &out, Err: &errs, patience: 3 * time.Second}
		_, stderr := w.runAs(a, exitFailed, "endpoint", "apply", "-f", w.file("lanes: ["+c.lanes+"]\n"))
		contains(t, stderr, "cannot be changed")
		if strings.Contains(stderr, "slow") != c.waits || strings.Contains(out.String(), "bulk created") != c.waits {
			t.Errorf("%s: %s%s", c.lanes, out.String(), stderr)
		}
	}
}

func TestAChangeWaitsUntilTheReplicasFollow(t *testing.T) {
	w := startWorld(t)
	w.announces(oldMaster)
	w.beats("slow", 0)
	out, errs := &demoOutput{}, &demoOutput{}
	a := &app{In: strings.NewReader(""), Out: out, Err: errs, patience: time.Minute}
	ended := make(chan int, 1)
	go func() {
		ended <- run([]string{"--server", w.url, "endpoint", "apply", "-f", w.file(oneOfEach)}, a)
	}()
	// What was written is told before all replicas know of it.
	select {
	case <-out.printed("acme/erp created"):
	case <-w.ctx.Done():
		t.Fatal("nothing was printed")
	}
	w.until("it watches the replicas", func() bool {
		w.beats("slow", 0) // it lives on
		s, err := w.js.Stream(w.ctx, "KV_"+w.names.ReplicasBucket())
		w.must(err)
		return s.CachedInfo().State.Consumers > 0
	})
	documents, err := w.js.Stream(w.ctx, "KV_"+w.names.EndpointsBucket())
	w.must(err)
	last := documents.CachedInfo().State.LastSeq
	w.beats("slow", last-1)
	select {
	case exit := <-ended:
		t.Fatalf("it ended with exit code %d before the replica followed", exit)
	default:
	}
	w.beats("slow", last)
	select {
	case exit := <-ended:
		if exit != exitDone || errs.String() != "" {
			t.Errorf("exit code %d: %s", exit, errs)
		}
	case <-w.ctx.Done():
		t.Fatal("it did not see the replica follow")
	}
}

func TestWithoutReplicasNobodyIsAwaited(t *testing.T) {
	w := startWorld(t)
	patient := func() *app {
		return &app{In: strings.NewReader(""), Out: &bytes.Buffer{}, Err: &bytes.Buffer{}, patience: time.Minute}
	}
	began := time.Now()
	if _, stderr := w.runAs(patient(), exitDone, "endpoint", "pause", "acme/crm"); stderr != "" {
		t.Error(stderr)
	}
	w.must(w.js.DeleteKeyValue(w.ctx, w.names.ReplicasBucket()))
	if _, stderr := w.runAs(patient(), exitDone, "endpoint", "resume", "acme/crm"); stderr != "" {
		t.Error(stderr)
	}
	if took := time.Since(began); took > time.Minute/2 {
		t.Errorf("it took %s", took)
	}
	d, err := w.store.Get(w.ctx, "acme/crm")
	w.must(err)
	if d.Paused {
		t.Error("it was not resumed")
	}
}

func TestApplyPrintsOneLineForEach(t *testing.T) {
	w := startWorld(t)
	file := w.file(oneOfEach)
	out, _ := w.run(exitDone, "endpoint", "apply", "-f", file)
	contains(t, out, "lane urgent created\nacme/erp created\n  signing secret, shown once: whsec_")
	out, _ = w.run(exitDone, "endpoint", "apply", "-f", file, "--json")
	lines := strings.Split(strings.TrimSpace(out), "\n")
	for i, want := range []string{"lane", "endpoint"} {
		var line map[string]any
		w.must(json.Unmarshal([]byte(lines[i]), &line))
		if line[want] == nil || line["result"] != string(endpoint.Unchanged) || line["revision"] == nil || len(lines) != 2 {
			t.Errorf("line %d is %s", i, lines[i])
		}
	}
}
