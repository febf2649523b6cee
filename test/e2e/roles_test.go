package e2e

import (
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/nats-io/nats.go/jetstream"

	"jethook/pkg/receiver"
	"jethook/streams"
)

// TestEveryRoleCanDoItsWorkAndNeedsAllThatIsPrintedForIt plays all that jethook
// does, with a user for each role. The server must have had nothing to refuse,
// and of what is printed for a role there must be nothing that was not used.
func TestEveryRoleCanDoItsWorkAndNeedsAllThatIsPrintedForIt(t *testing.T) {
	t.Parallel()
	asked := newAsked()
	well := t.Run("parts", func(t *testing.T) {
		t.Run("all but ordered endpoints and lanes", func(t *testing.T) {
			t.Parallel()
			s := startStage(t, "")
			theTopologyIsProvisioned(t, s)
			followersKeepUp(t, s)
			replicasDeliver(t, s)
			asked.note(t, s)
		})
		t.Run("ordered endpoints and lanes", func(t *testing.T) {
			t.Parallel()
			s := startStage(t, "")
			s.may(t, "provisioner", "streams", "apply")
			replicasServeOrderAndLanes(t, s)
			asked.note(t, s)
		})
		t.Run("the other form of acknowledgements", func(t *testing.T) {
			t.Parallel()
			s := startStage(t, "feature_flags: {js_ack_fc_v2: true}")
			s.may(t, "provisioner", "streams", "apply")
			followersKeepUp(t, s)
			replicasAcknowledge(t, s)
			asked.note(t, s)
		})
	})
	if well {
		asked.everything(t)
	}
}

// theTopologyIsProvisioned makes it, and makes right what somebody changed.
func theTopologyIsProvisioned(t *testing.T, s *stage) {
	t.Helper()
	ctx := t.Context()
	if _, _, code := cliWith(t, append(environment(), s.as("reader")...), "", "streams", "check"); code != 1 {
		t.Errorf("streams check without streams: exit code %d", code)
	}
	s.may(t, "provisioner", "streams", "plan")
	s.may(t, "provisioner", "streams", "apply")
	all := s.js.ListStreams(ctx)
	for info := range all.Info() {
		c := info.Config
		c.AllowDirect = false
		if _, err := s.js.UpdateStream(ctx, c); err != nil {
			t.Fatal(err)
		}
	}
	if err := all.Err(); err != nil {
		t.Fatal(err)
	}
	if out := s.may(t, "provisioner", "streams", "apply"); strings.Count(out, "allow_direct") != 8 {
		t.Errorf("not all eight streams were changed: %s", out)
	}
	s.may(t, "reader", "streams", "check")
}

// followersKeepUp lets the roles that follow buckets read more than the server
// sends without being told that it arrives.
func followersKeepUp(t *testing.T, s *stage) {
	t.Helper()
	ctx := t.Context()
	const entries, size = 60, smallPayload - 1024
	defer s.keepHeartbeats(t, s.keepHeartbeats(t, 0))
	for _, bucket := range []string{"webhooks_endpoints", "webhooks_gates", "webhooks_replicas"} {
		kv, err := s.js.KeyValue(ctx, bucket)
		if err != nil {
			t.Fatal(err)
		}
		for i := range entries {
			if _, err := kv.Put(ctx, fmt.Sprintf("acme.e%d", i), make([]byte, size)); err != nil {
				t.Fatal(err)
			}
		}
		for _, user := range []string{"worker", "reader"} {
			_, js := s.connect(t, user)
			kv, err := js.KeyValue(ctx, bucket)
			if err != nil {
				t.Fatal(err)
			}
			watch, err := streams.WatchBucket(ctx, kv, jetstream.AllKeys)
			if err != nil {
				t.Fatal(err)
			}
			timeout := time.After(patience)
			for read := 0; read < entries; {
				select {
				case entry := <-watch.Updates():
					if entry != nil {
						read++
					}
				case <-timeout:
					t.Fatalf("%s: after %d of %d entries of %s nothing more comes", user, read, entries, bucket)
				}
			}
			watch.Stop()
		}
		stream, err := s.js.Stream(ctx, "KV_"+bucket)
		if err == nil {
			err = stream.Purge(ctx)
		}
		if err != nil {
			t.Fatal(err)
		}
	}
}

