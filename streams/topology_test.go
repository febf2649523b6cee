package streams

import (
	"bytes"
	"encoding/json"
	"flag"
	"os"
	"slices"
	"strings"
	"testing"

	"github.com/nats-io/nats.go/jetstream"
)

var update = flag.Bool("update", false, "write the golden file anew")

const golden = "testdata/topology.golden.json"

// A change of the topology shows here, and so in review.
func TestTopologyIsGolden(t *testing.T) {
	resolved := map[string]Topology{"webhooks": testTopology(t, ""), "acme-7": testTopology(t, "acme-7")}
	var b bytes.Buffer
	e := json.NewEncoder(&b)
	e.SetIndent("", "  ")
	e.SetEscapeHTML(false) // subjects end in >
	if err := e.Encode(resolved); err != nil {
		t.Fatal(err)
	}
	got := b.Bytes()
	if *update {
		if err := os.WriteFile(golden, got, 0o644); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(golden)
	if err != nil {
		t.Fatal(err)
	}
	if !bytes.Equal(got, want) {
		t.Errorf("the topology is not %s; if it is meant to be, run go test ./streams -update\n%s", golden, firstDifference(got, want))
	}
}

func firstDifference(got, want []byte) string {
	g, w := strings.Split(string(got), "\n"), strings.Split(string(want), "\n")
	for i := range min(len(g), len(w)) {
		if g[i] != w[i] {
			return "got  " + g[i] + "\nwant " + w[i]
		}
	}
	return "one has more lines"
}

// What the nats tools do not know they refuse or, worse, drop.
func TestDefinitionsHaveKnownFieldsOnly(t *testing.T) {
	entries, err := definitions.ReadDir(".")
	if err != nil {
		t.Fatal(err)
	}
	topology := testTopology(t, "")
	if got, want := len(entries), len(topology.Streams)+len(topology.Consumers); got != want {
		t.Errorf("%d definitions, and %d in the topology", got, want)
	}
	for _, e := range entries {
		data, err := definitions.ReadFile(e.Name())
		if err != nil {
			t.Fatal(err)
		}
		var into any = new(jetstream.StreamConfig)
		if bytes.Contains(data, []byte(`"durable_name"`)) {
			into = new(jetstream.ConsumerConfig)
		}
		d := json.NewDecoder(bytes.NewReader(data))
		d.DisallowUnknownFields()
		if err := d.Decode(into); err != nil {
			t.Errorf("%s: %v", e.Name(), err)
		}
	}
}

func TestNamespaceIsEverywhere(t *testing.T) {
	n := testNames(t, "acme-7")
	data, err := json.Marshal(testTopology(t, "acme-7"))
	if err != nil {
		t.Fatal(err)
	}
	if bytes.Contains(bytes.ToLower(data), []byte(DefaultNamespace)) {
		t.Errorf("the default namespace is left in %s", data)
	}
	var names []string
	for _, s := range testTopology(t, "acme-7").Streams {
		names = append(names, s.Name)
	}
	want := []string{n.Events(), n.Deliveries(), n.DeadLetters(), n.Attempts(), "KV_" + n.EndpointsBucket(), "KV_" + n.GatesBucket(), "KV_" + n.ReplicasBucket(), "KV_" + n.WordsBucket()}
	if !slices.Equal(names, want) {
		t.Errorf("streams %q, want %q", names, want)
	}
}

func TestReplicas(t *testing.T) {
	for replicas, want := range map[int]int{0: 1, 1: 1, 3: 3} {
		topology, err := NewTopology(Options{Names: testNames(t, ""), Replicas: replicas})
		if err != nil {
			t.Fatal(err)
		}
		for _, s := range topology.Streams {
			if s.Replicas != want {
				t.Errorf("Replicas %d: stream %s has %d, want %d", replicas, s.Name, s.Replicas, want)
			}
		}
		for _, c := range topology.Consumers {
			if c.Config.Replicas != 0 {
				t.Errorf("consumer %s has %d replicas of its own, want the stream's", c.Config.Durable, c.Config.Replicas)
			}
		}
	}
}

func TestFrom(t *testing.T) {
	topology := testTopology(t, "")
	for _, c := range []struct {
		durable string
		floor   uint64
		start   uint64 // 0: everything
	}{{Fanout, 41, 42}, {Fanout, 0, 0}, {Deliver, 41, 0}, {"other", 41, 0}} {
		for i, got := range topology.From(c.durable, c.floor).Consumers {
			want := topology.Consumers[i].Config
			if want.Durable == c.durable && c.start > 0 {
				want.DeliverPolicy, want.OptStartSeq = jetstream.DeliverByStartSequencePolicy, c.start
			}
			if g, w := mustJSON(t, got.Config), mustJSON(t, want); g != w {
				t.Errorf("From(%s, %d): %s, want %s", c.durable, c.floor, g, w)
			}
		}
	}
	if topology.Consumers[0].Config.OptStartSeq != 0 {
		t.Error("From changed the topology that it was asked of")
	}
}

func mustJSON(t *testing.T, v any) string {
	t.Helper()
	data, err := json.Marshal(v)
	if err != nil {
		t.Fatal(err)
	}
	return string(data)
}

// Buckets are streams, too, and not among those that hold messages.
func TestNamesLeavesBucketsOut(t *testing.T) {
	n, err := NewNames("acme")
	if err != nil {
		t.Fatal(err)
	}
	topology, err := NewTopology(Options{Names: n})
	if err != nil {
		t.Fatal(err)
	}
	got := topology.Names()
	for _, want := range []string{n.Events(), n.Deliveries(), n.DeadLetters()} {
		if !slices.Contains(got, want) {
			t.Errorf("%q lacks %s", got, want)
		}
	}
	if slices.ContainsFunc(got, func(name string) bool { return strings.HasPrefix(name, "KV_") }) {
		t.Errorf("%q has buckets", got)
	}
}
