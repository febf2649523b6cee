package deadletter

import (
	"context"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"jethook/pkg/delivery"
)

func TestFilterValidate(t *testing.T) {
	at := time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)
	for name, c := range map[string]struct {
		f    Filter
		want string // in the error; empty where there is none
	}{
		"all":               {Filter{}, ""},
		"everything":        {Filter{"acme", "crm", "order.*", delivery.Poison, at, at.Add(1), []uint64{1}, 1}, ""},
		"tenant":            {Filter{Tenant: "ACME"}, "tenant"},
		"wildcard tenant":   {Filter{Tenant: "*"}, "tenant"},
		"endpoint alone":    {Filter{Endpoint: "crm"}, "needs the tenant"},
		"endpoint":          {Filter{Tenant: "acme", Endpoint: "a.b"}, "endpoint"},
		"type":              {Filter{Type: "order.>.paid"}, "type"},
		"reason":            {Filter{Reason: "rejcted"}, "rejected"},
		"since after until": {Filter{Since: at, Until: at}, "before"},
		"seq":               {Filter{Seqs: []uint64{1, 0}}, "seq"},
		"limit":             {Filter{Limit: -1}, "limit"},
	} {
		t.Run(name, func(t *testing.T) {
			err := c.f.Validate()
			if (err == nil) != (c.want == "") || err != nil && !strings.Contains(err.Error(), c.want) {
				t.Errorf("got %v, want %q", err, c.want)
			}
		})
	}
	for _, r := range delivery.Reasons() {
		if err := (Filter{Reason: r}).Validate(); err != nil {
			t.Errorf("reason %s: %v", r, err)
		}
	}
}

func TestMatchType(t *testing.T) {
	for _, c := range []struct {
		pattern, eventType string
		want               bool
	}{
		{">", "a", true}, {">", "a.b", true}, {">", "", false},
		{"*", "a", true}, {"*", "a.b", false}, {"*", "", false},
		{"a.*", "a.b", true}, {"a.*", "a", false}, {"a.*", "a.b.c", false}, {"a.*", "b.b", false},
		{"a.>", "a.b", true}, {"a.>", "a.b.c", true}, {"a.>", "a", false},
		{"*.b", "a.b", true}, {"*.b", "a.c", false},
		{"a.b", "a.b", true}, {"a.b", "a.b.c", false}, {"a.b.c", "a.b", false}, {"a", "A", false},
	} {
		if got := (Filter{Type: c.pattern}).matches(&Letter{EventType: c.eventType}); got != c.want {
			t.Errorf("%q matches %q: %v", c.pattern, c.eventType, got)
		}
	}
}

// mixed stores seven letters of all kinds, and returns the time between the
// third and the fourth.
func mixed(w *world) (middle time.Time) {
	w.Helper()
	for i, c := range []struct {
		name, eventType string
		reason          delivery.Reason
	}{
		{"acme/crm", "order.created", delivery.AttemptsExhausted}, // 1
		{"acme/crm", "order.paid", delivery.Rejected},             // 2
		{"acme/shop", "order.created", delivery.Rejected},         // 3
		{"globex/crm", "user.login", delivery.Expired},            // 4
		{"acme/crm", "user.login", delivery.Rejected},             // 5
		{"acme/gone", "order.created", delivery.EndpointDeleted},  // 6
	} {
		seq := w.bury(dead("evt_"+string(rune('a'+i)), c.name, c.eventType, []byte(`{}`)), c.reason)
		if seq != uint64(i+1) {
			w.Fatalf("sequence %d", seq)
		}
	}
	if _, err := w.js.Publish(w.ctx, w.names.DeadLetter("acme", "crm"), []byte("a stranger's")); err != nil { // 7
		w.Fatal(err)
	}
	l, err := w.store.Get(w.ctx, 4)
	if err != nil {
		w.Fatal(err)
	}
	return l.DeadAt
}

