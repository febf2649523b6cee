package streams

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/nats-io/nats-server/v2/server"
	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
)

func ensure(t *testing.T, topology Topology, js jetstream.JetStream) []string {
	t.Helper()
	differences, err := topology.Ensure(testContext(t), js)
	if err != nil {
		t.Fatal(err)
	}
	return lines(differences)
}

func lines(differences []Difference) []string {
	var all []string
	for _, d := range differences {
		all = append(all, fmt.Sprintf("%s %s", d.Action, d))
	}
	return all
}

var everything = []string{
	"create WEBHOOKS_EVENTS: missing", "create WEBHOOKS_DELIVERIES: missing", "create WEBHOOKS_DLQ: missing", "create WEBHOOKS_ATTEMPTS: missing",
	"create KV_webhooks_endpoints: missing", "create KV_webhooks_gates: missing", "create KV_webhooks_replicas: missing",
	"create KV_webhooks_words: missing",
	"create WEBHOOKS_EVENTS > fanout: missing", "create WEBHOOKS_DELIVERIES > deliver: missing",
}

// Right after creation nothing differs: the server takes the definitions as
// they are, and what it adds of its own is no drift.
func TestEnsureCreatesAndThenChangesNothing(t *testing.T) {
	js := connect(t, startServer(t))
	for _, namespace := range []string{"", "acme-7"} { // two on one server do not meet
		topology := testTopology(t, namespace)
		if plan, err := topology.Plan(testContext(t), js); err != nil || len(plan) != len(everything) {
			t.Fatalf("the plan is %q, %v", lines(plan), err)
		}
		got := ensure(t, topology, js)
		if namespace == "" && !slices.Equal(got, everything) {
			t.Errorf("the first run did %q, want %q", got, everything)
		}
		if got := ensure(t, topology, js); len(got) != 0 {
			t.Errorf("the second run found %q, want nothing", got)
		}
	}
	if _, err := js.KeyValue(testContext(t), testNames(t, "").EndpointsBucket()); err != nil {
		t.Errorf("the bucket is none to the client: %v", err)
	}
}

func TestEnsureTwiceAtTheSameTime(t *testing.T) {
	s := startServer(t)
	topology := testTopology(t, "")
	var replicas sync.WaitGroup
	errs := make([]error, 4)
	for i := range errs {
		js := connect(t, s)
		replicas.Go(func() { _, errs[i] = topology.Ensure(testContext(t), js) })
	}
	replicas.Wait()
	if err := errors.Join(errs...); err != nil {
		t.Error(err)
	}
	if got := ensure(t, topology, connect(t, s)); len(got) != 0 {
		t.Errorf("afterwards there is a difference: %q", got)
	}
}

func TestEnsureMakesAMissingConsumerOnly(t *testing.T) {
	js := connect(t, startServer(t))
	topology := testTopology(t, "")
	ensure(t, topology, js)
	if err := js.DeleteConsumer(testContext(t), "WEBHOOKS_DELIVERIES", Deliver); err != nil {
		t.Fatal(err)
	}
	want := []string{"create WEBHOOKS_DELIVERIES > deliver: missing"}
	if got := ensure(t, topology, js); !slices.Equal(got, want) {
		t.Errorf("did %q, want %q", got, want)
	}
	if got := ensure(t, topology, js); len(got) != 0 {
		t.Errorf("then found %q", got)
	}
}

