package worker

import (
	"context"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/nats-io/nats.go/jetstream"

	"jethook/pkg/delivery"
	"jethook/pkg/endpoint"
	"jethook/pkg/retry"
	"jethook/streams"
)

// The state travels: each attempt knows its number and the history, is made
// when it is due within the jitter's bounds, and the dead letter tells it all.
func TestRetryStateTravels(t *testing.T) {
	t.Parallel()
	for _, jitter := range []retry.Jitter{retry.JitterNone, retry.JitterEqual, retry.JitterFull} {
		t.Run(string(jitter), func(t *testing.T) {
			t.Parallel()
			w := newWorld(t, setting{})
			policy := retry.Policy{Base: 200 * time.Millisecond, Factor: 2, MaxDelay: time.Second, MaxAttempts: 4, Jitter: jitter}
			w.endpoint("crm", func(d *endpoint.Document) { d.Retry = policy })
			w.answer(func(_ context.Context, c call) delivery.Result {
				return delivery.Result{Status: 500 + c.number, Error: fmt.Sprintf("failure %d", c.number)}
			})
			w.run(4, time.Second)
			seq := w.publish("order.created", "evt_1", "{}")
			for i := 1; i <= 4; i++ {
				c := w.next()
				if c.number != i || len(c.state.History) != i-1 || !strings.HasPrefix(c.state.Origin, fmt.Sprintf("e%d_", seq)) {
					t.Fatalf("attempt %d: %+v", i, c)
				}
				if i > 1 {
					full := policy.Backoff(i - 1)
					low := map[retry.Jitter]time.Duration{retry.JitterNone: full, retry.JitterEqual: full / 2, retry.JitterFull: 0}[jitter]
					last := c.state.History[i-2]
					after := c.state.Due.Sub(last.At.Add(time.Duration(last.DurationMS * float64(time.Millisecond))))
					const rounded = 5 * time.Millisecond // what the history loses of its times
					if after < low-rounded || after > full+rounded {
						t.Errorf("attempt %d is due %v after the one before, want %v to %v", i, after, low, full)
					}
					// Late by what a burst, the server's timer and a busy machine take.
					if late := c.at.Sub(c.state.Due); late < 0 || late > 10*time.Second {
						t.Errorf("attempt %d came %v after it was due", i, late)
					}
				}
			}
			l := w.dead(1)[0]
			if l.Reason != delivery.AttemptsExhausted || l.Attempts != 4 || l.LastStatus != 504 || l.LastError != "failure 4" || len(l.History) != 4 {
				t.Errorf("dead letter %+v", l)
			}
			for i, a := range l.History {
				if a.Attempt != i+1 || a.Status != 501+i {
					t.Errorf("history[%d] = %+v", i, a)
				}
			}
			w.settled()
			w.quiet()
		})
	}
}

// A long wait is a schedule under the delivery's own subject, with the time to
// the nanosecond, and costs the consumer nothing.
func TestLongWaitIsASchedule(t *testing.T) {
	t.Parallel()
	w := newWorld(t, setting{})
	w.endpoint("crm", every(90*time.Second+123456789*time.Nanosecond, 5))
	w.answer(status(503))
	w.run(4, time.Second)
	seq := w.publish("order.created", "evt_1", "body")
	first := w.next()
	w.until("the schedule is stored", func() bool { return w.state(w.names.Deliveries()).Msgs == 1 })
	subject := fmt.Sprintf("webhooks.scheduled.acme.crm.evt_1.e%d_%s", seq, strconv.FormatInt(w.storedAt(seq).UnixNano(), 36))
	m := w.stored(subject)
	d, err := delivery.Decode("acme", "crm", m.Header, m.Data)
	w.must(err)
	at, err := time.Parse(time.RFC3339Nano, strings.TrimPrefix(m.Header.Get("Nats-Schedule"), "@at "))
	w.must(err)
	if !at.Equal(d.State.Due) || at.Nanosecond() == 0 {
		t.Errorf("scheduled for %v, due %v: want the same, to the nanosecond", at, d.State.Due)
	}
	if after := at.Sub(first.at); after < 90*time.Second || after > 95*time.Second {
		t.Errorf("scheduled %v after the attempt, want 90s", after)
	}
	if got := m.Header.Get("Nats-Schedule-Target"); got != "webhooks.deliveries.default.acme.crm" {
		t.Errorf("target %q", got)
	}
	if string(m.Data) != "body" || d.State.Attempts != 1 {
		t.Errorf("stored %q with state %+v", m.Data, d.State)
	}
	if c := w.deliver(); c.NumPending+uint64(c.NumAckPending) != 0 {
		t.Errorf("the consumer knows of it: %d pending, %d not acked", c.NumPending, c.NumAckPending)
	}
	// An operator hurries it by its subject.
	w.answer(status(200))
	m.Header.Set("Nats-Schedule", "@at "+time.Now().Add(300*time.Millisecond).UTC().Format(time.RFC3339Nano))
	m.Header.Del(jetstream.MsgIDHeader)
	hurried := w.scheduledMsg(subject, m)
	d.State.Due = time.Time{}
	e, err := d.Encode(subject, 0)
	w.must(err)
	hurried.Header.Set(delivery.Header, e.Header.Get(delivery.Header))
	_, err = w.js.PublishMsg(w.ctx, hurried)
	w.must(err)
	if c := w.next(); c.number != 2 || c.body != "body" {
		t.Errorf("the schedule fired as attempt %d with %q, want the second with the body", c.number, c.body)
	}
	w.settled()
}