const roleDocuments = `endpoints:
- {tenant: acme, id: crm, url: "%[1]s", events: ["order.>"], timeout: 1s, retry: {base: 200ms, max_delay: 2s, max_attempts: 100}}
- {tenant: acme, id: flaky, url: "%[2]s", events: ["flaky.>"], retry: {base: 100ms, max_delay: 1s, max_attempts: 100}}
- {tenant: acme, id: strict, url: "%[3]s", events: ["bad.>"]}
- {tenant: acme, id: late, url: "%[4]s", events: ["late.>"], retry: {schedule: [10m]}}
- {tenant: acme, id: gone, url: "%[5]s", events: ["gone.>"]}
- {tenant: acme, id: old, url: "%[5]s", events: ["old.>"], paused: true, expire_after: 2s}
`

// replicasDeliver plays two replicas, and a reader and an operator beside them.
func replicasDeliver(t *testing.T, s *stage) {
	t.Helper()
	serve(t, s.as("worker")...)
	serve(t, s.as("worker")...)
	crm, flaky := newDoor(t, receiver.Options{}), newSink(t, receiver.Options{Fail: 0.5, Status: saysNothing})
	strict := newSink(t, receiver.Options{Status: http.StatusBadRequest})
	late, gone := newSink(t, receiver.Options{Status: saysNothing}), newSink(t, receiver.Options{Status: http.StatusGone})
	s.apply(t, fmt.Sprintf(roleDocuments, crm.url, flaky.url, strict.url, late.url, gone.url))
	s.may(t, "operator", "endpoint", "rotate-secret", "acme/crm")
	s.may(t, "operator", "endpoint", "test", "acme/crm")

	large := strings.Repeat("x", smallPayload-1024)
	body := filepath.Join(t.TempDir(), "large")
	if err := os.WriteFile(body, []byte(large), 0o600); err != nil {
		t.Fatal(err)
	}
	const few = 10
	publishes := func(user, eventType string, more ...string) {
		t.Helper()
		s.may(t, user, append([]string{"publish", "acme", eventType, "--count", fmt.Sprint(few)}, more...)...)
	}
	publishes("producer", "order.created", "--id", "o")
	publishes("acme", "flaky.large", "--id", "f", "--raw", "--data", "@"+body)
	publishes("acme", "bad.large", "--id", "b", "--raw", "--data", "@"+body)
	publishes("acme", "late.x", "--id", "l")
	publishes("acme", "old.x")
	s.may(t, "acme", "publish", "acme", "gone.x")
	arrived := func(sink *sink, id string) {
		t.Helper()
		eventually(t, "every event arrived", func() error { return sink.lacks(id, few) })
	}
	arrived(crm.sink, "o")
	arrived(flaky, "f")
	s.endpoint(t, "acme/gone", "disabled", false)

	// Twice in trouble, so that its record is made, removed and made again.
	for _, id := range []string{"once", "twice"} {
		crm.goDown(http.StatusServiceUnavailable, nil)
		publishes("acme", "order.created", "--id", id)
		s.endpoint(t, "acme/crm", "failing", true)
		crm.comeUp()
		arrived(crm.sink, id)
		s.endpoint(t, "acme/crm", "active", false)
	}
	s.may(t, "operator", "endpoint", "pause", "acme/crm")
	publishes("acme", "order.created", "--id", "paused")
	s.endpoint(t, "acme/crm", "paused", true)
	s.may(t, "reader", "endpoint", "list")
	s.may(t, "operator", "endpoint", "resume", "acme/crm")
	arrived(crm.sink, "paused")
	operatorSettles(t, s, few)
	s.aloneInTheFleet(t)
}

