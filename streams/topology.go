package streams

import (
	"embed"
	"encoding/json"
	"fmt"
	"strings"

	"github.com/nats-io/nats.go/jetstream"
)

//go:embed *.json
var definitions embed.FS

// Topology is the set of streams and consumers of one namespace.
type Topology struct {
	Streams   []jetstream.StreamConfig // buckets among them, as the streams that they are
	Consumers []Consumer
}

// Consumer is a durable consumer and the stream that it reads.
type Consumer struct {
	Stream string
	Config jetstream.ConsumerConfig
}

// Options say in what a topology differs from the definitions.
type Options struct {
	Names    Names
	Replicas int // of every stream; 0 means 1
}

// NewTopology reads the embedded definitions for a namespace.
func NewTopology(o Options) (Topology, error) {
	var t Topology
	for _, file := range []string{"events", "deliveries", "dlq", "attempts", "kv_endpoints", "kv_gates", "kv_replicas", "kv_words"} {
		var c jetstream.StreamConfig
		if err := load(file, o.Names, &c); err != nil {
			return Topology{}, err
		}
		if o.Replicas > 0 {
			c.Replicas = o.Replicas
		}
		t.Streams = append(t.Streams, c)
	}
	for _, c := range []struct{ file, stream string }{
		{"events_fanout", o.Names.Events()},
		{"deliveries_deliver", o.Names.Deliveries()},
	} {
		var config jetstream.ConsumerConfig
		if err := load(c.file, o.Names, &config); err != nil {
			return Topology{}, err
		}
		t.Consumers = append(t.Consumers, Consumer{c.stream, config})
	}
	return t, nil
}

// load decodes a definition, with the namespace's names put in the place of the
// default's.
func load(file string, n Names, into any) error {
	data, err := definitions.ReadFile(file + ".json")
	if err != nil {
		return fmt.Errorf("definition %s: %w", file, err)
	}
	text := strings.NewReplacer(
		`"webhooks.`, `"`+n.namespace+`.`,
		`"WEBHOOKS_`, `"`+strings.ToUpper(n.namespace)+`_`,
		`KV_webhooks_`, `KV_`+n.namespace+`_`,
		`$KV.webhooks_`, `$KV.`+n.namespace+`_`,
	).Replace(string(data))
	if err := json.Unmarshal([]byte(text), into); err != nil {
		return fmt.Errorf("definition %s: %w", file, err)
	}
	return nil
}

// WithoutEndpoints returns the topology without the bucket of endpoints: were it
// made again where somebody deleted it, an empty one would mean that there are
// no endpoints.
func (t Topology) WithoutEndpoints() Topology {
	var kept []jetstream.StreamConfig
	for _, s := range t.Streams {
		if !strings.HasSuffix(s.Name, "_endpoints") {
			kept = append(kept, s)
		}
	}
	return Topology{kept, t.Consumers}
}

// Names returns the names of the streams that are no buckets.
func (t Topology) Names() []string {
	var names []string
	for _, s := range t.Streams {
		if !strings.HasPrefix(s.Name, "KV_") {
			names = append(names, s.Name)
		}
	}
	return names
}

// Bucket returns the topology of one bucket alone.
func (t Topology) Bucket(name string) Topology { return t.Stream("KV_" + name) }

// Stream returns the topology of one stream alone, without consumers.
func (t Topology) Stream(name string) Topology {
	var alone Topology
	for _, s := range t.Streams {
		if s.Name == name {
			alone.Streams = append(alone.Streams, s)
		}
	}
	return alone
}

// From returns the topology with a consumer that begins behind a sequence, for
// one that must be made again and whose messages up to there were acked. On a
// work queue the acked messages are gone, and nothing changes.
func (t Topology) From(durable string, floor uint64) Topology {
	consumers := append([]Consumer(nil), t.Consumers...)
	for i, c := range consumers {
		if c.Config.Durable == durable && readsEvents(durable) && floor > 0 {
			consumers[i].Config.DeliverPolicy = jetstream.DeliverByStartSequencePolicy
			consumers[i].Config.OptStartSeq = max(floor+1, c.Config.OptStartSeq)
		}
	}
	return Topology{t.Streams, consumers}
}