// A wait is a nak, a schedule or a copy, by its length, by how crowded the
// consumer is, by how often it was nak'd and by what the server can do.
func TestWhereAWaitGoes(t *testing.T) {
	t.Parallel()
	const nak, schedule, copied = "nak", "schedule", "copy"
	for _, c := range []struct {
		name    string
		wait    time.Duration
		crowded bool
		old     bool
		handed  int // before
		want    string
	}{
		{"short", 30 * time.Second, false, false, 0, nak},
		{"long", 2 * time.Minute, false, false, 0, schedule},
		{"crowded", 30 * time.Second, true, false, 0, schedule},
		{"crowded, the last second", 900 * time.Millisecond, true, false, 0, nak},
		{"nak'd ten times", 30 * time.Second, false, false, waits - 1, copied},
		{"long, nak'd ten times", 2 * time.Minute, false, false, waits - 1, schedule},
		{"old server, long", 2 * time.Hour, false, true, 0, nak},
		{"old server, crowded", 30 * time.Second, true, true, 0, nak},
		{"old server, nak'd ten times", 2 * time.Hour, false, true, waits - 1, copied},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			w := newWorld(t, setting{old: c.old})
			w.endpoint("crm")
			pull, err := w.js.Consumer(w.ctx, w.names.Deliveries(), "deliver")
			w.must(err)
			deliveries, err := w.js.Stream(w.ctx, w.names.Deliveries())
			w.must(err)
			r := New(w.options())
			r.schedules = !c.old
			l := r.newLane(streams.DefaultLane, true)
			r.lanes.all = []*lane{l}
			l.deliver.crowded.Store(c.crowded)
			ctx, cancel := context.WithCancel(w.ctx)
			flushed := make(chan struct{})
			go func() { defer close(flushed); r.naks.run(ctx) }()
			var seq uint64
			w.until("it is judged before the wait is over", func() bool {
				w.must(deliveries.Purge(w.ctx))
				due := time.Now().Add(c.wait)
				seq = w.put(given("crm", "evt_1", delivery.State{Due: due}))
				for range c.handed {
					m, err := pull.Next()
					w.must(err)
					w.must(m.Nak())
				}
				raw, err := pull.Next()
				w.must(err)
				if time.Until(due) < c.wait/2 {
					return false
				}
				m, err := newMessage(raw, l, time.Now())
				w.must(err)
				r.delivery(m)
				return time.Now().Before(due)
			})
			cancel()
			<-flushed
			w.must(w.nc.Flush())
			w.until("the server has the answer", func() bool {
				d, s := w.deliver(), w.state(w.names.Deliveries()) // what was stored before the ack is there
				got := copied
				switch {
				case s.FirstSeq == seq && d.NumAckPending == 1 && s.LastSeq == seq:
					got = nak
				case d.NumAckPending == 1:
					return false // not acked yet
				case w.subject(s.LastSeq) != w.names.Delivery(streams.DefaultLane, "acme", "crm"):
					got = schedule
				}
				if got != c.want {
					t.Fatalf("the wait became a %s, want a %s", got, c.want)
				}
				return true
			})
		})
	}
}

