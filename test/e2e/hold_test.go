package e2e

import (
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/nats-io/nats.go/jetstream"

	"jethook/pkg/hold"
	"jethook/pkg/receiver"
	"jethook/streams"
)

// state is what `jethook endpoint show --json` says of how an endpoint fares.
type state struct {
	Is      string `json:"is"`
	Why     string `json:"why"`
	Waiting struct {
		Held    uint64 `json:"held"`
		Ordered uint64 `json:"ordered"`
	} `json:"waiting"`
}

func stateOf(t *testing.T, url, name string) state {
	t.Helper()
	var shown struct {
		State state `json:"state"`
	}
	text := must(t, url, "endpoint", "show", name, "--json")
	if err := json.Unmarshal([]byte(text), &shown); err != nil {
		t.Fatalf("endpoint show --json: %v in %q", err, text)
	}
	return shown.State
}

// holds waits until so many deliveries are held for acme/crm, and returns what
// it looks like then.
func holds(t *testing.T, url string, n uint64) (s state) {
	t.Helper()
	eventually(t, fmt.Sprintf("%d deliveries are held for acme/crm", n), func() error {
		if s = stateOf(t, url, "acme/crm"); s.Waiting.Held != n {
			return fmt.Errorf("%d are", s.Waiting.Held)
		}
		return nil
	})
	return s
}

// heldEvents returns the events that are held for acme/crm and were never
// attempted, in the order in which they lie.
func heldEvents(t *testing.T, js jetstream.JetStream) (events []string) {
	t.Helper()
	names, err := streams.NewNames("")
	if err != nil {
		t.Fatal(err)
	}
	store := hold.NewStore(js, names)
	for from := uint64(1); ; {
		batch, err := store.Batch(context.Background(), "acme", "crm", streams.HeldNew, from, 1000)
		if err != nil {
			t.Fatal(err)
		}
		if len(batch) == 0 {
			return events
		}
		for _, s := range batch {
			events = append(events, s.Delivery.Event.ID)
		}
		from = batch[len(batch)-1].Seq + 1
	}
}

// among returns the first arrivals of events, in the order in which they came.
func (s *sink) among(events []string) (arrived []string) {
	wanted := map[string]bool{}
	for _, id := range events {
		wanted[id] = true
	}
	for _, r := range s.seen() {
		if r.Status == http.StatusOK && wanted[r.EventID] {
			arrived = append(arrived, r.EventID)
			delete(wanted, r.EventID)
		}
	}
	return arrived
}

// TestWhatIsHeldForAPausedEndpointArrivesInOrderWhenItIsResumed lets events flow
// all the time, and kills the replica while it holds them.
func TestWhatIsHeldForAPausedEndpointArrivesInOrderWhenItIsResumed(t *testing.T) {
	t.Parallel()
	server := startNATS(t)
	r, s := serve(t, "NATS_URL="+server.url), newSink(t, receiver.Options{})
	// One at a time, so that the order of arrival is the order of the attempts.
	apply(t, server.url, fmt.Sprintf(`endpoints:
- {tenant: acme, id: crm, url: "%s", events: [">"], max_in_flight: 1}
`, s.url), r)
	_, js := connect(t, server.url)
	l := begin(t, js, "h", -1, 100)
	s.reached(t, 50)

	must(t, server.url, "endpoint", "pause", "acme/crm")
	quiet := len(s.seen()) // every replica knows, and what was under way is no more than one
	for range 2 {
		before := len(heldEvents(t, js))
		eventually(t, "more is held", func() error {
			if n := len(heldEvents(t, js)); n < before+50 {
				return fmt.Errorf("%d, %d before", n, before)
			}
			return nil
		})
		r.kill()
		r = serve(t, "NATS_URL="+server.url)
	}
	// What the killed ones had in hand comes to the one that lives.
	published := int(l.acked.Load())
	eventually(t, "everything published is held", func() error {
		arrived, _ := s.counts()
		if n := len(heldEvents(t, js)); arrived+n < published {
			return fmt.Errorf("%d arrived, %d are held, %d were published", arrived, n, published)
		}
		return nil
	})
	if n := len(s.seen()); n > quiet+1 {
		t.Errorf("%d requests came while the endpoint was paused", n-quiet)
	}

	held := heldEvents(t, js)
	must(t, server.url, "endpoint", "resume", "acme/crm")
	eventually(t, "what was held arrived", func() error {
		if n := len(s.among(held)); n < len(held) {
			return fmt.Errorf("%d of %d", n, len(held))
		}
		return nil
	})
	if arrived := s.among(held); !slices.Equal(arrived, held) {
		at := 0
		for arrived[at] == held[at] {
			at++
		}
		t.Errorf("what was held arrived in another order, from %d of %d on: %v, not %v", at, len(held), arrived[at:min(at+5, len(held))], held[at:min(at+5, len(held))])
	}
	// Held deliveries have an id: what a killed replica left is held once.
	n := l.stop()
	if copies := everyEventArrived(t, js, s, "h", n); copies > 1 {
		t.Errorf("%d copies of what was never attempted", copies)
	}
	accounted(t, js, n)
	t.Logf("%d held, of %d", len(held), l.next)
}

