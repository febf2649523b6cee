package endpoint

import (
	"fmt"
	"maps"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"

	"github.com/nats-io/nats-server/v2/server"
)

// randomTokens joins 1 to 4 of a few tokens, so that matches are frequent.
func randomTokens(random *rand.Rand, tokens []string) []string {
	list := make([]string, 1+random.IntN(4))
	for i := range list {
		list[i] = tokens[random.IntN(len(tokens))]
	}
	return list
}

func randomPattern(random *rand.Rand) string {
	list := randomTokens(random, []string{"a", "b", "order", "*"})
	if random.IntN(4) == 0 {
		list = append(list, ">")
	}
	return strings.Join(list, ".")
}

// Through inserts, replacements and removals, the index finds exactly those
// that the NATS server's own matching of one pattern finds, each once.
func TestMatchIsWhatNATSMatches(t *testing.T) {
	random := rand.New(rand.NewPCG(1, 2))
	r := &Registry{byKey: make(map[string]*Endpoint), index: newIndex()}
	documents := make(map[string]Document)
	for step := range 5000 {
		d := testDocument()
		d.Tenant, d.ID = fmt.Sprintf("t%d", random.IntN(3)), fmt.Sprintf("e%d", random.IntN(20))
		key := documentKey(d.Tenant, d.ID)
		if random.IntN(4) == 0 {
			r.replace(key, nil)
			delete(documents, key)
		} else {
			d.Events = many(1+random.IntN(5), func(int) string { return randomPattern(random) })
			slices.Sort(d.Events)
			d.Events = slices.Compact(d.Events) // a valid document has no pattern twice
			e, err := Compile(d)
			if err != nil {
				t.Fatal(err)
			}
			r.replace(key, e)
			documents[key] = d
		}
		tenant := fmt.Sprintf("t%d", random.IntN(3))
		eventType := strings.Join(randomTokens(random, []string{"a", "b", "order", "other"}), ".")
		var got []string
		for _, e := range r.index.match(tenant, eventType) {
			got = append(got, e.Name())
		}
		if want := naiveMatch(documents, tenant, eventType); !slices.Equal(got, want) {
			t.Fatalf("step %d: %s.%s matches %v, want %v", step, tenant, eventType, got, want)
		}
	}
	for key := range maps.Clone(documents) {
		r.replace(key, nil)
	}
	if n := r.index.list.Count(); n != 0 {
		t.Errorf("%d patterns are left in the index of no endpoints", n)
	}
}

func naiveMatch(documents map[string]Document, tenant, eventType string) []string {
	var names []string
	for _, d := range documents {
		if d.Tenant == tenant && slices.ContainsFunc(d.Events, func(pattern string) bool {
			return server.SubjectMatchesFilter(eventType, pattern)
		}) {
			names = append(names, d.Name())
		}
	}
	slices.Sort(names)
	return names
}

func TestMatchOfOddSubjects(t *testing.T) {
	r := &Registry{byKey: make(map[string]*Endpoint), index: newIndex()}
	d := testDocument()
	d.Events = []string{">"}
	e, err := Compile(d)
	if err != nil {
		t.Fatal(err)
	}
	r.replace("acme.crm", e)
	for _, eventType := range []string{"", ".", "a.", ".a", "a..b"} {
		if found := r.index.match("acme", eventType); len(found) != 0 {
			t.Errorf("%q matches", eventType)
		}
	}
	for _, tenant := range []string{"", "*", ">", "acm", "acme.x"} {
		if found := r.index.match(tenant, "a"); len(found) != 0 && tenant != "acme.x" {
			t.Errorf("tenant %q matches", tenant)
		}
	}
}
