package e2e

import (
	"fmt"
	"net/http"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"jethook/pkg/receiver"
)

// commanding are the headers with which a message tells NATS what to do, or
// jethook what it is.
var commanding = []string{
	"Nats-TTL", "Nats-Schedule", "Nats-Schedule-Target", "Nats-Schedule-TTL", "Nats-Schedule-Source", "Nats-Schedule-Time-Zone", "Nats-Schedule-Rollup",
	"Nats-Scheduler", "Nats-Schedule-Next", "Nats-Rollup", "Nats-Expected-Stream", "Nats-Expected-Last-Sequence", "Nats-Expected-Last-Subject-Sequence",
	"Nats-Expected-Last-Subject-Sequence-Subject", "Nats-Expected-Last-Msg-Id", "Nats-Msg-Id", "Nats-Batch-Id", "Nats-Batch-Sequence", "Nats-Batch-Commit",
	"Nats-Incr", "Nats-Stream-Source", "Nats-Marker-Reason", "Nats-Trace-Dest", "Nats-Trace-Only", "Nats-Required-Api-Level", "Nats-Pin-Id",
	"Jethook-Delivery", "Jethook-Dead", "Jethook-Body", "Jethook-Handed",
}

const headerDocuments = `lanes:
- {id: parked}
endpoints:
- {tenant: acme, id: works, url: "%[1]s", events: [">"]}
- {tenant: acme, id: paused, url: "%[1]s", events: [">"], paused: true}
- {tenant: acme, id: parked, url: "%[1]s", events: [">"], lane: parked}
- {tenant: acme, id: late, url: "%[2]s", events: [">"], retry: {schedule: [10m]}}
- {tenant: acme, id: due, url: "%[2]s", events: [">"], retry: {base: 50ms, max_delay: 100ms, max_attempts: 3}}
- {tenant: acme, id: strict, url: "%[3]s", events: [">"], lane: %[4]s}
`

// TestWhatAProducerTellsNATSEndsWithTheEvent plants every header that means
// something to NATS or to jethook on an event, looks at all that is stored for
// it, and at what the receivers get.
func TestWhatAProducerTellsNATSEndsWithTheEvent(t *testing.T) {
	t.Parallel()
	ctx := t.Context()
	server := startNATS(t)
	r := serve(t, "NATS_URL="+server.url, "JETHOOK_LANES=default")
	_, js := connect(t, server.url)
	works, fails := newSink(t, receiver.Options{}), newSink(t, receiver.Options{Status: saysNothing})
	strict := newSink(t, receiver.Options{Status: http.StatusBadRequest})
	documents := func(lane string) string {
		return fmt.Sprintf(headerDocuments, works.url, fails.url, strict.url, lane)
	}
	apply(t, server.url, documents("default"), r)

	// An operator who allows more on the stream of events than jethook needs.
	events, err := js.Stream(ctx, "WEBHOOKS_EVENTS")
	if err != nil {
		t.Fatal(err)
	}
	config := events.CachedInfo().Config
	config.AllowMsgTTL, config.AllowRollup = true, true
	if _, err := js.UpdateStream(ctx, config); err != nil {
		t.Fatal(err)
	}
	published := plant(t, js)
	const endpoints = 6
	eventually(t, "every delivery is where it is to be", func() error {
		for subject, n := range map[string]int{"held.acme.paused.new": published, "deliveries.parked.acme.parked": published, "scheduled.acme.late.>": published} {
			if got := under(t, js, "WEBHOOKS_DELIVERIES", "webhooks."+subject); len(got) != n {
				return fmt.Errorf("%d under %s", len(got), subject)
			}
		}
		if got := under(t, js, "WEBHOOKS_DLQ", "webhooks.dlq.>"); len(got) != 2*published {
			return fmt.Errorf("%d dead letters", len(got))
		}
		return works.events(published)
	})
	check := func(when string) {
		t.Helper()
		for stream, subjects := range map[string]string{"WEBHOOKS_DELIVERIES": ">", "WEBHOOKS_DLQ": ">"} {
			for _, m := range under(t, js, stream, subjects) {
				for _, wrong := range unwanted(m) {
					t.Errorf("%s, %s has %s", when, m.Subject, wrong)
				}
			}
		}
	}
	check("at first")
	apply(t, server.url, documents("parked"), r)
	must(t, server.url, "replay", "--endpoint", "acme/strict", "--yes")
	if got := under(t, js, "WEBHOOKS_DELIVERIES", "webhooks.deliveries.parked.acme.strict"); len(got) != published {
		t.Errorf("%d replayed", len(got))
	}
	check("after a replay")
	strayed(t, js)
	eventually(t, "what lay in a lane that is gone was attempted", func() error {
		if got := len(under(t, js, "WEBHOOKS_DLQ", "webhooks.dlq.acme.strict")); got != published {
			return fmt.Errorf("%d of %d dead letters are back", got, published)
		}
		return nil
	})
	check("after a move to the default lane")
	for _, s := range []*sink{works, fails, strict} {
		for _, request := range s.seen() {
			for name, values := range request.Header {
				if name == "Webhook-Id" { // which an event's id is to become
					continue
				}
				if planted := strings.ToLower(name); strings.HasPrefix(planted, "nats-") || strings.HasPrefix(planted, "jethook-") || strings.Contains(fmt.Sprint(values), "canary") {
					t.Errorf("a receiver got %s: %s", name, values)
				}
			}
		}
	}
	if seen := len(works.seen()) + len(fails.seen()) + len(strict.seen()); seen < published*(endpoints-2) {
		t.Errorf("only %d requests were looked at", seen)
	}
}