// TestAReplicaThatDiesWhileItFeedsBackLosesNothing publishes nothing more: who
// comes after it has to find what is held by itself.
func TestAReplicaThatDiesWhileItFeedsBackLosesNothing(t *testing.T) {
	t.Parallel()
	server := startNATS(t)
	r, s := serve(t, "NATS_URL="+server.url), newSink(t, receiver.Options{Latency: 30 * time.Millisecond})
	apply(t, server.url, fmt.Sprintf(persistent, s.url), r)
	_, js := connect(t, server.url)
	must(t, server.url, "endpoint", "pause", "acme/crm")
	const events, kills = 1000, 3
	publish(t, js, "order.created", "f", events)
	holds(t, server.url, events)
	must(t, server.url, "endpoint", "resume", "acme/crm")
	for i := range kills {
		s.reached(t, (i+1)*events/(kills+1))
		r.kill()
		r = serve(t, "NATS_URL="+server.url)
	}
	copies := everyEventArrived(t, js, s, "f", events)
	accounted(t, js, events)
	cut := s.interrupted()
	t.Logf("%d attempts were cut off by %d kills, %d copies", cut, kills, copies)
	if cut+copies == 0 {
		t.Error("no kill met an attempt that ran: this shows nothing")
	}
}

// nothingWaits waits until there is no delivery that waits.
func nothingWaits(t *testing.T, js jetstream.JetStream) {
	t.Helper()
	eventually(t, "no delivery waits", func() error {
		n, err := stored(js, "WEBHOOKS_DELIVERIES")
		if err == nil && n > 0 {
			err = fmt.Errorf("%d do", n)
		}
		return err
	})
}

// deadLetters checks that there are so many dead letters that were never
// attempted, all for one reason.
func deadLetters(t *testing.T, url string, n int, reason string) {
	t.Helper()
	for _, l := range awaitLetters(t, url, n) {
		if l.Reason != reason || l.Attempts != 0 {
			t.Errorf("event %s: reason %s after %d attempts, want %s after none", l.EventID, l.Reason, l.Attempts, reason)
		}
	}
}

func TestWhatWaitsTooLongForAPausedEndpointIsADeadLetterOnTime(t *testing.T) {
	t.Parallel()
	server := startNATS(t)
	replicas := []*replica{serve(t, "NATS_URL="+server.url), serve(t, "NATS_URL="+server.url)}
	s := newSink(t, receiver.Options{})
	apply(t, server.url, fmt.Sprintf(`endpoints:
- {tenant: acme, id: crm, url: "%s", events: [">"], paused: true, expire_after: 3s}
`, s.url), replicas...)
	_, js := connect(t, server.url)
	const each = 8
	publish(t, js, "order.created", "early", each)
	eventually(t, "these are held, or were", func() error {
		dead, err := stored(js, "WEBHOOKS_DLQ")
		if n := len(heldEvents(t, js)) + int(dead); err == nil && n < each {
			err = fmt.Errorf("%d are", n)
		}
		return err
	})
	// Each has its own time: these come while the others wait.
	publish(t, js, "order.created", "late", each)

	deadLetters(t, server.url, 2*each, "expired")
	for _, l := range letters(t, server.url) {
		// The promise is at once; machines are shared.
		if waited := l.DeadAt.Sub(l.EventTime); waited < 3*time.Second || waited > 15*time.Second {
			t.Errorf("event %s was given up after %s, expire_after is 3s", l.EventID, waited)
		}
	}
	if n := s.Stats().Requests; n != 0 {
		t.Errorf("%d requests to a paused endpoint", n)
	}
	nothingWaits(t, js)
}

func TestRemovingAnEndpointDecidesWhatBecomesOfWhatWaits(t *testing.T) {
	t.Parallel()
	const events = 12
	for how, c := range map[string]struct {
		args []string
		says string
		dead int
	}{
		"dead letters": {[]string{"--yes"}, "dead letters (endpoint_deleted) of what waits: 12 deliveries", events},
		"discarded":    {[]string{"--waiting", "discard"}, "12 deliveries discarded", 0},
	} {
		t.Run(how, func(t *testing.T) {
			t.Parallel()
			server := startNATS(t)
			replicas := []*replica{serve(t, "NATS_URL="+server.url), serve(t, "NATS_URL="+server.url)}
			s := newSink(t, receiver.Options{})
			apply(t, server.url, fmt.Sprintf(`endpoints:
- {tenant: acme, id: crm, url: "%[1]s", events: [">"], paused: true}
- {tenant: acme, id: other, url: "%[1]s", events: [">"]}
`, s.url), replicas...)
			_, js := connect(t, server.url)
			publish(t, js, "order.created", "x", events)
			holds(t, server.url, events)

			if out := must(t, server.url, append([]string{"endpoint", "remove", "acme/crm"}, c.args...)...); !strings.Contains(out, c.says) {
				t.Errorf("it does not say %q: %s", c.says, out)
			}
			deadLetters(t, server.url, c.dead, "endpoint_deleted")
			nothingWaits(t, js)
			// And the other endpoint has its events, once each.
			eventually(t, "every event arrived", func() error { return s.missing("x", events) })
			if n := s.Stats().Requests; n != events {
				t.Errorf("%d requests for %d events", n, events)
			}
		})
	}
}

