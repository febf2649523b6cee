package endpoint

import (
	"fmt"
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
	list := randomTokens(random, []string{"a", "b", "order", "jethook", "*"})
	if random.IntN(4) == 0 {
		list = append(list, ">")
	}
	return strings.Join(list, ".")
}

// Through inserts, replacements and removals, the index finds exactly those
// that the NATS server's own matching of one pattern finds, each once.
func TestMatchIsWhatNATSMatches(t *testing.T) {
	random := rand.New(rand.NewPCG(1, 2))
	r := &Registry{byName: make(map[string]*Endpoint), index: make(index)}
	documents := make(map[string]Document)
	endpoints := []int{3, 11, 40} // of a tenant: few patterns, now few and now many, many
	forms := make(map[bool]int)
	for step := range 8000 {
		if step%1000 == 999 { // begin anew, with few
			for name := range documents {
				r.replace(name, nil)
			}
			clear(documents)
		}
		d := testDocument()
		n := random.IntN(len(endpoints))
		d.Tenant, d.ID = fmt.Sprintf("t%d", n), fmt.Sprintf("e%d", random.IntN(endpoints[n]))
		key := d.Name()
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
		tenant := fmt.Sprintf("t%d", random.IntN(len(endpoints)+1))
		forms[r.index[tenant].many != nil]++
		eventType := strings.Join(randomTokens(random, []string{"a", "b", "order", "other", "jethook"}), ".")
		var got []string
		for _, e := range r.index.match(tenant, eventType) {
			got = append(got, e.Name())
		}
		if want := naiveMatch(documents, tenant, eventType); !slices.Equal(got, want) {
			t.Fatalf("step %d: %s.%s matches %v, want %v", step, tenant, eventType, got, want)
		}
	}
	if forms[false] < 1000 || forms[true] < 1000 {
		t.Errorf("looked %v times in the index's two forms, want more", forms)
	}
	for name := range documents {
		r.replace(name, nil)
	}
	if len(r.index) != 0 {
		t.Errorf("%d tenants are left in the index of no endpoints", len(r.index))
	}
}

func naiveMatch(documents map[string]Document, tenant, eventType string) []string {
	var names []string
	for _, d := range documents {
		if d.Tenant == tenant && slices.ContainsFunc(d.Events, func(pattern string) bool {
			first := func(subject string) string { token, _, _ := strings.Cut(subject, "."); return token }
			return server.SubjectMatchesFilter(eventType, pattern) && (first(eventType) != "jethook" || first(pattern) == "jethook")
		}) {
			names = append(names, d.Name())
		}
	}
	slices.Sort(names)
	return names
}

func TestMatchOfOddSubjects(t *testing.T) {
	r := &Registry{byName: make(map[string]*Endpoint), index: make(index)}
	d := testDocument()
	d.Events = []string{">"}
	e, err := Compile(d)
	if err != nil {
		t.Fatal(err)
	}
	r.replace("acme/crm", e)
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

// Byte for byte what the NATS server says, for subjects that can be published.
func TestMatches(t *testing.T) {
	tokens := []string{"", "a", "ab", "b", "*", ">"}
	for _, pattern := range joined(tokens) {
		if CheckPattern(pattern) != nil {
			continue
		}
		for _, subject := range joined(tokens[:4]) {
			want := server.IsValidLiteralSubject(subject) && server.SubjectMatchesFilter(subject, pattern)
			if got := matches(pattern, subject); got != want {
				t.Errorf("%q matches %q: %v, want %v", pattern, subject, got, want)
			}
		}
	}
}

// joined returns every way to join one to three of the tokens.
func joined(tokens []string) []string {
	all := slices.Clone(tokens)
	for _, a := range tokens {
		for _, b := range tokens {
			all = append(all, a+"."+b)
			for _, c := range tokens {
				all = append(all, a+"."+b+"."+c)
			}
		}
	}
	return all
}
