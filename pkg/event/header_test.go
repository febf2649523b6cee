package event

import (
	"maps"
	"reflect"
	"testing"
)

func TestFields(t *testing.T) {
	for _, c := range []struct {
		name   string
		header map[string][]string
		want   []Field
	}{
		{"none", nil, []Field{}},
		{"names in any case, in order", map[string][]string{"TraceParent": {"t"}, "CE-Source": {"/a"}, "content-TYPE": {"text/plain"}, "tracestate": {"s"}},
			[]Field{{"ce-source", "/a"}, {"content-type", "text/plain"}, {"traceparent", "t"}, {"tracestate", "s"}}},
		{"what means something to NATS or HTTP stays behind", map[string][]string{
			"Nats-Msg-Id": {"a"}, "Nats-Schedule": {"@at x"}, "Nats-TTL": {"1s"}, "Host": {"evil"}, "Content-Length": {"1"},
			"Transfer-Encoding": {"chunked"}, "Webhook-Id": {"x"}, "Webhook-Signature": {"v1,x"}, "Authorization": {"x"},
			"Cookie": {"x"}, "X-Custom": {"x"}, "Jethook-Delivery": {"{}"}, "ce": {"x"}, "cesource": {"x"}}, []Field{}},
		{"what is no attribute stays behind", map[string][]string{"ce-": {"x"}, "ce-a b": {"x"}, "ce-é": {"x"}, "ce-a:b": {"x"}}, []Field{}},
		{"empty ones stay behind", map[string][]string{"ce-source": {""}, "traceparent": {}, "tracestate": nil}, []Field{}},
		{"the first of several values", map[string][]string{"ce-source": {"/a", "/b"}}, []Field{{"ce-source", "/a"}}},
		{"but all of tracestate, which is one list", map[string][]string{"tracestate": {"a=1,b=2", "c=3"}}, []Field{{"tracestate", "a=1,b=2,c=3"}}},
		{"the spelling that NATS heeds", map[string][]string{"CE-SOURCE": {"/1"}, "Ce-Source": {"/2"}, "ce-source": {"/3"}}, []Field{{"ce-source", "/2"}}},
		{"else the first spelling by bytes", map[string][]string{"ce-source": {"/3"}, "CE-source": {"/1"}, "Ce-source": {"/2"}}, []Field{{"ce-source", "/1"}}},
		{"an attribute is percent-encoded where HTTP cannot carry it", map[string][]string{"ce-subject": {"Grüße\n\x00 ~"}},
			[]Field{{"ce-subject", "Gr%C3%BC%C3%9Fe%0A%00 ~"}}},
		{"what is encoded already stays", map[string][]string{"ce-subject": {"a%20b%C3%BC"}}, []Field{{"ce-subject", "a%20b%C3%BC"}}},
		{"other headers are left as they are", map[string][]string{"tracestate": {"é"}}, []Field{{"tracestate", "é"}}},
	} {
		for range 8 { // a map is read in another order each time
			if got := New(testMessage(maps.Clone(c.header))).Fields; !reflect.DeepEqual(got, c.want) {
				t.Errorf("%s: %q, want %q", c.name, got, c.want)
				break
			}
		}
	}
}

func TestContentType(t *testing.T) {
	for _, c := range []struct {
		name   string
		header map[string][]string
		want   string
	}{
		{"none", nil, ""},
		{"the header", map[string][]string{"Content-Type": {"text/plain"}}, "text/plain"},
		{"CloudEvents' attribute", map[string][]string{"ce-datacontenttype": {"text/xml"}, "ce-source": {"/a"}, "traceparent": {"t"}}, "text/xml"},
		{"CloudEvents' in any case", map[string][]string{"Ce-Datacontenttype": {"text/xml"}}, "text/xml"},
		{"the header before the attribute", map[string][]string{"content-type": {"text/plain"}, "ce-datacontenttype": {"text/xml"}}, "text/plain"},
		{"an empty header is none", map[string][]string{"Content-Type": {""}, "ce-datacontenttype": {"text/xml"}}, "text/xml"},
	} {
		e := New(testMessage(c.header))
		if got := e.Field("content-type"); got != c.want {
			t.Errorf("%s: content type %q, want %q", c.name, got, c.want)
		}
		if e.Field("ce-datacontenttype") != "" {
			t.Errorf("%s: the attribute is passed on beside the header that it is", c.name)
		}
	}
}

// The id is the one that NATS dropped duplicates by, whatever else is there.
func TestIDOfSeveralSpellings(t *testing.T) {
	for range 50 {
		e := New(testMessage(map[string][]string{"NATS-MSG-ID": {"1"}, "Nats-Msg-Id": {"2"}, "nats-msg-id": {"3"}, "CE-ID": {"4"}}))
		if e.ID != "2" {
			t.Fatalf("id %q, want 2", e.ID)
		}
	}
}
