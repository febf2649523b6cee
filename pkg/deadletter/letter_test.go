package deadletter

import (
	"bytes"
	"encoding/json"
	"errors"
	"reflect"
	"strings"
	"testing"
	"time"

	"github.com/nats-io/nats.go"

	"jethook/pkg/delivery"
	"jethook/streams"
)

func TestGetTellsAll(t *testing.T) {
	w := newWorld(t, setting{})
	for name, c := range map[string]struct {
		body    string
		payload string
		base64  []byte
	}{
		"JSON":         {`{"a": [1, 2]}`, `{"a":[1,2]}`, nil},
		"text":         {"hello <you>", `"hello <you>"`, nil},
		"empty":        {"", `""`, nil},
		"binary":       {"\xff\x00", ``, []byte("\xff\x00")},
		"not quite":    {`{"a":`, `"{\"a\":"`, nil},
		"bad UTF-8 in": {"\"\xff\"", ``, []byte("\"\xff\"")},
	} {
		t.Run(name, func(t *testing.T) {
			d := dead("evt_"+strings.ReplaceAll(name, " ", "_"), "acme/crm", "order.created", []byte(c.body))
			seq := w.bury(d, delivery.AttemptsExhausted)
			l, err := w.store.Get(w.ctx, seq)
			if err != nil {
				t.Fatal(err)
			}
			if age := time.Since(l.DeadAt); age < 0 || age > time.Minute {
				t.Errorf("dead at %v", l.DeadAt)
			}
			var payload bytes.Buffer
			if len(l.Payload) > 0 {
				if err := json.Compact(&payload, l.Payload); err != nil {
					t.Fatal(err)
				}
			}
			got := unescaped(t, payload.Bytes())
			if got != unescaped(t, []byte(c.payload)) || !bytes.Equal(l.PayloadBase64, c.base64) {
				t.Errorf("payload %s, base64 %q; want %s, %q", l.Payload, l.PayloadBase64, c.payload, c.base64)
			}
			l.DeadAt, l.Payload, l.PayloadBase64 = time.Time{}, nil, nil
			want := Letter{
				Seq: seq, EventID: d.Event.ID, EventType: "order.created", EventTime: d.Event.Time, EventSeq: d.Event.Seq,
				Tenant: "acme", Endpoint: "crm", URL: "https://example.com/hooks",
				Reason: delivery.AttemptsExhausted, Attempts: 1, LastStatus: 503, LastError: "503 Service Unavailable",
				History: d.State.History, Headers: map[string]string{"content-type": "application/json"},
			}
			if !reflect.DeepEqual(l, want) {
				t.Errorf("got  %+v\nwant %+v", l, want)
			}
		})
	}
}

func TestProbesAreNoAttempts(t *testing.T) {
	w := newWorld(t, setting{})
	d := dead("evt_down", "acme/crm", "order.created", nil)
	d.State.Attempts, d.State.History[0].Probe = 0, true
	l, err := w.store.Get(w.ctx, w.bury(d, delivery.EndpointDown))
	if err != nil || l.Attempts != 0 || len(l.History) != 1 || !l.History[0].Probe {
		t.Errorf("%d attempts, history %+v, %v", l.Attempts, l.History, err)
	}
}

// unescaped decodes JSON for comparison.
func unescaped(t *testing.T, data []byte) string {
	t.Helper()
	if len(data) == 0 {
		return ""
	}
	var v any
	if err := json.Unmarshal(data, &v); err != nil {
		t.Fatal(err)
	}
	text, err := json.Marshal(v)
	if err != nil {
		t.Fatal(err)
	}
	return string(text)
}

func TestLetterHasTheContractsFields(t *testing.T) {
	text, err := json.Marshal(Letter{Payload: json.RawMessage("1"), History: []delivery.Attempt{}, Headers: map[string]string{}})
	if err != nil {
		t.Fatal(err)
	}
	const want = `{"seq":0,"event_id":"","event_type":"","event_time":"0001-01-01T00:00:00Z","tenant":"","endpoint":"","url":"","reason":"","attempts":0,"last_status":0,"last_error":"","dead_at":"0001-01-01T00:00:00Z","history":[],"headers":{},"payload":1}`
	if string(text) != want {
		t.Errorf("got  %s\nwant %s", text, want)
	}
}

