package delivery

import (
	"bytes"
	"errors"
	"fmt"
	"math/rand/v2"
	"net/textproto"
	"reflect"
	"strings"
	"testing"
	"time"

	"github.com/nats-io/nats.go"

	"jethook/pkg/event"
)

const testLimit = 1 << 20

// wire sends a message's header over the wire, as NATS does.
func wire(t testing.TB, m *nats.Msg) nats.Header {
	t.Helper()
	var b bytes.Buffer
	b.WriteString("NATS/1.0\r\n")
	for name, values := range m.Header {
		for _, v := range values {
			fmt.Fprintf(&b, "%s: %s\r\n", name, textproto.TrimString(v))
		}
	}
	b.WriteString("\r\n")
	header, err := nats.DecodeHeadersMsg(b.Bytes())
	if err != nil {
		t.Fatal(err)
	}
	return header
}

func decode(t testing.TB, m *nats.Msg) Delivery {
	t.Helper()
	d, err := Decode("acme", "crm", wire(t, m), m.Data)
	if err != nil {
		t.Fatal(err)
	}
	return d
}

func randomDelivery(r *rand.Rand) Delivery {
	text := func(letters string, most int) string {
		all := []rune(letters)
		var b strings.Builder
		for range r.IntN(most) {
			b.WriteRune(all[r.IntN(len(all))])
		}
		return b.String()
	}
	moment := func() time.Time { return time.Unix(r.Int64N(1<<33), r.Int64N(1e9)).UTC() }
	const odd = "aB0 _-.,:;\"\\'<>&{}[]é世\u2028\ufffd"
	d := Delivery{
		Event: event.Event{ID: "evt_" + text("abcXYZ019_-", 60), Tenant: "acme", Type: "a." + text("abc", 9) + "z", Time: moment(), Seq: r.Uint64(),
			Body: []byte(text(odd, 100))},
		Endpoint: "crm",
		State:    State{Origin: "e" + text("0123456789", 20), Attempts: r.IntN(200), Since: moment(), Replay: r.IntN(2) == 0},
	}
	if r.IntN(2) == 0 {
		d.Event.Problem = "p" + text(odd, 50)
	}
	for _, name := range []string{"ce-id", "ce-source", "content-type", "traceparent"} {
		if r.IntN(2) == 0 {
			d.Event.Fields = append(d.Event.Fields, event.Field{Name: name, Value: "x" + text("aB0 _-.,:;\"<>", 20) + "y"})
		}
	}
	if r.IntN(2) == 0 {
		d.State.Due, d.State.First = moment(), moment()
	}
	if r.IntN(2) == 0 {
		d.State.Trace = Trace{Delivery: "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-0" + text("01", 2), Attempt: text("0123456789abcdef", 17)}
	}
	for range r.IntN(MaxHistory + 1) {
		d.State.History = append(d.State.History, Attempt{r.IntN(100), moment(), r.IntN(600), text(odd, 200), float64(r.IntN(1e6)) / 1000, r.IntN(2) == 0})
	}
	return d
}

func TestCodecRoundTrip(t *testing.T) {
	random := rand.New(rand.NewPCG(5, 6)) //nolint:gosec // a repeatable test
	for range 1000 {
		want := randomDelivery(random)
		m, err := want.Encode("subject", testLimit)
		if err != nil {
			t.Fatal(err)
		}
		if m.Subject != "subject" {
			t.Fatalf("subject %q", m.Subject)
		}
		got := decode(t, m)
		if got.BodyInEvent || !equal(got, want) {
			t.Fatalf("got  %+v\nwant %+v", got, want)
		}
	}
}

// equal knows no difference between no headers and none.
func equal(a, b Delivery) bool {
	if len(a.Event.Fields) == 0 && len(b.Event.Fields) == 0 {
		a.Event.Fields, b.Event.Fields = nil, nil
	}
	return reflect.DeepEqual(a, b)
}