// An operator made a stream or a consumer otherwise, beforehand.
func TestEnsureWithAnOperatorsTopology(t *testing.T) {
	type topologyChange func(events *jetstream.StreamConfig, fanout *jetstream.ConsumerConfig)
	for name, c := range map[string]struct {
		change topologyChange
		found  []string // by the first run
		left   []string // by the second
		failed []string // parts of the first run's error
	}{
		"limits are the operator's choice": {
			change: func(s *jetstream.StreamConfig, _ *jetstream.ConsumerConfig) {
				s.MaxAge, s.MaxBytes, s.Duplicates = time.Hour, 1<<30, time.Minute
			},
			found: []string{
				"keep WEBHOOKS_EVENTS: max_age is 1h0m0s, jethook's definition says 168h0m0s",
				"keep WEBHOOKS_EVENTS: max_bytes is 1073741824, jethook's definition says -1",
				"keep WEBHOOKS_EVENTS: duplicate_window is 1m0s, jethook's definition says 2m0s",
			},
		},
		"but not one that drops what is not delivered": {
			change: func(s *jetstream.StreamConfig, _ *jetstream.ConsumerConfig) {
				s.Discard, s.MaxBytes = jetstream.DiscardOld, 1<<30
			},
			failed: []string{"WEBHOOKS_EVENTS: max_bytes is 1073741824"},
		},
		"so are storage and discard": {
			change: func(s *jetstream.StreamConfig, _ *jetstream.ConsumerConfig) {
				s.Storage, s.Discard = jetstream.MemoryStorage, jetstream.DiscardOld
			},
			found: []string{
				"keep WEBHOOKS_EVENTS: storage is Memory, jethook's definition says File",
				"keep WEBHOOKS_EVENTS: discard is DiscardOld, jethook's definition says DiscardNew",
			},
		},
		"more subjects": {
			change: func(s *jetstream.StreamConfig, _ *jetstream.ConsumerConfig) {
				s.Subjects = []string{"webhooks.events.>", "orders.>"}
			},
			found: []string{"keep WEBHOOKS_EVENTS: subjects is orders.> webhooks.events.>, jethook's definition says webhooks.events.>"},
		},
		"other subjects": {
			change: func(s *jetstream.StreamConfig, _ *jetstream.ConsumerConfig) { s.Subjects = []string{"orders.>"} },
			found:  []string{"update WEBHOOKS_EVENTS: subjects is orders.>, jethook's definition says orders.> webhooks.events.>"},
			left:   []string{"keep WEBHOOKS_EVENTS: subjects is orders.> webhooks.events.>, jethook's definition says webhooks.events.>"},
		},
		"some of ours": {
			change: func(s *jetstream.StreamConfig, _ *jetstream.ConsumerConfig) {
				s.Subjects = []string{"webhooks.events.acme.>"}
			},
			found: []string{"update WEBHOOKS_EVENTS: subjects is webhooks.events.acme.>, jethook's definition says webhooks.events.>"},
		},
		"no direct get": {
			change: func(s *jetstream.StreamConfig, _ *jetstream.ConsumerConfig) { s.AllowDirect = false },
			found:  []string{"update WEBHOOKS_EVENTS: allow_direct is false, jethook's definition says true"},
		},
		"no acknowledgements": {
			change: func(s *jetstream.StreamConfig, _ *jetstream.ConsumerConfig) { s.NoAck = true },
			found:  []string{"update WEBHOOKS_EVENTS: no_ack is true, jethook's definition says false"},
		},
		"wrong retention": {
			change: func(s *jetstream.StreamConfig, _ *jetstream.ConsumerConfig) { s.Retention = jetstream.WorkQueuePolicy },
			failed: []string{"WEBHOOKS_EVENTS: retention is WorkQueue", "JETHOOK_NAMESPACE", "rename or remove"},
		},
		"nothing can be removed": {
			change: func(s *jetstream.StreamConfig, _ *jetstream.ConsumerConfig) { s.DenyDelete, s.DenyPurge = true, true },
			failed: []string{"deny_delete is true", "deny_purge is true"},
		},
		"a consumer with one filter in the other field": {
			change: func(_ *jetstream.StreamConfig, c *jetstream.ConsumerConfig) {
				c.FilterSubject, c.FilterSubjects = "", []string{"webhooks.events.>"}
			},
		},
		"a consumer with more patience and less room": {
			change: func(_ *jetstream.StreamConfig, c *jetstream.ConsumerConfig) {
				c.AckWait, c.MaxDeliver, c.MaxAckPending = time.Minute, 5, 1000
			},
			found: []string{
				"update WEBHOOKS_EVENTS > fanout: ack_wait is 1m0s, jethook's definition says 10s",
				"update WEBHOOKS_EVENTS > fanout: max_deliver is 5, jethook's definition says -1",
				"update WEBHOOKS_EVENTS > fanout: max_ack_pending is 1000, jethook's definition says 50000",
			},
		},
		"a consumer with more room": {
			change: func(_ *jetstream.StreamConfig, c *jetstream.ConsumerConfig) { c.MaxAckPending = 100000 },
		},
		"a consumer with boundless room": {
			change: func(_ *jetstream.StreamConfig, c *jetstream.ConsumerConfig) { c.MaxAckPending = -1 },
		},
		"a consumer without bodies that goes away": {
			change: func(_ *jetstream.StreamConfig, c *jetstream.ConsumerConfig) {
				c.HeadersOnly, c.InactiveThreshold = true, time.Hour
			},
			found: []string{
				"update WEBHOOKS_EVENTS > fanout: headers_only is true, jethook's definition says false",
				"update WEBHOOKS_EVENTS > fanout: inactive_threshold is 1h0m0s, jethook's definition says 0s",
			},
		},
		"a consumer of something else": {
			change: func(_ *jetstream.StreamConfig, c *jetstream.ConsumerConfig) {
				c.FilterSubject = "webhooks.events.acme.>"
			},
			failed: []string{"WEBHOOKS_EVENTS > fanout: filter_subject is webhooks.events.acme.>"},
		},
		"a consumer that acks by itself": {
			change: func(_ *jetstream.StreamConfig, c *jetstream.ConsumerConfig) { c.AckPolicy = jetstream.AckNonePolicy },
			failed: []string{"WEBHOOKS_EVENTS > fanout: ack_policy is AckNone"},
		},
		"a consumer that takes its time": {
			change: func(_ *jetstream.StreamConfig, c *jetstream.ConsumerConfig) {
				c.ReplayPolicy = jetstream.ReplayOriginalPolicy
			},
			failed: []string{"WEBHOOKS_EVENTS > fanout: replay_policy is original"},
		},
	} {
		t.Run(name, func(t *testing.T) {
			js := connect(t, startServer(t))
			topology := testTopology(t, "")
			made := testTopology(t, "")
			fanout := &made.Consumers[0].Config
			c.change(&made.Streams[0], fanout)
			if made.Streams[0].Subjects[0] == "orders.>" {
				made.Consumers = made.Consumers[1:] // it could not filter what the stream has not
			}
			makeAll(t, made, js)

			differences, err := topology.Ensure(testContext(t), js)
			if len(c.failed) > 0 {
				for _, part := range c.failed {
					if err == nil || !strings.Contains(err.Error(), part) {
						t.Errorf("error %v, want one with %q", err, part)
					}
				}
				return
			}
			if err != nil {
				t.Fatal(err)
			}
			got := slices.DeleteFunc(lines(differences), func(s string) bool { return strings.HasPrefix(s, "create ") })
			if !slices.Equal(got, c.found) {
				t.Errorf("found %q, want %q", got, c.found)
			}
			want := c.left
			if want == nil {
				want = slices.DeleteFunc(c.found, func(s string) bool { return !strings.HasPrefix(s, "keep ") })
			}
			if got := ensure(t, topology, js); !slices.Equal(got, want) {
				t.Errorf("the second run found %q, want %q", got, want)
			}
		})
	}
}