// operatorSettles decides what becomes of dead letters and of what waits.
func operatorSettles(t *testing.T, s *stage, few int) {
	t.Helper()
	ctx := t.Context()
	s.letters(t, "expired", few)
	seq := s.letters(t, "rejected", few+1) // and one whose receiver is gone
	if out := s.may(t, "reader", "dlq", "show", seq, "--json"); len(out) < smallPayload/2 {
		t.Errorf("the body is not shown: %s", out)
	}
	s.may(t, "reader", "dlq", "stats")
	s.may(t, "reader", "lane", "list")
	s.awaits(t, "worker", "$JS.API.DIRECT.GET.WEBHOOKS_ATTEMPTS")
	readerLooksWhatBecameOfEvents(t, s)

	// What an interrupted replay left: its dead letter is removed already.
	dead, err := s.js.Stream(ctx, "WEBHOOKS_DLQ")
	if err != nil {
		t.Fatal(err)
	}
	mark, err := dead.CachedInfo().Created.MarshalText()
	if err == nil {
		_, err = s.js.Publish(ctx, "webhooks.held._replay.left", fmt.Appendf(nil, `{"stream_created":%q,"dead_letters":[999999]}`, mark))
	}
	if err != nil {
		t.Fatal(err)
	}
	s.may(t, "operator", "replay", "--endpoint", "acme/strict", "--yes")
	s.letters(t, "rejected", few+1) // the same once more
	s.may(t, "operator", "endpoint", "enable", "acme/gone")
	s.endpoint(t, "acme/gone", "active", false)
	discarded := few
	for _, args := range [][]string{{"dlq", "purge", "--type", "bad.>", "--yes"}, {"dlq", "purge", "--yes"}} {
		var n int
		if _, err := fmt.Sscan(s.may(t, "operator", args...), &n); err != nil {
			t.Errorf("how many were purged: %v", err)
		}
		discarded += n
	}
	if out := s.may(t, "operator", "endpoint", "remove", "acme/late", "--waiting", "discard"); !strings.Contains(out, fmt.Sprintf("%d deliveries discarded", few)) {
		t.Errorf("it says %s", out)
	}
	s.may(t, "operator", "endpoint", "remove", "acme/gone", "--yes")
	if out := s.may(t, "reader", "audit", "--json"); !strings.Contains(out, fmt.Sprintf(`"discarded":%d,"unaccounted":0`, discarded)) {
		t.Errorf("of what was discarded the audit says %s", out)
	}
}

// readerLooksWhatBecameOfEvents asks where they are, and adds them up.
func readerLooksWhatBecameOfEvents(t *testing.T, s *stage) {
	t.Helper()
	if out := s.may(t, "reader", "attempts", "--endpoint", "acme/crm", "--json"); !strings.Contains(out, `"event_id":"o-1"`) {
		t.Errorf("the log of acme/crm is %s", out)
	}
	for id, says := range map[string]string{"o-1": "acme/crm: delivered", "l-1": "acme/late: waiting until", "b-1": "acme/strict: dead"} {
		if out := s.may(t, "reader", "event", "show", id); !strings.Contains(out, says) {
			t.Errorf("of event %s it is not said %q but %s", id, says, out)
		}
	}
	if out := s.may(t, "reader", "audit"); !strings.Contains(out, "everything is accounted for") {
		t.Errorf("the audit says %s", out)
	}
}

// aloneInTheFleet removes the bucket that a single server forgets and that of open
// gates, and waits until the replicas made them again.
func (s *stage) aloneInTheFleet(t *testing.T) {
	t.Helper()
	ctx := t.Context()
	for _, bucket := range []string{"KV_webhooks_replicas", "KV_webhooks_gates"} {
		if err := s.js.DeleteStream(ctx, bucket); err != nil {
			t.Fatal(err)
		}
	}
	eventually(t, "the replicas know each other again", func() error {
		stream, err := s.js.Stream(ctx, "KV_webhooks_replicas")
		if err == nil && stream.CachedInfo().State.NumSubjects != 2 {
			err = fmt.Errorf("%d are known", stream.CachedInfo().State.NumSubjects)
		}
		return err
	})
	eventually(t, "there is a bucket of open gates", func() error {
		_, err := s.js.Stream(ctx, "KV_webhooks_gates")
		return err
	})
	s.awaits(t, "worker", "$JS.API.CONSUMER.NAMES.WEBHOOKS_DELIVERIES") // now and then
}