// At every size around the limit, the message fits with what is added on the
// way, and a body that stays out is said to.
func TestBodyOverTheLimitStaysOut(t *testing.T) {
	const added = 1000
	for size := testLimit - 4000; size <= testLimit+10; size += 7 {
		d := testDelivery()
		d.Event.Body = make([]byte, size)
		m, err := d.Encode("subject", testLimit)
		if err != nil {
			t.Fatal(err)
		}
		got := decode(t, m)
		if m.Size()+added > testLimit {
			t.Fatalf("a body of %d bytes makes a message of %d", size, m.Size())
		}
		bodyInEvent := got.BodyInEvent
		if bodyInEvent != (len(m.Data) == 0) || !bodyInEvent && len(got.Event.Body) != size {
			t.Fatalf("a body of %d bytes: %d are stored, and in the event: %v", size, len(m.Data), bodyInEvent)
		}
		if bodyInEvent && size < testLimit-3000 || !bodyInEvent && size > testLimit-1000 {
			t.Fatalf("a body of %d bytes is in the event: %v", size, bodyInEvent)
		}
	}
	d := testDelivery()
	d.Event.Body = make([]byte, 2*testLimit)
	if m, err := d.Encode("subject", 0); err != nil || len(m.Data) != 2*testLimit {
		t.Errorf("without a limit %d bytes are stored, %v", len(m.Data), err)
	}
	empty := testDelivery()
	empty.Event.Body = nil
	if m, err := empty.Encode("subject", testLimit); err != nil || m.Header.Get(BodyHeader) != "" {
		t.Errorf("a body that is empty is said to be elsewhere: %v, %v", m.Header, err)
	}
}

// NATS stores no header over 64 KiB. Neither a receiver's answers nor a
// producer's headers may make a delivery that can never be stored.
func TestHeadersAreBounded(t *testing.T) {
	const stored, added = 64 << 10, 12 << 10
	many := make([]event.Field, 500)
	for i := range many {
		many[i] = event.Field{Name: fmt.Sprintf("ce-a%03d", i), Value: strings.Repeat("v", 120)}
	}
	for name, c := range map[string]struct {
		errorText string
		fields    []event.Field
		history   int // at least this many attempts must be left
		left      int // and this many headers
	}{
		"plain errors":          {strings.Repeat("x", 200), nil, MaxHistory, 0},
		"errors in HTML":        {strings.Repeat("<", 200), nil, MaxHistory, 0},
		"errors in quotes":      {strings.Repeat(`"`, 200), nil, MaxHistory, 0},
		"endless errors":        {strings.Repeat("x", 5000), nil, 5, 0},
		"an impossible error":   {strings.Repeat("x", 1<<20), nil, 0, 0},
		"one long header":       {"x", []event.Field{{Name: "ce-long", Value: strings.Repeat("v", 60<<10)}, {Name: "ce-short", Value: "v"}}, MaxHistory, 1},
		"many headers":          {strings.Repeat("x", 200), many, MaxHistory - 16, 150},
		"all of it at one time": {strings.Repeat("<", 5000), append(many, event.Field{Name: "ce-long", Value: strings.Repeat("v", 60<<10)}), 1, 150},
	} {
		d := testDelivery()
		d.Event.Fields = c.fields
		for i := range MaxHistory {
			d.State.History = append(d.State.History, Attempt{Attempt: i + 1, At: start, Status: 503, Error: c.errorText, DurationMS: 1.5})
		}
		d.State.Attempts = MaxHistory
		m, err := d.Encode("subject", testLimit)
		if err != nil {
			t.Fatal(err)
		}
		if size := m.Size() - len(m.Data); size+added > stored {
			t.Errorf("%s: the header takes %d bytes", name, size)
		}
		got := decode(t, m)
		if got.State.Attempts != MaxHistory || len(got.State.History) < c.history || len(got.Event.Fields) < c.left {
			t.Errorf("%s: %d attempts counted, %d told, %d headers left; want %d, %d, %d", name,
				got.State.Attempts, len(got.State.History), len(got.Event.Fields), MaxHistory, c.history, c.left)
		}
		if n := len(got.State.History); n > 0 && got.State.History[n-1].Attempt != MaxHistory {
			t.Errorf("%s: the last attempt is not told", name)
		}
		if len(d.Event.Fields) != len(c.fields) || len(d.State.History) != MaxHistory {
			t.Errorf("%s: Encode changed the delivery", name)
		}
	}
}

