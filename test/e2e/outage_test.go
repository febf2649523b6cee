package e2e

import (
	"fmt"
	"net/http"
	"slices"
	"testing"
	"time"

	"github.com/nats-io/nats.go/jetstream"

	"jethook/pkg/receiver"
)

// steadfast is an endpoint that nothing is given up for while a test lasts, with
// short timeouts, so that the lease of a probe whose replica died ends soon.
const steadfast = `- {tenant: acme, id: "%s", url: "%s", events: [">"], timeout: 1s, retry: {base: 200ms, max_delay: 2s, max_attempts: 100}}
`

// recovered checks that all is as if there never had been any trouble: the gate
// is closed, every event arrived, nothing waits, nothing is dead.
func recovered(t *testing.T, url string, js jetstream.JetStream, s *sink, prefix string, events int) (copies int) {
	t.Helper()
	copies = everyEventArrived(t, js, s, prefix, events)
	eventually(t, "the endpoint is active again", func() error {
		if s := stateOf(t, url, "acme/shaky"); s.Is != "active" || s.Waiting.Held > 0 {
			return fmt.Errorf("it is %s (%s), %d deliveries are held", s.Is, s.Why, s.Waiting.Held)
		}
		return nil
	})
	return copies
}

func TestAnOutageIsProbedFewTimesAndHarmsNobodyElse(t *testing.T) {
	t.Parallel()
	server := startNATS(t)
	replicas := []*replica{serve(t, "NATS_URL="+server.url), serve(t, "NATS_URL="+server.url)}
	shaky, well := newDoor(t, receiver.Options{}), newSink(t, receiver.Options{})
	apply(t, server.url, "endpoints:\n"+fmt.Sprintf(steadfast, "shaky", shaky.url)+fmt.Sprintf(steadfast, "well", well.url), replicas...)
	_, js := connect(t, server.url)
	const perSecond = 100
	l := begin(t, js, "o", -1, perSecond)
	shaky.reached(t, perSecond)

	const outage = 10 * time.Second
	down := time.Now()
	shaky.goDown(http.StatusServiceUnavailable, nil)
	eventually(t, "the gate is open", func() error {
		if s := stateOf(t, server.url, "acme/shaky"); s.Is != "failing" {
			return fmt.Errorf("it is %s", s.Is)
		}
		return nil
	})
	opened := shaky.turned.Load()
	before := int(l.acked.Load())
	well.reached(t, before+int(outage.Seconds())*perSecond) // so long it lasted: the other endpoint tells the time
	calls := shaky.turned.Load()
	s := stateOf(t, server.url, "acme/shaky")
	shaky.comeUp()
	lasted := time.Since(down)
	if s.Is != "failing" || s.Waiting.Held < perSecond {
		t.Errorf("after %s the endpoint is %s, %d deliveries are held", lasted, s.Is, s.Waiting.Held)
	}
	// A machine that stands still lets attempts begin together before the gate opens.
	if opened > 200 || calls-opened > 40 {
		t.Errorf("%d calls until the gate was open, %d in all in an outage of %s", opened, calls, lasted)
	}

	eventually(t, "the gate is closed", func() error {
		if s := stateOf(t, server.url, "acme/shaky"); s.Is != "active" {
			return fmt.Errorf("it is %s", s.Is)
		}
		return nil
	})
	n := l.stop()
	copies := recovered(t, server.url, js, shaky.sink, "o", n) + everyEventArrived(t, js, well, "o", n)
	// Nobody was killed, so nothing should come twice. It may, though: NATS can
	// be too busy to hear in time.
	if copies > n/100 {
		t.Errorf("%d copies: %s; %s", copies, shaky.repeated(), well.repeated())
	}
	late := well.lateness()
	t.Logf("%d calls in an outage of %s, %d copies; of the other endpoint's %d events half came within %s, all within %s",
		calls, lasted.Round(time.Millisecond), copies, n, late[len(late)/2].Round(time.Millisecond), late[len(late)-1].Round(time.Millisecond))
	// Waiting for the outage to end would be all of it; machines are shared.
	if half, most := late[len(late)/2], late[len(late)*95/100]; half > time.Second || most > outage/4 {
		t.Errorf("half of the other endpoint's events came %s after their publish or later, some %s", half, most)
	}
}

// lateness returns how long after their publish events arrived, in order.
func (s *sink) lateness() (all []time.Duration) {
	for _, r := range s.seen() {
		all = append(all, r.At.Sub(r.EventTime))
	}
	slices.Sort(all)
	return all
}

const (
	chaosEvents = 3000
	chaosKills  = 9
	chaosEvery  = 500 * time.Millisecond
)

// chaos kills what kill kills again and again, while an endpoint goes down and
// comes up between the kills. It ends with the endpoint up.
func chaos(t *testing.T, shaky *door, kill func()) {
	t.Helper()
	rhythm := time.NewTicker(chaosEvery / 2) // chaos has a rhythm, and waits for nothing
	defer rhythm.Stop()
	for i := range chaosKills {
		<-rhythm.C
		if i%3 == 0 {
			shaky.goDown(http.StatusBadGateway, nil)
		} else if i%3 == 2 {
			shaky.comeUp()
		}
		<-rhythm.C
		kill()
	}
	shaky.comeUp()
}

func TestKillsDuringAnOutageLoseNothingAndTheGateClosesInTheEnd(t *testing.T) {
	t.Parallel()
	server := startNATS(t)
	run := func() *replica { return serveUnready(t, "NATS_URL="+server.url) }
	victim, other := run(), run()
	victim.ready()
	other.ready()
	shaky := newDoor(t, receiver.Options{Latency: 5 * time.Millisecond})
	apply(t, server.url, "endpoints:\n"+fmt.Sprintf(steadfast, "shaky", shaky.url), victim, other)
	_, js := connect(t, server.url)
	l := begin(t, js, "k", chaosEvents, chaosEvents/(chaosKills*chaosEvery.Seconds()))
	chaos(t, shaky, func() {
		victim.kill()
		victim = run()
	})
	copies := recovered(t, server.url, js, shaky.sink, "k", l.wait())
	t.Logf("%d kills, %d calls found the endpoint down, %d copies", chaosKills, shaky.turned.Load(), copies)
}

func TestKillsOfTheOneReplicaDuringAnOutageLoseNothing(t *testing.T) {
	t.Parallel()
	port, data := freePort(t), t.TempDir()
	url := "nats://127.0.0.1:" + port
	run := func() *replica {
		return serveUnready(t, "JETHOOK_NATS_LISTEN=127.0.0.1:"+port, "JETHOOK_DATA_DIR="+data)
	}
	r := run()
	r.ready()
	shaky := newDoor(t, receiver.Options{Latency: 5 * time.Millisecond})
	apply(t, url, "endpoints:\n"+fmt.Sprintf(steadfast, "shaky", shaky.url), r)
	_, js := connect(t, url)
	l := begin(t, js, "e", chaosEvents, 0)
	chaos(t, shaky, func() {
		r.kill()
		r = run()
	})
	copies := recovered(t, url, js, shaky.sink, "e", l.wait())
	t.Logf("%d kills, %d calls found the endpoint down, %d copies", chaosKills, shaky.turned.Load(), copies)
}
