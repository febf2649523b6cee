package e2e

import (
	"context"
	"errors"
	"fmt"
	"syscall"
	"testing"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"jethook/pkg/receiver"
)

func TestRestartingTheNATSServerUnderLoadLosesNothing(t *testing.T) {
	t.Parallel()
	server := startNATS(t)
	r := serve(t, "NATS_URL="+server.url)
	s := flaky(t)
	apply(t, server.url, fmt.Sprintf(persistent, s.url), r)
	_, js := connect(t, server.url)
	l := begin(t, js, "n", -1, 500)

	for _, how := range []syscall.Signal{syscall.SIGTERM, syscall.SIGKILL} {
		before, _ := s.counts()
		s.reached(t, before+500)
		server.signal(how)
		server.wait()
		eventually(t, "the replica says that it is not ready", func() error {
			if _, err := get(r.http + "/readyz"); err == nil {
				return errors.New("it says that it is ready without a NATS server")
			}
			return nil
		})
		if _, err := get(r.http + "/healthz"); err != nil {
			t.Errorf("a replica without a NATS server is alive: %v", err)
		}
		server.start()
		r.ready() // fails if the replica has ended
	}
	now := int(l.acked.Load())
	s.reached(t, now+500)
	n := l.stop()
	copies := everyEventArrived(t, js, s, "n", n)
	accounted(t, js, n)
	t.Logf("%d events, 2 restarts, %d attempts cut off, %d copies", n, s.interrupted(), copies)
	if cut := s.interrupted(); cut > 0 {
		t.Errorf("%d attempts were cut off, although the replica did not end", cut)
	}
}

// consumers are the durable consumers and their streams.
var consumers = [][2]string{{"WEBHOOKS_EVENTS", "fanout"}, {"WEBHOOKS_DELIVERIES", "deliver"}}

// looked waits until every replica has looked again how far the fanout consumer
// has come.
func looked(t *testing.T, nc *nats.Conn, replicas int) {
	t.Helper()
	questions, err := nc.SubscribeSync("$JS.API.CONSUMER.INFO.WEBHOOKS_EVENTS.fanout")
	if err != nil {
		t.Fatal(err)
	}
	defer questions.Unsubscribe() //nolint:errcheck // the connection ends with the test
	for range 2 * replicas {      // they take turns
		if _, err := questions.NextMsg(patience); err != nil {
			t.Fatalf("no replica looks at the consumer: %v", err)
		}
	}
}

func TestADeletedConsumerIsMadeAgainWhereItWas(t *testing.T) {
	t.Parallel()
	server := startNATS(t)
	replicas := []*replica{serve(t, "NATS_URL="+server.url), serve(t, "NATS_URL="+server.url)}
	s := flaky(t)
	apply(t, server.url, fmt.Sprintf(persistent, s.url), replicas...)
	nc, js := connect(t, server.url)
	const history, perSecond, times = 5000, 200, 2
	publish(t, js, "order.created", "history", history)
	s.reached(t, history)
	l := begin(t, js, "d", -1, perSecond)

	// More than once, because where it was is known from the one before.
	for range times {
		looked(t, nc, len(replicas))
		for _, c := range consumers {
			eventually(t, "there is a consumer "+c[1]+" to delete", func() error { return js.DeleteConsumer(context.Background(), c[0], c[1]) })
		}
		now := int(l.acked.Load())
		eventually(t, "events arrive again", func() error { return s.missing("d", now+perSecond/2) })
		for _, r := range replicas {
			r.ready()
		}
	}
	n := l.stop()
	eventually(t, "every event arrived", func() error { return s.missing("d", n) })
	settled(t, js)
	_, copies := s.counts()
	t.Logf("%d events in the stream, 2 consumers deleted %d times, %d copies", history+n, times, copies)
	// A replica looks every 2 s how far a consumer has come: what came since is
	// sent again, and never the history.
	if copies > history {
		t.Errorf("%d copies: the history was sent again", copies)
	}
}

