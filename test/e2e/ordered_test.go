package e2e

import (
	"fmt"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"jethook/pkg/receiver"
)

// persistentLedger is an ordered endpoint whose receiver fails now and then. The
// minute is for its gate, which once in a hundred runs sees so many failures in a row
// that it opens: an event must not be given up before a probe succeeds.
const persistentLedger = `- {tenant: acme, id: ledger, url: "%s", events: [">"], ordered: true, retry: {schedule: [10ms, 10ms, 20ms, 20ms, 50ms, 50ms, 100ms, 100ms, 200ms, 200ms, 1m]}}
`

// TestAnOrderedEndpointGetsItsEventsInOrderWhateverFails lets attempts fail and
// replicas die.
func TestAnOrderedEndpointGetsItsEventsInOrderWhateverFails(t *testing.T) {
	t.Parallel()
	server := startNATS(t)
	run := func() *replica { return serveUnready(t, "NATS_URL="+server.url) }
	replicas := []*replica{run(), run()}
	for _, r := range replicas {
		r.ready()
	}
	s := newSink(t, receiver.Options{Latency: time.Millisecond, Fail: 0.1, Status: http.StatusInternalServerError})
	apply(t, server.url, "endpoints:\n"+fmt.Sprintf(persistentLedger, s.url), replicas...)
	_, js := connect(t, server.url)
	const events, times = 10_000, 5
	publish(t, js, "order.created", "i", events)
	for i := range times {
		s.reached(t, (i+1)*events/(times+1))
		replicas[i%2].kill() // one of them is at work, the other waits for its turn
		replicas[i%2] = run()
	}
	copies := everyEventArrived(t, js, s, "i", events)
	t.Logf("%d kills, %d answers failed, %d copies", times, s.Stats().Failed, copies)
	if copies > times {
		t.Errorf("%d copies after %d kills", copies, times)
	}
	inOrder(t, s)
}

// TestAnOrderedEndpointGetsWhatItWantsFromTheNextEventOn changes what an endpoint
// wants: what is published when `apply` has returned comes by that, and in order.
func TestAnOrderedEndpointGetsWhatItWantsFromTheNextEventOn(t *testing.T) {
	t.Parallel()
	server := startNATS(t)
	replicas := []*replica{serve(t, "NATS_URL="+server.url), serve(t, "NATS_URL="+server.url)}
	s := newSink(t, receiver.Options{})
	_, js := connect(t, server.url)
	var want []string
	for i, events := range []string{"wa", "wa, wb", "wb", "wc, wa", "wb, wa, wc", "wc"} {
		apply(t, server.url, fmt.Sprintf("endpoints:\n- {tenant: acme, id: ledger, url: %q, events: [%s], ordered: true}\n", s.url, events), replicas...)
		for _, eventType := range []string{"wc", "wb", "wa"} {
			prefix := fmt.Sprintf("%d%s", i, eventType)
			publish(t, js, eventType, prefix, 1)
			if strings.Contains(events, eventType) {
				want = append(want, eventID(prefix, 0))
			}
		}
	}
	eventually(t, "all came", func() error {
		var got []string
		for _, r := range s.seen() {
			got = append(got, r.EventID)
		}
		if !slices.Equal(got, want) {
			return fmt.Errorf("%d events came: %q, want %q", len(got), got, want)
		}
		return nil
	})
	eventually(t, "all is accounted for", func() error {
		if r := auditNow(t, js); r.Matched != len(want) || r.Delivered != len(want) {
			return fmt.Errorf("the audit says %+v", r)
		}
		return nil
	})
}

// inOrder checks that requests came in the order of their events, each event's
// all together.
func inOrder(t *testing.T, s *sink) {
	t.Helper()
	last := -1
	for at, r := range s.seen() {
		_, number, _ := strings.Cut(r.EventID, "-")
		n, err := strconv.Atoi(number)
		if err != nil {
			t.Fatal(err)
		}
		if n != last && n != last+1 {
			t.Fatalf("request %d is for event %d, the one before it was for %d", at, n, last)
		}
		last = n
	}
}
