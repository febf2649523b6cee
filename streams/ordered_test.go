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

func TestParseOrdered(t *testing.T) {
	if tenant, endpoint, ok := ParseOrdered(OrderedOf("acme", "crm_1")); !ok || tenant != "acme" || endpoint != "crm_1" {
		t.Errorf("%s/%s, %v", tenant, endpoint, ok)
	}
	for _, durable := range []string{"", Fanout, "ordered", "ordered~acme", FeedOf("acme", "crm"), "ordered~~crm", "ordered~a~b~c"} {
		if _, _, ok := ParseOrdered(durable); ok {
			t.Errorf("%q is taken for an ordered endpoint's", durable)
		}
	}
}
