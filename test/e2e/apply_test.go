package e2e

import (
	"fmt"
	"syscall"
	"testing"
	"time"

	"jethook/pkg/receiver"
)

// TestAnEventThatFollowsItsEndpointReachesIt publishes as soon as the command
// that made an endpoint has ended, some events each time: any of the replicas
// may match them.
func TestAnEventThatFollowsItsEndpointReachesIt(t *testing.T) {
	t.Parallel()
	server := startNATS(t)
	for range 3 {
		serve(t, "NATS_URL="+server.url)
	}
	s := newSink(t, receiver.Options{})
	_, js := connect(t, server.url)
	const times, each = 30, 6
	for i := range times {
		apply(t, server.url, fmt.Sprintf("endpoints:\n- {tenant: acme, id: e%[1]d, url: '%[2]s', events: [kind%[1]d]}\n", i, s.url))
		publish(t, js, fmt.Sprintf("kind%d", i), fmt.Sprintf("n%d", i), each)
	}
	for i := range times {
		everyEventArrived(t, js, s, fmt.Sprintf("n%d", i), each)
	}
	if n := s.Stats().Requests; n != times*each {
		t.Errorf("%d requests for %d events", n, times*each)
	}
}

// TestACommandEndsWhenItsChangeIsInForceEverywhere stops a replica for a while:
// it hears of nothing, and is alive.
func TestACommandEndsWhenItsChangeIsInForceEverywhere(t *testing.T) {
	t.Parallel()
	server := startNATS(t)
	quick, slow := serve(t, "NATS_URL="+server.url), serve(t, "NATS_URL="+server.url)
	s := newSink(t, receiver.Options{})
	apply(t, server.url, fmt.Sprintf(persistent, s.url), quick, slow)
	_, js := connect(t, server.url)

	for tried := 1; ; tried++ {
		slow.signal(syscall.SIGSTOP)
		stopped := time.Now()
		pause := start(t, append(environment(), "NATS_URL="+server.url), jethookBinary, "endpoint", "pause", "acme/crm")
		eventually(t, "the change is stored", func() error {
			if s := stateOf(t, server.url, "acme/crm"); s.Is != "paused" {
				return fmt.Errorf("it is %s", s.Is)
			}
			return nil
		})
		stateOf(t, server.url, "acme/crm") // as long as a command takes
		ended := false
		select {
		case <-pause.done:
			ended = true
		default:
		}
		// By then NATS has forgotten the one that is stopped, as it forgets the dead.
		late := time.Since(stopped) > 4*time.Second
		slow.signal(syscall.SIGCONT)
		if code := pause.wait(); code != 0 {
			t.Errorf("exit code %d: %s", code, pause.log)
		}
		if ended && late && tried < 5 {
			must(t, server.url, "endpoint", "resume", "acme/crm")
			continue
		}
		if ended {
			t.Errorf("the command ended while a replica knew nothing of the change: %s", pause.log)
		}
		break
	}
	const events = 50
	publish(t, js, "order.created", "p", events)
	holds(t, server.url, events)
	if n := s.Stats().Requests; n != 0 {
		t.Errorf("%d requests after the endpoint was paused", n)
	}
}