var filters = []struct {
	name string
	f    func(middle time.Time) Filter
	want []uint64
}{
	{"all", func(time.Time) Filter { return Filter{} }, []uint64{1, 2, 3, 4, 5, 6, 7}},
	{"tenant", func(time.Time) Filter { return Filter{Tenant: "globex"} }, []uint64{4}},
	{"endpoint", func(time.Time) Filter { return Filter{Tenant: "acme", Endpoint: "crm"} }, []uint64{1, 2, 5, 7}},
	{"type", func(time.Time) Filter { return Filter{Type: "order.*"} }, []uint64{1, 2, 3, 6}},
	{"reason", func(time.Time) Filter { return Filter{Reason: delivery.Rejected} }, []uint64{2, 3, 5}},
	{"since", func(m time.Time) Filter { return Filter{Since: m} }, []uint64{4, 5, 6, 7}},
	{"until", func(m time.Time) Filter { return Filter{Until: m} }, []uint64{1, 2, 3}},
	{"seqs", func(time.Time) Filter { return Filter{Seqs: []uint64{5, 2, 99}} }, []uint64{2, 5}},
	{"limit", func(time.Time) Filter { return Filter{Limit: 2} }, []uint64{1, 2}},
	{"several", func(m time.Time) Filter {
		return Filter{Tenant: "acme", Type: "user.>", Reason: delivery.Rejected, Since: m, Limit: 3}
	}, []uint64{5}},
	{"limit of a reason", func(time.Time) Filter { return Filter{Reason: delivery.Rejected, Limit: 2} }, []uint64{2, 3}},
	{"none", func(time.Time) Filter { return Filter{Tenant: "nobody"} }, nil},
}

func TestListCountAndPurgeKeepToTheFilter(t *testing.T) {
	for _, c := range filters {
		t.Run(c.name, func(t *testing.T) {
			w := newWorld(t, setting{})
			middle := mixed(w)
			f := c.f(middle)
			older := 0
			for l, err := range w.store.All(w.ctx, f) {
				if err == nil && l.DeadAt.Before(middle) {
					older++
				}
			}
			if total, before, err := w.store.Count(w.ctx, f, middle); err != nil || total != len(c.want) || before != older {
				t.Errorf("counted %d, %d of them older, %v; want %d and %d", total, before, err, len(c.want), older)
			}
			if got := w.list(f); !slices.Equal(got, c.want) {
				t.Errorf("listed %d, want %d", got, c.want)
			}
			n, err := w.store.Purge(w.ctx, f)
			if err != nil || n != len(c.want) {
				t.Errorf("purged %d, %v; want %d", n, err, len(c.want))
			}
			left := slices.DeleteFunc([]uint64{1, 2, 3, 4, 5, 6, 7}, func(seq uint64) bool { return slices.Contains(c.want, seq) })
			if got := w.list(Filter{}); !slices.Equal(got, left) {
				t.Errorf("left are %d, want %d", got, left)
			}
		})
	}
}

func TestStats(t *testing.T) {
	w := newWorld(t, setting{})
	none, err := w.store.Stats(w.ctx, Filter{})
	if err != nil || none.Total != 0 || !none.Oldest.IsZero() {
		t.Errorf("of nothing: %+v, %v", none, err)
	}
	mixed(w)
	s, err := w.store.Stats(w.ctx, Filter{})
	if err != nil {
		t.Fatal(err)
	}
	if s.Total != 7 || s.ByReason["rejected"] != 3 || s.ByReason[Unreadable] != 1 || s.ByEndpoint["acme/crm"] != 4 || !s.Oldest.Before(s.Newest) {
		t.Errorf("%+v", s)
	}
}

func TestListStopsAtTheEndOfItsBeginning(t *testing.T) {
	w := newWorld(t, setting{})
	w.fill(3, 10, "acme/crm")
	n := 0
	for _, err := range w.store.All(w.ctx, Filter{}) {
		if err != nil {
			t.Fatal(err)
		}
		n++
		w.bury(dead("evt_more", "acme/crm", "a", nil), delivery.Rejected) // a list that chased these would never end
	}
	if n != 3 {
		t.Errorf("listed %d", n)
	}
}