// A version without lanes had deliver read them all. The filter changes while
// the consumer is in use, and what was handed out before can still be acked.
func TestEnsureNarrowsDeliver(t *testing.T) {
	js := connect(t, startServer(t))
	topology, before := testTopology(t, ""), testTopology(t, "")
	before.Consumers[1].Config.FilterSubject = "webhooks.deliveries.>"
	makeAll(t, before, js)
	ctx := testContext(t)
	for _, lane := range []string{"gold", "default"} {
		if _, err := js.Publish(ctx, testNames(t, "").Delivery(lane, "acme", "crm"), nil); err != nil {
			t.Fatal(err)
		}
	}
	deliver, err := js.Consumer(ctx, "WEBHOOKS_DELIVERIES", Deliver)
	if err != nil {
		t.Fatal(err)
	}
	handedOut, err := deliver.Next()
	if err != nil {
		t.Fatal(err)
	}
	want := []string{"update WEBHOOKS_DELIVERIES > deliver: filter_subject is webhooks.deliveries.>, jethook's definition says webhooks.deliveries.default.>"}
	if got := ensure(t, topology, js); !slices.Equal(got, want) {
		t.Errorf("did %q, want %q", got, want)
	}
	if err := handedOut.DoubleAck(ctx); err != nil {
		t.Error(err)
	}
	info, err := deliver.Info(ctx)
	if err != nil || info.NumPending != 1 || info.NumAckPending != 0 {
		t.Errorf("%d pending, %d not acked, %v; want the default lane's one delivery", info.NumPending, info.NumAckPending, err)
	}
	if got := ensure(t, topology, js); len(got) != 0 {
		t.Errorf("then found %q", got)
	}
}

