package e2e

import (
	"context"
	"fmt"
	"net/http"
	"syscall"
	"testing"
	"time"

	"github.com/nats-io/nats.go/jetstream"

	"jethook/pkg/receiver"
	"jethook/streams"
)

// TestReplicasThatStandStillLoseNothing stops replicas for longer than AckWait, as a
// machine does that is paused, one after the other and both at once: what they had in
// hand the others attempt meanwhile, and what they remember is old when they go on.
func TestReplicasThatStandStillLoseNothing(t *testing.T) {
	t.Parallel()
	server := startNATS(t)
	var replicas []*replica
	for range 3 {
		replicas = append(replicas, serve(t, "NATS_URL="+server.url, "JETHOOK_MAX_IN_FLIGHT=32"))
	}
	s := flaky(t)
	ledger := newSink(t, receiver.Options{Latency: time.Millisecond, Fail: 0.1, Status: http.StatusInternalServerError})
	apply(t, server.url, fmt.Sprintf(persistent+persistentLedger, s.url, ledger.url), replicas...)
	_, js := connect(t, server.url)
	l := begin(t, js, "o", -1, 100)
	s.reached(t, 100)
	for _, still := range [][]int{{0}, {1}, {2}, {0, 1}, {1, 2}, {0, 1, 2}} {
		for _, i := range still {
			replicas[i].signal(syscall.SIGSTOP)
		}
		// NATS tells the time: AckWait is 10 s, and after 5 s a replica is forgotten.
		before := l.acked.Load()
		eventually(t, "time passes", func() error {
			if n := l.acked.Load() - before; n < 1200 {
				return fmt.Errorf("%d events were published", n)
			}
			return nil
		})
		for _, i := range still {
			replicas[i].signal(syscall.SIGCONT)
		}
		for _, r := range replicas {
			r.ready()
		}
		s.reached(t, int(before))
	}
	n := l.stop()
	copies := everyEventArrived(t, js, s, "o", n)
	ledgerCopies := everyEventArrived(t, js, ledger, "o", n)
	t.Logf("%d events, %d copies, %d in order", n, copies, ledgerCopies)
	// One that is stopped in the microseconds between its last look and the request
	// makes it when it goes on.
	if late := outOfOrder(t, js, ledger); len(late) > 2 {
		t.Errorf("%d requests are out of order: %q", len(late), late)
	}
	eventually(t, "all is accounted for", func() error {
		if r := auditNow(t, js); r.Events != n || r.Matched != 2*n || r.Delivered != 2*n || r.Unaccounted != 0 {
			return fmt.Errorf("the audit says %+v", r)
		}
		return nil
	})
}

// outOfOrder returns the requests that did not come in the order in which their
// events are stored, each event's all together.
func outOfOrder(t *testing.T, js jetstream.JetStream, s *sink) (late []string) {
	t.Helper()
	seqs := map[string]uint64{}
	for m, err := range (streams.Read{Stream: "WEBHOOKS_EVENTS", Filter: "webhooks.events.>"}).All(context.Background(), js) {
		if err != nil {
			t.Fatal(err)
		}
		seqs[m.Header.Get(jetstream.MsgIDHeader)] = m.Seq
	}
	last := uint64(0)
	for _, r := range s.seen() {
		if seq := seqs[r.EventID]; seq != last && seq != last+1 {
			late = append(late, fmt.Sprintf("event %d after %d", seq, last))
		}
		last = max(last, seqs[r.EventID])
	}
	return late
}