func TestListLeavesNoConsumerBehind(t *testing.T) {
	w := newWorld(t, setting{})
	w.fill(2*scanBatch+1, 10, "acme/crm", "acme/shop")
	if n := len(w.list(Filter{})); n != 2*scanBatch+1 {
		t.Errorf("listed %d", n)
	}
	for _, err := range w.store.All(w.ctx, Filter{}) {
		if err != nil {
			t.Fatal(err)
		}
		break
	}
	s, err := w.js.Stream(w.ctx, w.names.DeadLetters())
	if err != nil {
		t.Fatal(err)
	}
	if n := s.CachedInfo().State.Consumers; n != 0 {
		t.Errorf("%d consumers are left", n)
	}
}

func TestWithoutStreamsTheErrorSaysWhatToDo(t *testing.T) {
	w := newWorld(t, setting{})
	if err := w.js.DeleteStream(w.ctx, w.names.DeadLetters()); err != nil {
		t.Fatal(err)
	}
	for _, err := range w.store.All(w.ctx, Filter{}) {
		if err == nil || !strings.Contains(err.Error(), "jethook streams apply") {
			t.Errorf("got %v", err)
		}
	}
}

func TestReadOfAStrangersMessageNamesTheProblem(t *testing.T) {
	w := newWorld(t, setting{})
	o := read(w.names, stored{subject: w.names.DeadLetter("acme", "crm"), seq: 1, header: nats.Header{}})
	if o.letter.Reason != "" || !strings.Contains(o.letter.Problem, Header) || o.letter.Name() != "acme/crm" {
		t.Errorf("%+v", o.letter)
	}
}

// A client that gives up waiting for a batch says nothing of it, and what was on its
// way is lost: a part of the batch, or all.
func TestListIsWholeThoughTheClientGivesUp(t *testing.T) {
	w := newWorld(t, setting{})
	w.fill(300, 10, "acme/crm")
	for _, came := range []int{0, 1, 190, 299} {
		impatient := &impatientJS{JetStream: w.js, came: came}
		found := 0
		for _, err := range NewStore(impatient, w.names).All(w.ctx, Filter{}) {
			if err != nil {
				t.Fatal(err)
			}
			found++
		}
		if found != 300 || !impatient.gaveUp {
			t.Errorf("listed %d of 300 when it gave up after %d", found, came)
		}
	}
}

// What is removed while it is listed does not come, and is no reason to fail.
func TestListWhileTheRestIsRemoved(t *testing.T) {
	w := newWorld(t, setting{})
	w.fill(2*scanBatch, 10, "acme/crm")
	found := 0
	for _, err := range w.store.All(w.ctx, Filter{}) {
		if err != nil {
			t.Fatal(err)
		}
		if found++; found == scanBatch {
			s, err := w.js.Stream(w.ctx, w.names.DeadLetters())
			if err != nil {
				t.Fatal(err)
			}
			if err := s.Purge(w.ctx); err != nil {
				t.Fatal(err)
			}
		}
	}
	if found != scanBatch {
		t.Errorf("listed %d, want the first batch", found)
	}
}

// impatientJS gives up its first batch after some messages.
type impatientJS struct {
	jetstream.JetStream

	came   int
	gaveUp bool
}

func (js *impatientJS) CreateConsumer(ctx context.Context, stream string, c jetstream.ConsumerConfig) (jetstream.Consumer, error) {
	consumer, err := js.JetStream.CreateConsumer(ctx, stream, c)
	return impatientConsumer{consumer, js}, err
}

type impatientConsumer struct {
	jetstream.Consumer

	js *impatientJS
}

func (c impatientConsumer) FetchNoWait(n int) (jetstream.MessageBatch, error) {
	batch, err := c.Consumer.FetchNoWait(n)
	if c.js.gaveUp || err != nil {
		return batch, err
	}
	c.js.gaveUp = true
	some := make(chan jetstream.Msg, n)
	for m := range batch.Messages() {
		if len(some) < c.js.came {
			some <- m
		}
	}
	close(some)
	return someMessages{batch, some}, nil
}

type someMessages struct {
	jetstream.MessageBatch

	some chan jetstream.Msg
}

func (b someMessages) Messages() <-chan jetstream.Msg { return b.some }