// subject returns that of a message in the stream of deliveries.
func (w *world) subject(seq uint64) string {
	w.Helper()
	stream, err := w.js.Stream(w.ctx, w.names.Deliveries())
	w.must(err)
	m, err := stream.GetMsg(w.ctx, seq)
	w.must(err)
	return m.Subject
}

// What becomes of deliveries that get no attempt.
func TestNoAttempt(t *testing.T) {
	t.Parallel()
	w := newWorld(t, setting{})
	w.endpoint("crm")
	w.run(4, time.Second)
	w.put(given("gone", "evt_1", delivery.State{}))
	w.put(given("gone", "evt_2", delivery.State{Due: time.Now().Add(time.Hour)}))
	w.put(given("crm", "evt_3", delivery.State{Since: time.Now().Add(-73 * time.Hour)}))
	reasons := map[string]delivery.Reason{}
	for _, l := range w.dead(3) {
		reasons[l.EventID] = l.Reason
	}
	if reasons["evt_1"] != delivery.EndpointDeleted || reasons["evt_2"] != delivery.EndpointDeleted || reasons["evt_3"] != delivery.Expired {
		t.Errorf("reasons %v", reasons)
	}
	w.settled()
	w.quiet()
}

// Nothing is decided while the endpoints are not what the bucket says: an event
// would be taken for one that nobody wants, an endpoint for one that is gone.
func TestNothingIsDecidedOutOfSync(t *testing.T) {
	t.Parallel()
	w := newWorld(t, setting{})
	w.endpoints.behind.Store(true)
	w.answer(status(200))
	r := w.run(8, time.Second)
	w.publish("order.created", "evt_1", "body")
	w.put(given("crm", "evt_2", delivery.State{}))
	w.until("both are held", func() bool {
		return r.main().pool.busy() == 2
	})
	w.endpoint("crm") // it had been there all the time, in the bucket
	w.endpoints.behind.Store(false)
	got := []string{w.next().event, w.next().event}
	slices.Sort(got)
	if !slices.Equal(got, []string{"evt_1", "evt_2"}) {
		t.Errorf("delivered %v", got)
	}
	w.settled()
}

// A replica that has not heard of an endpoint yet asks the bucket before it
// gives up what waits for it.
func TestAnEndpointThatIsOnlyNewIsNotDeleted(t *testing.T) {
	t.Parallel()
	w := newWorld(t, setting{})
	w.answer(status(200))
	w.endpoint("crm")
	w.endpoints.forget("acme/crm", true)
	w.run(8, time.Second)
	w.put(given("crm", "evt_1", delivery.State{}))
	w.until("the bucket was asked", func() bool { return w.endpoints.sought.Load() > 0 })
	w.endpoints.forget("acme/crm", false)
	if c := w.next(); c.event != "evt_1" {
		t.Errorf("delivered %s", c.event)
	}
	w.settled()
}

// A receiver that is gone for good, or says so, is left alone.
func TestDisable(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		result delivery.Result
		why    string
		dead   int
	}{
		"410":                  {delivery.Result{Status: 410}, "410 Gone", 1},
		"header":               {delivery.Result{Status: 200, Disable: true}, "webhook-delivery", 0},
		"header with an error": {delivery.Result{Status: 400, Disable: true}, "webhook-delivery", 1},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			w := newWorld(t, setting{})
			w.endpoint("crm")
			w.answer(func(context.Context, call) delivery.Result { return c.result })
			w.run(4, time.Second)
			w.publish("order.created", "evt_1", "{}")
			w.settled()
			w.dead(c.dead)
			w.endpoints.mu.Lock()
			defer w.endpoints.mu.Unlock()
			if got := w.endpoints.disabled; len(got) != 1 || !strings.HasPrefix(got[0], "acme/crm: ") || !strings.Contains(got[0], c.why) {
				t.Errorf("disabled %q, want acme/crm once because of %s", got, c.why)
			}
		})
	}
}