// makeAll makes a topology without Ensure, as an operator's tool would.
func makeAll(t *testing.T, topology Topology, js jetstream.JetStream) {
	t.Helper()
	for _, s := range topology.Streams {
		if _, err := js.CreateStream(testContext(t), s); err != nil {
			t.Fatalf("create %s: %v", s.Name, err)
		}
	}
	for _, c := range topology.Consumers {
		if _, err := js.CreateConsumer(testContext(t), c.Stream, c.Config); err != nil {
			t.Fatalf("create %s: %v", c.Config.Durable, err)
		}
	}
}

func TestEnsureWhereAnotherStreamTakesTheSubjects(t *testing.T) {
	js := connect(t, startServer(t))
	if _, err := js.CreateStream(testContext(t), jetstream.StreamConfig{Name: "ALL", Subjects: []string{"webhooks.>"}}); err != nil {
		t.Fatal(err)
	}
	_, err := testTopology(t, "").Ensure(testContext(t), js)
	for _, part := range []string{"create stream WEBHOOKS_EVENTS", "overlap", "another stream", "JETHOOK_NAMESPACE"} {
		if err == nil || !strings.Contains(err.Error(), part) {
			t.Errorf("error %v, want one with %q", err, part)
		}
	}
}

func TestEnsureWithoutRights(t *testing.T) {
	user := func(name string, allow ...string) *server.User {
		return &server.User{Username: name, Password: name, Permissions: &server.Permissions{Publish: &server.SubjectPermission{Allow: allow}}}
	}
	s := startServer(t, &server.User{Username: "operator", Password: "operator"},
		user("reader", "$JS.API.STREAM.INFO.*", "$JS.API.CONSUMER.INFO.*.*"), user("nobody", "nothing"))
	as := func(name string) jetstream.JetStream { return connect(t, s, nats.UserInfo(name, name)) }
	topology := testTopology(t, "")
	refused := func(name string, parts ...string) {
		t.Helper()
		start := time.Now()
		_, err := topology.Ensure(testContext(t), as(name))
		for _, part := range append(parts, "jethook streams apply", "Permissions Violation") {
			if err == nil || !strings.Contains(err.Error(), part) {
				t.Errorf("%s: error %v, want one with %q", name, err, part)
			}
		}
		if !errors.Is(err, nats.ErrPermissionViolation) {
			t.Errorf("%s: error %v is no violation", name, err)
		}
		if took := time.Since(start); took > 10*time.Second {
			t.Errorf("%s: the answer took %s", name, took)
		}
	}
	refused("nobody", "look up stream WEBHOOKS_EVENTS", "$JS.API.STREAM.INFO.WEBHOOKS_EVENTS")
	refused("reader", "create stream WEBHOOKS_EVENTS", "create stream KV_webhooks_endpoints",
		"create consumer WEBHOOKS_DELIVERIES > deliver", "$JS.API.STREAM.CREATE.WEBHOOKS_EVENTS")

	ensure(t, topology, as("operator"))
	if got := ensure(t, topology, as("reader")); len(got) != 0 {
		t.Errorf("once an operator made everything, the reader finds %q", got)
	}
	if err := as("operator").DeleteConsumer(testContext(t), "WEBHOOKS_EVENTS", Fanout); err != nil {
		t.Fatal(err)
	}
	refused("reader", "create consumer WEBHOOKS_EVENTS > fanout")
}

