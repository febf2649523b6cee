package streams

import (
	"maps"
	"slices"
	"strings"
	"testing"
)

func TestOrderedFilters(t *testing.T) {
	many := make([]string, mostFilters+1)
	for i := range many {
		many[i] = strings.Repeat("x", i+1)
	}
	for _, c := range []struct{ patterns, want []string }{
		{[]string{">"}, []string{">"}},
		{[]string{"b", "a", "b"}, []string{"a", "b"}},
		{[]string{"a.*", "a.b", "c.>", "c.d.*"}, []string{"a.*", "c.>"}},
		{[]string{"a.*.x", "a.b.*"}, []string{">"}},
		{[]string{"*.x", "a.>"}, []string{">"}},
		{[]string{"*.x", "a.>", ">"}, []string{">"}},
		{many[1:], slices.Sorted(slices.Values(many[1:]))},
		{many, []string{">"}},
	} {
		if got := orderedFilters(c.patterns); !slices.Equal(got, c.want) {
			t.Errorf("filters for %q are %q, want %q", c.patterns, got, c.want)
		}
	}
}

func TestOrderedWants(t *testing.T) {
	names, err := NewNames("hooks")
	if err != nil {
		t.Fatal(err)
	}
	c := Ordered(names, "acme", "crm", []string{"a.*.x", "a.b.*", "c"}, 7)
	if got := c.Config.FilterSubjects; !slices.Equal(got, []string{"hooks.events.acme.>"}) || c.Stream != "HOOKS_EVENTS" || c.Config.OptStartSeq != 7 {
		t.Errorf("filters %q of %s from %d", got, c.Stream, c.Config.OptStartSeq)
	}
	for eventType, want := range map[string]bool{"a.b.x": true, "a.q.x": true, "a.b.q": true, "c": true, "a": false, "a.q.q": false, "c.d": false, "a.b.x.y": false} {
		if got := OrderedWants(c.Config, eventType); got != want {
			t.Errorf("wants %s: %v, want %v", eventType, got, want)
		}
	}
}

func TestReviseAndEndOrdered(t *testing.T) {
	names, err := NewNames("")
	if err != nil {
		t.Fatal(err)
	}
	have := Ordered(names, "acme", "crm", []string{"a"}, 7).Config
	have.Metadata = maps.Clone(have.Metadata)
	have.Metadata["_nats.level"] = "1"
	if _, changed := ReviseOrdered(have, Ordered(names, "acme", "crm", []string{"a"}, 9)); changed {
		t.Error("the same patterns change something")
	}
	next, changed := ReviseOrdered(have, Ordered(names, "acme", "crm", []string{"a", "b"}, 9))
	if !changed || next.OptStartSeq != 7 || !slices.Equal(next.FilterSubjects, []string{"webhooks.events.acme.a", "webhooks.events.acme.b"}) || !OrderedWants(next, "b") || OrderedWants(have, "b") {
		t.Errorf("revised %v: %+v", changed, next)
	}
	more := have
	more.MaxAckPending = 2
	if next, changed := ReviseOrdered(more, Ordered(names, "acme", "crm", []string{"a"}, 9)); !changed || next.MaxAckPending != 1 {
		t.Error("a consumer that hands out two at a time stays")
	}
	if _, ends := OrderedEnd(next); ends {
		t.Error("a consumer in force ends")
	}
	ended := EndOrdered(next, 42)
	if until, ends := OrderedEnd(ended); !ends || until != 42 || !OrderedWants(ended, "b") {
		t.Errorf("ends %v with %d", ends, until)
	}
	if _, found := ended.Metadata["_nats.level"]; found {
		t.Error("the server is told what is its own to say")
	}
}

// A consumer does not hand out what one before it had, as far as the two are for
// the same events.
func TestAfterOrdered(t *testing.T) {
	names, err := NewNames("")
	if err != nil {
		t.Fatal(err)
	}
	before := Ordered(names, "acme", "crm", []string{"a", "b.*"}, 7).Config
	after := Ordered(names, "acme", "crm", []string{">"}, 20).Config
	if OrderedHad(after, 21, "a") {
		t.Error("nobody had it")
	}
	after = AfterOrdered(EndOrdered(after, 90), before, 25)
	for _, c := range []struct {
		seq       uint64
		eventType string
		had       bool
	}{{24, "a", true}, {25, "b.c", true}, {25, "c", false}, {26, "a", false}} {
		if got := OrderedHad(after, c.seq, c.eventType); got != c.had {
			t.Errorf("had %d %s: %v", c.seq, c.eventType, got)
		}
	}
	if until, ends := OrderedEnd(after); !ends || until != 90 || OrderedFrom(after) != 20 || !OrderedWants(after, "c") {
		t.Errorf("what it said of itself is lost: %v", after.Metadata)
	}
	after.OptStartSeq = 30 // made again
	if from := OrderedFrom(after); from != 20 {
		t.Errorf("it is from %d", from)
	}
	after.Metadata = nil // of an earlier version
	if from := OrderedFrom(after); from != 30 {
		t.Errorf("without saying so it is from %d", from)
	}
}

func TestOrderedSince(t *testing.T) {
	names := map[string]bool{}
	for _, patterns := range [][]string{{"a"}, {"a", "b"}, {"b", "a"}, {"a.*"}} {
		for _, since := range []uint64{1, 12, 1 << 63} {
			name := OrderedSince("acme", "crm", patterns, since)
			if again := OrderedSince("acme", "crm", patterns, since); again != name || names[name] {
				t.Errorf("%s, then %s, of others %v", name, again, names)
			}
			names[name] = true
		}
	}
	if name := OrderedSince("acme", "crm", []string{"a"}, 0); name != OrderedOf("acme", "crm") {
		t.Errorf("of before it was written down: %s", name)
	}
}

func TestParseOrdered(t *testing.T) {
	for _, durable := range []string{OrderedOf("acme", "crm_1"), OrderedSince("acme", "crm_1", []string{"a", "b.>"}, 42)} {
		if tenant, endpoint, ok := ParseOrdered(durable); !ok || tenant != "acme" || endpoint != "crm_1" {
			t.Errorf("%s: %s/%s, %v", durable, tenant, endpoint, ok)
		}
	}
	for _, durable := range []string{"", Fanout, "ordered", "ordered~acme", FeedOf("acme", "crm"), "ordered~~crm", "ordered~a~b~c", "ordered~a~b~", "ordered~a~b~1-", "ordered~a~b~x-01234567", OrderedSince("a", "b", nil, 1) + "~"} {
		if _, _, ok := ParseOrdered(durable); ok {
			t.Errorf("%q is taken for an ordered endpoint's", durable)
		}
	}
}