const orderedDocuments = `lanes:
- {id: bulk, filters: ["*.bulk.>"]}
endpoints:
- {tenant: acme, id: ledger, url: "%[1]s", events: ["%[2]s"], ordered: %[3]t, retry: {base: 50ms, max_delay: 200ms, max_attempts: 100}}
- {tenant: acme, id: warehouse, url: "%[4]s", events: ["bulk.>"]}
`

// replicasServeOrderAndLanes plays two replicas with an ordered endpoint and a
// lane that come, change and go.
func replicasServeOrderAndLanes(t *testing.T, s *stage) {
	t.Helper()
	serve(t, s.as("ordered")...)
	serve(t, s.as("ordered")...)
	ledger, bulk := newSink(t, receiver.Options{Fail: 0.3, Status: http.StatusInternalServerError}), newSink(t, receiver.Options{})
	s.apply(t, fmt.Sprintf(orderedDocuments, ledger.url, "order.created", true, bulk.url))
	const events = 20
	_, acme := s.connect(t, "acme")
	_, producer := s.connect(t, "producer")
	arrived := func(sink *sink, id string) {
		t.Helper()
		eventually(t, "every event arrived", func() error { return sink.missing(id, events) })
	}
	publish(t, acme, "order.created", "i", events)
	publish(t, producer, "bulk.import", "b", events)
	arrived(ledger, "i")
	arrived(bulk, "b")
	inOrder(t, ledger)
	s.may(t, "reader", "endpoint", "list")
	s.may(t, "reader", "lane", "list")

	s.apply(t, fmt.Sprintf(orderedDocuments, ledger.url, "order.>", true, bulk.url)) // an update
	publish(t, acme, "order.paid", "p", events)
	arrived(ledger, "p")
	s.apply(t, fmt.Sprintf(orderedDocuments, ledger.url, "order.>", false, bulk.url))
	s.may(t, "operator", "lane", "remove", "bulk", "--yes")
	for _, c := range [][2]string{{"WEBHOOKS_EVENTS", "ordered~acme~ledger"}, {"WEBHOOKS_EVENTS", "fanout_bulk"}, {"WEBHOOKS_DELIVERIES", "deliver_bulk"}} {
		eventually(t, c[1]+" is gone", func() error { return absent(s.js, c[0], c[1]) })
	}
	// What comes to a lane that is gone.
	if _, err := s.js.Publish(t.Context(), "webhooks.deliveries.bulk.acme.warehouse", []byte("no delivery")); err != nil {
		t.Fatal(err)
	}
	s.awaits(t, "ordered", "webhooks.held._unreadable")
}

// lacks returns an error while not all events of a `jethook publish` arrived.
func (s *sink) lacks(id string, count int) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	for i := range count {
		if one := fmt.Sprintf("%s-%d", id, i+1); s.ok[one] == 0 {
			return fmt.Errorf("%s has not arrived", one)
		}
	}
	return nil
}

// replicasAcknowledge plays just so much that every consumer is answered.
func replicasAcknowledge(t *testing.T, s *stage) {
	t.Helper()
	for _, user := range []string{"worker", "ordered"} {
		r, flaky := serve(t, s.as(user)...), newSink(t, receiver.Options{Fail: 0.5, Status: saysNothing})
		s.apply(t, fmt.Sprintf(`endpoints:
- {tenant: acme, id: %[1]s, url: "%[2]s", events: ["%[1]s.>"], ordered: %[3]t, retry: {base: 50ms, max_delay: 200ms, max_attempts: 100}}
- {tenant: acme, id: plain-%[1]s, url: "%[2]s", events: ["%[1]s.>"], retry: {base: 50ms, max_delay: 200ms, max_attempts: 100}}
`, user, flaky.url, user == "ordered"))
		const events = 20
		s.may(t, "producer", "publish", "acme", user+".x", "--count", fmt.Sprint(events), "--id", user)
		flaky.reached(t, events)
		eventually(t, "nothing waits", func() error {
			if n, err := stored(s.js, "WEBHOOKS_DELIVERIES"); err != nil || n > 0 {
				return fmt.Errorf("%d do (%w)", n, err)
			}
			return nil
		})
		r.signal(15)
		r.wait()
	}
}