// What was refused once and is granted now is not refused for old times' sake.
func TestAnOldViolationIsForgotten(t *testing.T) {
	s := startServer(t, &server.User{Username: "u", Password: "u",
		Permissions: &server.Permissions{Publish: &server.SubjectPermission{Deny: []string{"secret"}}}})
	violated := make(chan struct{}, 1)
	js := connect(t, s, nats.UserInfo("u", "u"))
	js.Conn().SetErrorHandler(func(*nats.Conn, *nats.Subscription, error) { violated <- struct{}{} })
	if err := js.Conn().Publish("secret", nil); err != nil {
		t.Fatal(err)
	}
	<-violated
	if !errors.Is(js.Conn().LastError(), nats.ErrPermissionViolation) {
		t.Fatalf("the connection's last error is %v", js.Conn().LastError())
	}
	if got := ensure(t, testTopology(t, ""), js); len(got) != len(everything) {
		t.Errorf("did %q", got)
	}
}

func TestEnsureErrors(t *testing.T) {
	t.Run("no JetStream", func(t *testing.T) {
		s, err := server.NewServer(&server.Options{Host: "127.0.0.1", Port: -1, NoSigs: true, NoLog: true})
		if err != nil {
			t.Fatal(err)
		}
		s.Start()
		t.Cleanup(func() { s.Shutdown(); s.WaitForShutdown() })
		_, err = testTopology(t, "").Ensure(testContext(t), connect(t, s))
		if err == nil || !strings.Contains(err.Error(), "-js") || !strings.Contains(err.Error(), "WEBHOOKS_EVENTS") {
			t.Errorf("error %v does not say how to start it", err)
		}
	})
	t.Run("no cluster", func(t *testing.T) {
		topology, err := NewTopology(Options{Names: testNames(t, ""), Replicas: 3})
		if err != nil {
			t.Fatal(err)
		}
		_, err = topology.Ensure(testContext(t), connect(t, startServer(t)))
		if err == nil || !strings.Contains(err.Error(), "JETHOOK_STREAM_REPLICAS must be 1") {
			t.Errorf("error %v does not say what to do", err)
		}
	})
	t.Run("canceled", func(t *testing.T) {
		ctx, cancel := context.WithCancel(t.Context())
		cancel()
		if _, err := testTopology(t, "").Ensure(ctx, connect(t, startServer(t))); !errors.Is(err, context.Canceled) {
			t.Errorf("error %v, want context.Canceled", err)
		}
	})
}

func TestCovers(t *testing.T) {
	for _, c := range []struct {
		a, b string
		want bool
	}{
		{"a.b", "a.b", true}, {"a.b", "a.c", false}, {"a", "a.b", false}, {"a.b", "a", false},
		{"a.>", "a.b.c", true}, {"a.>", "a.>", true}, {"a.>", "a", false}, {"a.>", "b.c", false}, {">", "a.>", true},
		{"a.*", "a.b", true}, {"a.*", "a.>", false}, {"a.b", "a.*", false}, {"*.b", "a.b", true}, {"a.*", "a.*", true},
		{"a.*.>", "a.b.>", true}, {"a.*.>", "a.>", false}, {"a.b.>", "a.>", false},
	} {
		if got := covers(c.a, c.b); got != c.want {
			t.Errorf("covers(%q, %q) = %v, want %v", c.a, c.b, got, c.want)
		}
	}
}

// The stream of deliveries discards its oldest message when it is full, because
// schedules forbid otherwise: so it must never be full.
func TestEnsureRefusesLimitsOnDeliveries(t *testing.T) {
	topology, err := NewTopology(Options{Names: testNames(t, "")})
	if err != nil {
		t.Fatal(err)
	}
	for _, want := range topology.Streams {
		if want.Retention != jetstream.WorkQueuePolicy {
			continue
		}
		for field, limit := range map[string]func(*jetstream.StreamConfig){
			"max_age":   func(c *jetstream.StreamConfig) { c.MaxAge = time.Hour },
			"max_bytes": func(c *jetstream.StreamConfig) { c.MaxBytes = 1 << 30 },
			"max_msgs":  func(c *jetstream.StreamConfig) { c.MaxMsgs = 1000 },
		} {
			have := want
			limit(&have)
			all, _ := compareStream(have, want)
			if len(all) != 1 || all[0].Action != Conflict || all[0].Field != field {
				t.Errorf("%s: %v, want a conflict", field, all)
			}
		}
		return
	}
	t.Fatal("no work queue")
}