func TestGetReadsALargeBodyFromTheEvent(t *testing.T) {
	w := newWorld(t, setting{})
	body := bytes.Repeat([]byte("x"), 983_040-100) // what the stream of events takes
	event, err := w.names.Event("acme", "order.created")
	if err != nil {
		t.Fatal(err)
	}
	ack, err := w.js.Publish(w.ctx, event, body)
	if err != nil {
		t.Fatal(err)
	}
	d := dead("evt_large", "acme/crm", "order.created", body)
	d.Event.Seq = ack.Sequence
	// A history that leaves no room for the body beside it.
	d.State.History[0].Error = strings.Repeat("e", 31_000)
	w.writer = NewWriter(w.names, func() int64 { return 1_000_000 })
	seq := w.bury(d, delivery.Rejected)
	l, err := w.store.Get(w.ctx, seq)
	if err != nil || len(l.Payload) != len(body)+2 {
		t.Fatalf("payload of %d bytes, %v; want %d", len(l.Payload), err, len(body)+2)
	}
	// A replay keeps saying where the body is.
	if r := w.replay(Filter{}); r.Replayed != 1 {
		t.Fatalf("%+v", r)
	}
	m, err := w.js.Stream(w.ctx, w.names.Deliveries())
	if err != nil {
		t.Fatal(err)
	}
	stored, err := m.GetLastMsgForSubject(w.ctx, w.names.Delivery("default", "acme", "crm"))
	if err != nil {
		t.Fatal(err)
	}
	if got := stored.Header.Get(delivery.BodyHeader); got != delivery.BodyInEvent || len(stored.Data) != 0 {
		t.Errorf("header %s is %q and the body has %d bytes", delivery.BodyHeader, got, len(stored.Data))
	}
	// The event may be gone before the letter.
	d.State.Origin = "d1"
	seq = w.bury(d, delivery.Expired)
	events, err := w.js.Stream(w.ctx, w.names.Events())
	if err != nil {
		t.Fatal(err)
	}
	if err := events.Purge(w.ctx); err != nil {
		t.Fatal(err)
	}
	if l, err := w.store.Get(w.ctx, seq); err != nil || l.Payload != nil || !strings.Contains(l.Problem, "no longer") {
		t.Errorf("payload of %d bytes, problem %q, %v", len(l.Payload), l.Problem, err)
	}
}

func TestGetOfNothing(t *testing.T) {
	w := newWorld(t, setting{})
	if _, err := w.store.Get(w.ctx, 42); !errors.Is(err, ErrNotFound) {
		t.Errorf("got %v", err)
	}
}

func TestLetterLeavesRoomForItsHeaders(t *testing.T) {
	names, err := streams.NewNames("")
	if err != nil {
		t.Fatal(err)
	}
	const limit = 4096
	w := NewWriter(names, func() int64 { return limit })
	for size := range limit + 100 {
		d := dead("evt_1", "acme/crm", "order.created", make([]byte, size))
		m, err := w.Letter(d, "https://example.com/"+strings.Repeat("u", 900), delivery.Rejected, time.Now())
		if err != nil {
			t.Fatal(err)
		}
		if m.Size() > limit {
			t.Fatalf("with a body of %d bytes the letter has %d, over %d", size, m.Size(), limit)
		}
		if inside := len(m.Data) == size; inside == (m.Header.Get(delivery.BodyHeader) != "") && size > 0 {
			t.Fatalf("with a body of %d bytes: body inside %v, header %q", size, inside, m.Header.Get(delivery.BodyHeader))
		}
	}
}

// NATS stores headers of up to 64 KiB, whatever a receiver answered.
func TestLetterOfAHostileReceiverCanBeStored(t *testing.T) {
	w := newWorld(t, setting{})
	d := dead("evt_1", "acme/crm", "order.created", []byte(`{}`))
	for range delivery.MaxHistory {
		d.State.History = append(d.State.History, delivery.Attempt{Error: strings.Repeat("\x01é", 10_000)})
	}
	l, err := w.store.Get(w.ctx, w.bury(d, delivery.Rejected))
	if err != nil || l.Problem != "" || l.Reason != delivery.Rejected || string(l.Payload) != `{}` {
		t.Errorf("%v, problem %q, payload %s", err, l.Problem, l.Payload)
	}
	if n := len(l.LastError); n == 0 || n > maxLastError {
		t.Errorf("the last error has %d bytes", n)
	}
	w.replay(Filter{})
	eachOnce(t, w.sent(), 1)
}

func FuzzDeadHeader(f *testing.F) {
	f.Add(`{"reason":"rejected","url":"https://a","at":"2026-01-02T03:04:05Z","last_status":404,"last_error":"no"}`,
		`{"event_id":"evt_1","event_type":"a.b","event_time":"2026-01-02T03:04:05Z","event_seq":7,"origin":"e7","attempts":1,"since":"2026-01-02T03:04:05Z"}`, "webhooks.dlq.acme.crm")
	f.Add(``, `{}`, "webhooks.dlq.acme")
	f.Add(`{"reason":""}`, `{"attempts":-1}`, "x")
	names, err := streams.NewNames("")
	if err != nil {
		f.Fatal(err)
	}
	f.Fuzz(func(t *testing.T, why, state, subject string) {
		o := read(names, stored{subject: subject, seq: 1, header: nats.Header{Header: {why}, delivery.Header: {state}}})
		if (o.letter.Problem == "") != (o.letter.Reason != "") {
			t.Errorf("problem %q, reason %q: a letter can be read or it cannot", o.letter.Problem, o.letter.Reason)
		}
		text, err := json.Marshal(o.letter)
		if err != nil {
			t.Fatalf("cannot be shown: %v", err)
		}
		var again Letter
		if err := json.Unmarshal(text, &again); err != nil {
			t.Fatal(err)
		}
		if o.letter.Problem == "" && (again.EventID != o.letter.EventID || again.Tenant == "" || again.Attempts < 0) {
			t.Errorf("%s came back as %+v", text, again)
		}
	})
}
