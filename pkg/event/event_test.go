package event

import (
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"maps"
	"reflect"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"
)

var usableID = regexp.MustCompile(`^[A-Za-z0-9_-]{1,64}$`)

func testMessage(header map[string][]string) Message {
	return Message{Tenant: "acme", Type: "order.created", Header: header, Body: []byte("body"), Seq: 42,
		Time: time.Date(2026, 1, 2, 3, 4, 5, 678, time.UTC)}
}

func hashed(id string) string {
	sum := sha256.Sum256([]byte(id))
	return "evt_" + hex.EncodeToString(sum[:16])
}

func TestNewKeepsTheMessage(t *testing.T) {
	m := testMessage(nil)
	e := New(m)
	if e.Tenant != m.Tenant || e.Type != m.Type || string(e.Body) != "body" || e.Seq != 42 || !e.Time.Equal(m.Time) || len(e.Fields) != 0 {
		t.Errorf("New gives %+v", e)
	}
}

func TestID(t *testing.T) {
	made := New(testMessage(nil)).ID
	if !usableID.MatchString(made) || !strings.HasPrefix(made, "evt_") {
		t.Errorf("the made id is %q", made)
	}
	for _, c := range []struct {
		name   string
		header map[string][]string
		want   string
	}{
		{"the message's id", map[string][]string{"Nats-Msg-Id": {"order_1-A"}}, "order_1-A"},
		{"in any case", map[string][]string{"nats-MSG-id": {"a"}}, "a"},
		{"before CloudEvents'", map[string][]string{"Nats-Msg-Id": {"a"}, "ce-id": {"b"}}, "a"},
		{"CloudEvents'", map[string][]string{"ce-id": {"b"}}, "b"},
		{"CloudEvents' in any case", map[string][]string{"Ce-Id": {"b"}}, "b"},
		{"an empty one is none", map[string][]string{"Nats-Msg-Id": {""}, "ce-id": {"b"}}, "b"},
		{"no value is none", map[string][]string{"Nats-Msg-Id": {}, "ce-id": nil}, made},
		{"the first of several", map[string][]string{"Nats-Msg-Id": {"a", "b"}}, "a"},
		{"as long as may be", map[string][]string{"Nats-Msg-Id": {strings.Repeat("a", 64)}}, strings.Repeat("a", 64)},
		{"longer", map[string][]string{"Nats-Msg-Id": {strings.Repeat("a", 65)}}, hashed(strings.Repeat("a", 65))},
		{"with a full stop", map[string][]string{"Nats-Msg-Id": {"a.b"}}, hashed("a.b")},
		{"with a space", map[string][]string{"Nats-Msg-Id": {"a b"}}, hashed("a b")},
		{"with a wildcard", map[string][]string{"Nats-Msg-Id": {"*"}}, hashed("*")},
		{"not ASCII", map[string][]string{"ce-id": {"é"}}, hashed("é")},
		{"not text", map[string][]string{"ce-id": {"\xff\x00"}}, hashed("\xff\x00")},
	} {
		if got := New(testMessage(c.header)).ID; got != c.want || !usableID.MatchString(got) {
			t.Errorf("%s: id %q, want %q", c.name, got, c.want)
		}
	}
}

// Whoever looks for an event knows it by the id that it was published with, or by
// the one that its receivers got.
func TestIDOf(t *testing.T) {
	for _, published := range []string{"order_1-A", "order:42/1", "a b", strings.Repeat("a", 65), "\xff\x00"} {
		got := New(testMessage(map[string][]string{"Nats-Msg-Id": {published}})).ID
		if IDOf(published) != got || IDOf(got) != got {
			t.Errorf("the event published as %q has the id %s; IDOf gives %s, and %s of that", published, got, IDOf(published), IDOf(got))
		}
	}
}

// Without an id, two messages never share one, and one message has one only.
func TestMadeIDsAreUniqueAndStable(t *testing.T) {
	seen := map[string]Message{}
	for seq := range uint64(50) {
		for nano := range 50 {
			m := testMessage(nil)
			m.Seq, m.Time = seq, m.Time.Add(time.Duration(nano))
			id := New(m).ID
			if other, found := seen[id]; found {
				t.Fatalf("%+v and %+v share id %s", m, other, id)
			}
			seen[id] = m
			m.Time = m.Time.In(time.FixedZone("elsewhere", 3600)) // the same moment
			if again := New(m).ID; again != id {
				t.Fatalf("id %s, then %s", id, again)
			}
		}
	}
	for _, at := range []time.Time{{}, time.Unix(-1, 0), time.Date(2200, 1, 1, 0, 0, 0, 0, time.UTC)} {
		if id := New(Message{Time: at, Seq: 1<<64 - 1}).ID; !usableID.MatchString(id) {
			t.Errorf("the id of a message stored at %s is %q", at, id)
		}
	}
}

func TestCheckID(t *testing.T) {
	for c := range 256 {
		for _, s := range []string{string([]byte{byte(c)}), string([]byte{'x', byte(c), 'y'})} {
			if got, want := CheckID(s) == nil, usableID.MatchString(s); got != want {
				t.Errorf("CheckID(%q) accepts: %v, want %v", s, got, want)
			}
		}
	}
	for _, s := range []string{"", strings.Repeat("a", 65)} {
		if err := CheckID(s); err == nil || !strings.Contains(err.Error(), "1 to 64") {
			t.Errorf("CheckID(%q) = %v, want what is allowed", s, err)
		}
	}
}

// Whatever a producer sends, the event has a usable id, headers that are in
// order, each once, and of the few that are passed on; and it is the same event
// the next time.
func FuzzEvent(f *testing.F) {
	f.Add("Nats-Msg-Id", "a", "nats-msg-id", "b", "Ce-Source", "/é")
	f.Add("ce-id", "\xff", "CE-ID", "x", "Content-Type", "text/plain")
	f.Add("ce-datacontenttype", "text/xml", "ce-", "x", "ce-a b", "y")
	f.Add("traceparent", "00-1-2-01", "Host", "evil", "Nats-Schedule", "@at 2026")
	f.Fuzz(func(t *testing.T, name1, value1, name2, value2, name3, value3 string) {
		header := map[string][]string{name1: {value1}, name2: {value2}, name3: {value3}}
		e := New(testMessage(header))
		if !usableID.MatchString(e.ID) {
			t.Errorf("id %q", e.ID)
		}
		for i, f := range e.Fields {
			if i > 0 && e.Fields[i-1].Name >= f.Name {
				t.Errorf("fields are not in order: %q", e.Fields)
			}
			if !isPassed(f.Name) {
				t.Errorf("header %q is passed on", f.Name)
			}
			if strings.HasPrefix(f.Name, "ce-") && strings.ContainsFunc(f.Value, func(r rune) bool { return r < ' ' || r > '~' }) {
				t.Errorf("header %s cannot carry %q", f.Name, f.Value)
			}
		}
		if got, problem := within(slices.Clone(e.Fields), 0); problem != "" || len(got) != len(e.Fields) {
			t.Errorf("fields over a limit: %s", problem)
		}
		for range 4 { // maps are read in another order each time
			if other := New(testMessage(maps.Clone(header))); !reflect.DeepEqual(other, e) {
				t.Fatalf("%v, then %v", e, other)
			}
		}
		stored := map[string][]string{}
		for _, f := range e.Fields {
			stored[f.Name] = []string{f.Value}
		}
		if got := Fields(stored); fmt.Sprint(got) != fmt.Sprint(e.Fields) {
			t.Errorf("stored beside a delivery, %q becomes %q", e.Fields, got)
		}
	})
}