// strayed removes a lane at once, so that what lies in it is in none.
func strayed(t *testing.T, js jetstream.JetStream) {
	t.Helper()
	kv, err := js.KeyValue(t.Context(), "webhooks_endpoints")
	if err == nil {
		err = kv.Purge(t.Context(), "_lanes.parked")
	}
	if err != nil {
		t.Fatal(err)
	}
}

// events returns an error while fewer events arrived.
func (s *sink) events(n int) error {
	if got, _ := s.counts(); got < n {
		return fmt.Errorf("%d of %d events arrived", got, n)
	}
	return nil
}

// plant publishes an event with each header alone in the spelling that NATS
// heeds, where the stream takes it, and with all of them in two others. It
// returns how many were stored.
func plant(t *testing.T, js jetstream.JetStream) (stored int) {
	t.Helper()
	last := 0
	valid := map[string]string{
		"Nats-TTL": "1h", "Nats-Rollup": "sub", "Nats-Expected-Stream": "WEBHOOKS_EVENTS", "Nats-Expected-Last-Subject-Sequence": "0",
		"Nats-Schedule": "@at " + time.Now().Add(time.Hour).Format(time.RFC3339), "Nats-Schedule-Target": "webhooks.dlq.acme.works",
		"Nats-Trace-Dest": "canary", "Nats-Trace-Only": "false", "Jethook-Delivery": `{"event_id":"canary"}`, "Jethook-Body": "in-event",
	}
	var kept []string
	publish := func(name string, header nats.Header) error {
		header.Set("content-type", "text/plain")
		header.Set("ce-source", "/source")
		m := &nats.Msg{Subject: "webhooks.events.acme.x" + strings.ToLower(strings.ReplaceAll(name, "-", "")), Header: header, Data: []byte("body")}
		_, err := js.PublishMsg(t.Context(), m)
		if err == nil {
			last++
			kept = append(kept, name)
		}
		return err
	}
	for _, name := range commanding {
		value, ok := valid[name]
		if name == "Nats-Expected-Last-Sequence" {
			// What becomes a dead letter meanwhile is told of in the same stream.
			eventually(t, "it is the last one", func() error {
				events, err := js.Stream(t.Context(), "WEBHOOKS_EVENTS")
				if err != nil {
					return err
				}
				return publish(name, nats.Header{name: {fmt.Sprint(events.CachedInfo().State.LastSeq)}})
			})
			continue
		}
		if !ok {
			value = "canary"
		}
		_ = publish(name, nats.Header{name: {value}}) // what the stream does not take shows below
	}
	lower, upper := nats.Header{}, nats.Header{}
	for _, name := range commanding {
		lower[strings.ToLower(name)], upper[strings.ToUpper(name)] = []string{"canary"}, []string{"canary"}
	}
	lower["nats-msg-id"], upper["NATS-MSG-ID"] = []string{"canary-lower"}, []string{"canary-upper"} // they are three events
	_, _ = publish("lower", lower), publish("upper", upper)
	t.Logf("stored: %v", kept)
	for _, name := range []string{"Nats-TTL", "Nats-Rollup", "Nats-Expected-Stream", "Nats-Expected-Last-Sequence", "Nats-Msg-Id", "Nats-Trace-Dest", "Jethook-Delivery", "lower", "upper"} {
		if !slices.Contains(kept, name) {
			t.Errorf("the stream did not take an event with %s: this shows less", name)
		}
	}
	return last
}

// under returns what a stream holds under subjects.
func under(t *testing.T, js jetstream.JetStream, name, subjects string) (all []*jetstream.RawStreamMsg) {
	t.Helper()
	s, err := js.Stream(t.Context(), name)
	if err != nil {
		t.Fatal(err)
	}
	for seq := uint64(1); ; {
		m, err := s.GetMsg(t.Context(), seq, jetstream.WithGetMsgSubject(subjects))
		if err != nil {
			return all
		}
		all, seq = append(all, m), m.Sequence+1
	}
}

// unwanted returns the headers of a stored message that neither jethook nor NATS
// put there.
func unwanted(m *jetstream.RawStreamMsg) (all []string) {
	own := map[string]string{"Jethook-Delivery": `{"event_id":`, "Nats-Msg-Id": "acme.", "content-type": "text/plain", "ce-source": "/source"}
	switch strings.Split(m.Subject, ".")[1] {
	case "scheduled":
		own["Nats-Schedule"], own["Nats-Schedule-Target"], own["Nats-Rollup"] = "@at ", "webhooks.deliveries.default.acme.late", "sub"
	case "dlq":
		own["Jethook-Dead"] = `{"reason":`
	case "deliveries": // a replay stores them in a batch
		own["Nats-Batch-Id"], own["Nats-Batch-Sequence"] = "", ""
		if strings.HasPrefix(m.Header.Get("Nats-Msg-Id"), "stray.") { // what was moved to the default lane
			own["Nats-Msg-Id"] = "stray."
		}
	}
	for _, name := range []string{"Nats-Stream", "Nats-Subject", "Nats-Sequence", "Nats-Time-Stamp"} { // NATS says where it lay
		own[name] = ""
	}
	for name, values := range m.Header {
		if begins, ok := own[name]; !ok || len(values) != 1 || !strings.HasPrefix(values[0], begins) {
			all = append(all, fmt.Sprintf("%s: %s", name, values))
		}
	}
	return all
}