// Whoever takes the name of an endpoint that was removed gets nothing of what waited
// for that, unless it is replayed.
func TestMadeAnewAnEndpointHasOnlyItsOwn(t *testing.T) {
	t.Parallel()
	const events = 500
	for how, kind := range map[string]string{"at any time": "", "in order": ", ordered: true"} {
		t.Run(how, func(t *testing.T) {
			t.Parallel()
			server := startNATS(t)
			replicas := []*replica{serve(t, "NATS_URL="+server.url), serve(t, "NATS_URL="+server.url)}
			before, after := newSink(t, receiver.Options{}), newSink(t, receiver.Options{})
			document := "endpoints: [{tenant: acme, id: crm, url: %q, events: [\">\"], paused: %t%s}]\n"
			apply(t, server.url, fmt.Sprintf(document, before.url, true, kind), replicas...)
			_, js := connect(t, server.url)
			publish(t, js, "order.created", "x", events)
			eventually(t, "all wait", func() error {
				if s := stateOf(t, server.url, "acme/crm"); s.Waiting.Held+s.Waiting.Ordered != events {
					return fmt.Errorf("%d are held, %d in order", s.Waiting.Held, s.Waiting.Ordered)
				}
				return nil
			})
			must(t, server.url, "endpoint", "remove", "acme/crm", "--yes")
			apply(t, server.url, fmt.Sprintf(document, after.url, false, kind), replicas...)
			eventually(t, "what waited is dead", func() error {
				if n := strings.Count(must(t, server.url, "dlq", "list", "--json"), `"endpoint_deleted"`); n != events {
					return fmt.Errorf("%d dead letters, want %d", n, events)
				}
				return nil
			})
			publish(t, js, "order.created", "y", 1)
			eventually(t, "the next event arrived", func() error { return after.missing("y", 1) })
			if old, anew := before.Stats().Requests, after.Stats().Requests; old != 0 || anew != 1 {
				t.Errorf("%d requests to the endpoint that was removed, %d to the other", old, anew)
			}
			must(t, server.url, "replay", "--yes")
			eventually(t, "what was replayed arrived", func() error { return after.missing("x", events) })
			nothingWaits(t, js)
		})
	}
}

func TestEnablingADisabledEndpointFeedsBackWhatWasHeld(t *testing.T) {
	t.Parallel()
	for how, c := range map[string]struct {
		status int
		header http.Header
		why    string
		dead   int
	}{
		"410 Gone":                  {http.StatusGone, nil, "410", 1},
		"webhook-delivery: disable": {http.StatusOK, http.Header{"Webhook-Delivery": {"disable"}}, "webhook-delivery: disable", 0},
	} {
		t.Run(how, func(t *testing.T) {
			t.Parallel()
			server := startNATS(t)
			replicas := []*replica{serve(t, "NATS_URL="+server.url), serve(t, "NATS_URL="+server.url)}
			d := newDoor(t, receiver.Options{})
			apply(t, server.url, fmt.Sprintf(persistent, d.url), replicas...)
			_, js := connect(t, server.url)
			d.goDown(c.status, c.header)
			publish(t, js, "order.created", "last", 1)
			eventually(t, "the endpoint is disabled", func() error {
				if s := stateOf(t, server.url, "acme/crm"); s.Is != "disabled" || !strings.Contains(s.Why, c.why) {
					return fmt.Errorf("it is %s: %s", s.Is, s.Why)
				}
				return nil
			})
			for _, l := range awaitLetters(t, server.url, c.dead) {
				if l.Reason != "rejected" || l.Attempts != 1 {
					t.Errorf("dead letter %+v", l)
				}
			}
			must(t, server.url, "endpoint", "resume", "acme/crm") // returns when every replica knows; it stays disabled
			d.comeUp()
			const events = 200
			publish(t, js, "order.created", "after", events)
			if s := holds(t, server.url, events); s.Is != "disabled" {
				t.Errorf("the endpoint is %s", s.Is)
			}
			if n := d.Stats().Requests; n != 0 {
				t.Errorf("%d requests to a disabled endpoint", n)
			}

			if out := must(t, server.url, "endpoint", "enable", "acme/crm"); !strings.Contains(out, "200 deliveries that waited are fed back now") {
				t.Errorf("it says %s", out)
			}
			eventually(t, "what was held arrived", func() error { return d.missing("after", events) })
			nothingWaits(t, js)
			if n := d.Stats().Requests; n != events {
				t.Errorf("%d requests for %d events", n, events)
			}
		})
	}
}
