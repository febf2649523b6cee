package attempt

import (
	"encoding/json"
	"reflect"
	"strings"
	"testing"
	"time"

	"jethook/pkg/delivery"
	"jethook/pkg/event"
)

// What is written by hand reads as what was meant, whatever strings hold.
func TestARecordReadsAsItWasMeant(t *testing.T) {
	at := time.Date(2026, 11, 27, 3, 4, 5, 123456789, time.UTC)
	d := delivery.New(event.Event{ID: "evt_1", Tenant: "acme", Type: `order."created"`, Time: at.Add(-time.Second), Seq: 7}, "crm")
	d.State.Attempts = 2
	d.State.Replay = true
	d.State.Due = at.Add(-1500 * time.Microsecond)
	m := &Made{
		Delivery: &d, Probe: true, NextAt: at.Add(time.Hour),
		Result: delivery.Result{
			At: at, Duration: 1234567 * time.Nanosecond, Status: 503, Fault: delivery.FaultTimeout, Error: "tab\t, \"quote\", \u2028 and <b>",
			Parts:    delivery.Parts{DNS: time.Millisecond, Connect: 2 * time.Millisecond, TLS: 3 * time.Millisecond, FirstByte: 4 * time.Microsecond},
			Request:  map[string]string{"webhook-id": "evt_1", "authorization": "***"},
			Response: map[string]string{"retry-after": "120", "location": "https://example.com/a"},
			Body:     "line \\ one",
		},
		Verdict: delivery.Verdict{Outcome: delivery.Retry},
	}
	line := appendRecord(nil, m, "r1")
	got, err := decodeRecord(line)
	if err != nil {
		t.Fatalf("%v in %s", err, line)
	}
	want := Record{
		EventID: "evt_1", EventType: `order."created"`, EventTime: at.Add(-time.Second), EventSeq: 7, Tenant: "acme", Endpoint: "crm",
		Attempt: 3, At: at, WaitMS: 1.5, DNSMS: 1, ConnectMS: 2, TLSMS: 3, FirstByteMS: 0.004, DurationMS: 1.235,
		Status: 503, Fault: delivery.FaultTimeout, Error: m.Result.Error, Outcome: delivery.Retry, NextAt: at.Add(time.Hour),
		Replay: true, Probe: true, Replica: "r1",
		Request:  map[string]string{"webhook-id": "evt_1", "authorization": "***"},
		Response: map[string]string{"retry-after": "120", "location": "https://example.com/a"},
		Body:     "line \\ one",
	}
	if !reflect.DeepEqual(got, want) {
		t.Errorf("got  %+v\nwant %+v", got, want)
	}
	if n := strings.Count(string(line), "\n"); n != 1 || line[len(line)-1] != '\n' {
		t.Errorf("%d ends of lines in %q", n, line)
	}
}

// The first attempt waited since the event, a held one does not say.
func TestWait(t *testing.T) {
	at := time.Now()
	for name, c := range map[string]struct {
		state delivery.State
		want  time.Duration
	}{
		"first":           {delivery.State{Since: at.Add(-time.Second)}, time.Second},
		"retry, late":     {delivery.State{Since: at.Add(-time.Hour), First: at.Add(-time.Hour), Due: at.Add(-2 * time.Second)}, 2 * time.Second},
		"held":            {delivery.State{Since: at.Add(-time.Hour), First: at.Add(-time.Hour)}, 0},
		"clocks disagree": {delivery.State{Since: at.Add(time.Second)}, 0},
	} {
		if got := (&Made{Delivery: &delivery.Delivery{State: c.state}, Result: delivery.Result{At: at}}).wait(); got != c.want {
			t.Errorf("%s: %v, want %v", name, got, c.want)
		}
	}
}

func TestTheLedgerReadsAsItWasMeant(t *testing.T) {
	m := example()
	d := m.Delivery
	at := time.Date(2026, 11, 27, 3, 4, 5, 0, time.UTC)
	for want, line := range map[*Entry][]byte{
		{EventID: d.Event.ID, EventSeq: d.Event.Seq, Tenant: "acme", Matched: []string{"a", "b"}, Ordered: []string{"c"}}: appendMatched(nil, &d.Event, []string{"a", "b"}, []string{"c"}, false),
		{EventID: d.Event.ID, EventSeq: d.Event.Seq, Tenant: "acme", Matched: []string{"d"}, More: true}:                  appendMatched(nil, &d.Event, []string{"d"}, nil, true),
		{EventID: d.Event.ID, EventSeq: d.Event.Seq, Tenant: "acme"}:                                                      appendMatched(nil, &d.Event, nil, nil, false),
		{EventID: d.Event.ID, EventSeq: d.Event.Seq, Tenant: "acme", Endpoint: "crm", Attempt: 1, At: m.Result.At,
			DurationMS: 1.235, Status: 200, Outcome: delivery.Delivered}: appendOutcome(nil, m),
		{EventID: d.Event.ID, EventSeq: d.Event.Seq, Tenant: "acme", Endpoint: "crm", At: at, Dead: delivery.Expired}: appendDead(nil, d, delivery.Expired, at),
	} {
		got, err := decodeEntry(line)
		if err != nil || !reflect.DeepEqual(got, *want) {
			t.Errorf("%s: got %+v, %v, want %+v", line, got, err, *want)
		}
	}
}

func FuzzAppendString(f *testing.F) {
	for _, s := range []string{"", "plain", `"`, `\`, "\x00\n", "\xff", "\u2028é"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		line := append(appendString([]byte(`{"event_id":`), s), '}', '\n')
		e, err := decodeEntry(line)
		quoted, _ := json.Marshal(s) // a string can always be encoded
		var want string
		if json.Unmarshal(quoted, &want) != nil || err != nil || e.EventID != want {
			t.Errorf("%q reads as %q, %v, want %q", line, e.EventID, err, want)
		}
		if strings.Count(string(line), "\n") != 1 {
			t.Errorf("%q is more than a line", line)
		}
	})
}
