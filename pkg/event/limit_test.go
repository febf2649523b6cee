package event

import (
	"fmt"
	"reflect"
	"strings"
	"testing"

	"github.com/nats-io/nats.go"
)

// many returns headers ce-a000 and so on with values of a size.
func many(n, size int) map[string][]string {
	header := make(map[string][]string, n)
	for i := range n {
		header[fmt.Sprintf("ce-a%03d", i)] = []string{strings.Repeat("v", size)}
	}
	return header
}

func with(header map[string][]string, name, value string) map[string][]string {
	header[name] = []string{value}
	return header
}

// At each limit an event can be sent as it is; one beyond, it says which header
// broke which limit, and keeps its id and the headers that break none.
func TestLimits(t *testing.T) {
	name := func(n int) string { return "ce-" + strings.Repeat("n", n-3) }
	for _, c := range []struct {
		name    string
		header  map[string][]string
		kept    int
		problem string // "": none; else words of it
	}{
		{"as many as may be", many(maxFields, 1), maxFields, ""},
		{"one more", many(maxFields+1, 1), maxFields, "65 headers|64"},
		{"one more by the attribute that is the content type", with(many(maxFields, 1), "ce-datacontenttype", "text/xml"), maxFields, "65 headers|64"},
		{"many of others", with(many(1, 1), "X-"+strings.Repeat("x", 9000), strings.Repeat("y", 9000)), 1, ""},
		{"a name as long as may be", map[string][]string{name(maxName): {"v"}}, 1, ""},
		{"a longer one", with(many(1, 1), name(maxName+1), "v"), 1, "ce-nnn|257 bytes|256"},
		{"a value as long as may be", many(1, maxValue), 1, ""},
		{"a longer one", with(many(1, 1), "Ce-Long", strings.Repeat("v", maxValue+1)), 1, "ce-long|4097 bytes|4 KiB"},
		{"one that is longer as it is sent", map[string][]string{"ce-long": {strings.Repeat("é", maxValue/6+1)}}, 0, "ce-long|4098 bytes|4 KiB"},
		{"no attribute, but long", map[string][]string{"traceparent": {strings.Repeat("v", maxValue+1)}}, 0, "traceparent|4097 bytes"},
		{"as much as may be", many(16, maxTotal/16-len("ce-a000")), 16, ""},
		{"a byte more", with(many(16, maxTotal/16-len("ce-a000")), "ce-a015", strings.Repeat("v", maxTotal/16-len("ce-a015")+1)), 15, "ce-a015|16 KiB"},
		{"very many", with(many(999, 1), "traceparent", "t"), 1, "1000 headers|64"},
	} {
		first := New(testMessage(with(c.header, "Nats-Msg-Id", "evt_1")))
		if len(first.Fields) != c.kept || first.ID != "evt_1" {
			t.Errorf("%s: %d headers of event %s are kept, want %d", c.name, len(first.Fields), first.ID, c.kept)
		}
		if (first.Problem != "") != (c.problem != "") {
			t.Errorf("%s: problem %q", c.name, first.Problem)
		}
		for word := range strings.SplitSeq(c.problem, "|") {
			if !strings.Contains(first.Problem, word) {
				t.Errorf("%s: problem %q, want it to say %s", c.name, first.Problem, word)
			}
		}
		if len(first.Problem) > 150 || strings.Contains(first.Problem, "vvv") {
			t.Errorf("%s: the problem is too long, or tells a value: %s", c.name, first.Problem)
		}
		for range 4 { // maps are read in another order each time
			if again := New(testMessage(c.header)); !reflect.DeepEqual(again, first) {
				t.Fatalf("%s: %+v, then %+v", c.name, first, again)
			}
		}
	}
}

// crowd returns as many headers as NATS stores, as it parses them.
func crowd(tb testing.TB) (text []byte, header nats.Header) {
	tb.Helper()
	var b strings.Builder
	b.WriteString("NATS/1.0\r\n")
	for i := 0; b.Len() < 64<<10; i++ {
		fmt.Fprintf(&b, "ce-%x: v\r\n", i)
	}
	b.WriteString("\r\n")
	header, err := nats.DecodeHeadersMsg([]byte(b.String()))
	if err != nil {
		tb.Fatal(err)
	}
	return []byte(b.String()), header
}

// A message with as many headers as NATS stores is neither put in order nor
// kept.
func TestVeryManyHeadersAreCheap(t *testing.T) {
	_, header := crowd(t)
	var e Event
	allocations := testing.AllocsPerRun(5, func() { e = New(Message{Header: header}) })
	if len(header) < 5000 || e.Problem == "" || len(e.Fields) != 0 {
		t.Errorf("%d headers: %d are kept, problem %q", len(header), len(e.Fields), e.Problem)
	}
	if allocations > 20 {
		t.Errorf("%v allocations", allocations)
	}
}

// BenchmarkVeryManyHeaders compares what it costs to parse them, which NATS's
// client does, with what it costs to see that they are too many.
func BenchmarkVeryManyHeaders(b *testing.B) {
	text, header := crowd(b)
	b.Run("parse", func(b *testing.B) {
		for b.Loop() {
			_, err := nats.DecodeHeadersMsg(text)
			if err != nil {
				b.Fatal(err)
			}
		}
	})
	b.Run("read", func(b *testing.B) {
		for b.Loop() {
			New(Message{Header: header})
		}
	})
}

func BenchmarkNew(b *testing.B) {
	header := nats.Header{"Nats-Msg-Id": {"evt_1"}, "Content-Type": {"application/json"}, "traceparent": {"00-1-2-01"}, "ce-source": {"/a"}}
	b.ReportAllocs()
	for b.Loop() {
		New(Message{Header: header})
	}
}