// TestADeletedStreamOfEventsIsMadeAgain deletes the stream. What it held is
// gone with it; what is published to the new one counts from 1 again.
func TestADeletedStreamOfEventsIsMadeAgain(t *testing.T) {
	t.Parallel()
	for _, by := range []string{"a replica", "an operator"} {
		t.Run("by "+by, func(t *testing.T) {
			server := startNATS(t)
			r := serve(t, "NATS_URL="+server.url)
			s := newSink(t, receiver.Options{})
			apply(t, server.url, fmt.Sprintf(persistent, s.url), r)
			nc, js := connect(t, server.url)
			const events = 300
			publish(t, js, "order.created", "old", events)
			s.reached(t, events)
			looked(t, nc, 1)

			have, err := js.Stream(context.Background(), "WEBHOOKS_EVENTS")
			if err != nil {
				t.Fatal(err)
			}
			if err := js.DeleteStream(context.Background(), "WEBHOOKS_EVENTS"); err != nil {
				t.Fatal(err)
			}
			if by == "an operator" {
				if _, err := js.CreateStream(context.Background(), have.CachedInfo().Config); err != nil && !errors.Is(err, jetstream.ErrStreamNameAlreadyInUse) {
					t.Fatal(err)
				}
			}
			l := begin(t, js, "new", 2*events, 0)
			everyEventArrived(t, js, s, "new", l.wait())
		})
	}
}

// TestAConsumerThatAnOperatorMakesAgainIsUsed deletes a consumer and makes it
// again so fast that a replica may never have missed it.
func TestAConsumerThatAnOperatorMakesAgainIsUsed(t *testing.T) {
	t.Parallel()
	server := startNATS(t)
	r := serve(t, "NATS_URL="+server.url)
	s := newSink(t, receiver.Options{})
	apply(t, server.url, fmt.Sprintf(persistent, s.url), r)
	_, js := connect(t, server.url)
	const perSecond = 500
	l := begin(t, js, "o", -1, perSecond)
	s.reached(t, perSecond)

	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	for _, c := range consumers {
		have, err := js.Consumer(ctx, c[0], c[1])
		if err != nil {
			t.Fatal(err)
		}
		config := have.CachedInfo().Config
		if floor := have.CachedInfo().AckFloor.Stream; c[1] == "fanout" {
			config.DeliverPolicy, config.OptStartSeq = jetstream.DeliverByStartSequencePolicy, floor+1
		}
		if err := js.DeleteConsumer(ctx, c[0], c[1]); err != nil {
			t.Fatal(err)
		}
		if _, err := js.CreateConsumer(ctx, c[0], config); err != nil && !errors.Is(err, jetstream.ErrConsumerExists) {
			t.Fatal(err) // a replica that was faster is welcome
		}
	}
	now, _ := s.counts()
	s.reached(t, now+perSecond)
	copies := everyEventArrived(t, js, s, "o", l.stop())
	if copies > 5*perSecond {
		t.Errorf("%d copies", copies)
	}
	t.Logf("%d copies", copies)
}

// TestWhatAttemptsSayWhileTheNATSServerIsAwayIsNotLost lets attempts succeed and
// fail while nothing can be stored.
func TestWhatAttemptsSayWhileTheNATSServerIsAwayIsNotLost(t *testing.T) {
	t.Parallel()
	server := startNATS(t)
	r := serve(t, "NATS_URL="+server.url)
	// Every attempt lasts longer than the time in which the server goes away.
	s := newSink(t, receiver.Options{Latency: 3 * time.Second, Fail: 0.5, Status: saysNothing})
	const endpoints, events = 16, 96
	w := wide{endpoints, events / endpoints}
	apply(t, server.url, w.documents(s.url), r)
	_, js := connect(t, server.url)
	w.publish(t, js)
	eventually(t, "all are being attempted", func() error { return handedOut(js) })
	server.kill()
	eventually(t, "all were attempted", func() error {
		if n := s.Stats().Requests; n < events {
			return fmt.Errorf("%d were", n)
		}
		return nil
	})
	server.start()
	r.ready()
	t.Logf("%d copies", w.allArrived(t, js, s))
}