func TestDecodeRefuses(t *testing.T) {
	const good = `{"event_id":"a","event_type":"t","event_time":"2026-01-02T03:04:05Z","event_seq":1,"origin":"e1","attempts":0,"since":"2026-01-02T03:04:05Z"}`
	if _, err := Decode("acme", "crm", nats.Header{Header: {good}}, nil); err != nil {
		t.Fatalf("what the others are made from: %v", err)
	}
	for name, text := range map[string]string{
		"no JSON": "x", "half of it": good[:40], "a list": "[]", "no id": strings.Replace(good, `"a"`, `""`, 1),
		"an id that is none": strings.Replace(good, `"a"`, `"a b"`, 1), "no origin": strings.Replace(good, `"e1"`, `""`, 1),
		"an origin of two tokens": strings.Replace(good, `"e1"`, `"e1.x"`, 1), "fewer than no attempts": strings.Replace(good, `"attempts":0`, `"attempts":-1`, 1),
		"a time that is none": strings.Replace(good, "2026-01-02T03:04:05Z", "yesterday", 1), "a negative sequence": strings.Replace(good, `"event_seq":1`, `"event_seq":-1`, 1),
		"a time that cannot be written": strings.Replace(good, "2026-01-02T03:04:05Z", "9999-12-31T23:59:59-05:00", 1),
	} {
		if _, err := Decode("acme", "crm", nats.Header{Header: {text}}, nil); err == nil || !strings.Contains(err.Error(), Header) {
			t.Errorf("%s: %v, want an error that names the header", name, err)
		}
	}
	for _, header := range []nats.Header{nil, {}, {Header: {""}}, {"Nats-Msg-Id": {"x"}}} {
		if _, err := Decode("acme", "crm", header, nil); !errors.Is(err, ErrNoState) {
			t.Errorf("header %v: %v, want ErrNoState", header, err)
		}
	}
}

// A delivery that is in no trace is stored as it was before there were traces, and
// a trace that jethook does not write is left out, so that the rest can be stored
// again.
func TestTraceInTheState(t *testing.T) {
	const text = `{"event_id":"a","event_type":"b","event_time":"2026-01-02T03:04:05Z","event_seq":7,"origin":"e7","attempts":1,"since":"2026-01-02T03:04:05Z"`
	for _, c := range []struct {
		name, more string
		stays      bool
	}{
		{"none", "", true},
		{"one", `,"trace":{"delivery":"00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01","attempt":"b7ad6b7169203331"}`, true},
		{"before the first attempt", `,"trace":{"delivery":"00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-00"}`, true},
		{"too long a one", `,"trace":{"delivery":"` + strings.Repeat("0", maxTrace+1) + `"}`, false},
		{"too long an attempt", `,"trace":{"delivery":"0","attempt":"` + strings.Repeat("0", 60_000) + `"}`, false},
	} {
		d, err := Decode("acme", "crm", nats.Header{Header: {text + c.more + "}"}}, nil)
		if err != nil {
			t.Fatal(err)
		}
		m, err := d.Encode("subject", testLimit)
		if err != nil {
			t.Fatal(err)
		}
		want := text + "}"
		if c.stays {
			want = text + c.more + "}"
		}
		if got := m.Header.Get(Header); got != want {
			t.Errorf("%s: stored as %.300s, want %s", c.name, got, want)
		}
	}
}

// No header makes Decode panic, and what it accepts can be stored again and is
// the same then.
func FuzzDecode(f *testing.F) {
	for _, d := range []Delivery{testDelivery(), randomDelivery(rand.New(rand.NewPCG(7, 8)))} { //nolint:gosec // a repeatable test
		m, err := d.Encode("subject", testLimit)
		if err != nil {
			f.Fatal(err)
		}
		f.Add(m.Header.Get(Header), "Ce-Source", "/a", []byte("body"))
	}
	f.Add(`{"event_id":"a","origin":"e1"}`, BodyHeader, BodyInEvent, []byte{})
	f.Add(`{"event_id":"a","origin":"e1","trace":{"delivery":"00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01","attempt":"b7ad6b7169203331"}}`, "tracestate", "a=1", []byte{})
	f.Add(`{"event_id":"a","origin":"e1","attempts":99999,"history":[{}],"due":"9999-12-31T23:59:59Z"}`, "ce-", "x", []byte{})
	f.Fuzz(func(t *testing.T, text, name, value string, body []byte) {
		d, err := Decode("acme", "crm", nats.Header{Header: {text}, name: {value}}, body)
		if err != nil {
			return
		}
		if d.BodyInEvent != (name == BodyHeader && value == BodyInEvent) {
			t.Errorf("the body is in the event: %v", d.BodyInEvent)
		}
		first, err := d.Encode("subject", testLimit)
		if err != nil {
			t.Fatal(err)
		}
		again, err := Decode("acme", "crm", first.Header, first.Data)
		if err != nil {
			t.Fatal(err)
		}
		second, err := again.Encode("subject", testLimit)
		if err != nil {
			t.Fatal(err)
		}
		if !reflect.DeepEqual(first, second) {
			t.Errorf("stored as %v, then as %v", first, second)
		}
	})
}
