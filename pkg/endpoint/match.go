package endpoint

import (
	"cmp"
	"slices"
	"strings"

	"github.com/nats-io/nats-server/v2/server/gsl"

	"jethook/streams"
)

// fewPatterns is up to how many patterns of a tenant are looked through one by one:
// quicker than a map and a tree for them, and without the kilobyte that those take.
const fewPatterns = 32

// index finds endpoints by tenant and type. A pattern means here what it means in
// the NATS server. The index is not safe for concurrent changes; the registry's lock
// guards it.
type index map[string]tenantIndex

// tenantIndex has a tenant's patterns in one of two forms.
type tenantIndex struct {
	few  []wanted // by the endpoints' names
	many *manyPatterns
}

// manyPatterns are those of a tenant that are looked up.
type manyPatterns struct {
	literal  map[string][]*Endpoint
	wildcard *gsl.GenericSublist[*Endpoint] // the server's own
}

func newManyPatterns() *manyPatterns {
	return &manyPatterns{make(map[string][]*Endpoint), gsl.NewSublist[*Endpoint]()}
}

func (p *manyPatterns) insert(pattern string, e *Endpoint) error {
	if strings.ContainsAny(pattern, "*>") {
		return p.wildcard.Insert(pattern, e)
	}
	p.literal[pattern] = append(p.literal[pattern], e)
	return nil
}

// remove takes longer the more endpoints have the same literal pattern: 50 µs with
// 100,000 of one tenant, for which an operator has to raise the bound.
func (p *manyPatterns) remove(pattern string, e *Endpoint) {
	if strings.ContainsAny(pattern, "*>") {
		// An error says that it is not there, as where a pattern stands twice.
		_ = p.wildcard.Remove(pattern, e)
		return
	}
	rest := slices.DeleteFunc(p.literal[pattern], func(other *Endpoint) bool { return other == e })
	if p.literal[pattern] = rest; len(rest) == 0 {
		delete(p.literal, pattern)
	}
}

func (p *manyPatterns) empty() bool { return len(p.literal) == 0 && p.wildcard.Count() == 0 }

// match returns the endpoints of all patterns that match, some more than once.
func (p *manyPatterns) match(eventType string) []*Endpoint {
	found := slices.Clone(p.literal[eventType])
	p.wildcard.Match(eventType, func(e *Endpoint) { found = append(found, e) })
	return found
}

// wanted is a pattern and the endpoint that wants what it matches.
type wanted struct {
	pattern  string
	endpoint *Endpoint
}

func (x index) insert(e *Endpoint) error {
	t := x[e.Tenant]
	if t.many == nil && len(t.few)+len(e.Events) <= fewPatterns {
		behind := slices.IndexFunc(t.few, func(w wanted) bool { return w.endpoint.name > e.name })
		if behind < 0 {
			behind = len(t.few)
		}
		few := make([]wanted, 0, len(t.few)+len(e.Events)) // no more than it takes
		few = append(few, t.few[:behind]...)
		for _, pattern := range e.Events {
			few = append(few, wanted{pattern, e})
		}
		few = append(few, t.few[behind:]...)
		patterns := make([]*string, len(few))
		for i := range few {
			patterns[i] = &few[i].pattern
		}
		adjoin(patterns) // those that lie anywhere take ten times as long to look through
		x[e.Tenant] = tenantIndex{few: few}
		return nil
	}
	if t.many == nil {
		t.many = newManyPatterns()
		for _, w := range t.few {
			if err := t.many.insert(w.pattern, w.endpoint); err != nil {
				return err
			}
		}
	}
	x[e.Tenant] = tenantIndex{many: t.many}
	for _, pattern := range e.Events {
		if err := t.many.insert(pattern, e); err != nil {
			x.remove(e)
			return err
		}
	}
	return nil
}

func (x index) remove(e *Endpoint) {
	t := x[e.Tenant]
	if t.many != nil {
		for _, pattern := range e.Events {
			t.many.remove(pattern, e)
		}
		if !t.many.empty() {
			return
		}
	}
	t.few = slices.DeleteFunc(t.few, func(w wanted) bool { return w.endpoint == e })
	if len(t.few) > 0 {
		x[e.Tenant] = tenantIndex{few: t.few}
		return
	}
	delete(x, e.Tenant)
}

// match returns each endpoint once, by name, however many of its patterns match.
// There is no cache: with 100,000 endpoints it takes 0.1 µs for a tenant with one of
// them, and 0.6 µs for one with ten that all match.
func (x index) match(tenant, eventType string) []*Endpoint {
	var found []*Endpoint
	t := x[tenant]
	own := streams.IsOwn(eventType)
	for _, w := range t.few {
		if own && !streams.IsOwn(w.pattern) {
			continue
		}
		if matches(w.pattern, eventType) && (len(found) == 0 || found[len(found)-1] != w.endpoint) {
			found = append(found, w.endpoint)
		}
	}
	if t.many == nil {
		return found
	}
	found = t.many.match(eventType)
	if own { // the tree knows no patterns, and a wildcard is not enough
		found = slices.DeleteFunc(found, func(e *Endpoint) bool { return !e.Wants(eventType) })
	}
	slices.SortFunc(found, func(a, b *Endpoint) int { return cmp.Compare(a.name, b.name) })
	return slices.Compact(found)
}

// Wants reports whether a pattern of the document asks for events of a type. For
// jethook's own it takes one that begins with their first token.
func (d *Document) Wants(eventType string) bool {
	return slices.ContainsFunc(d.Events, func(pattern string) bool { return streams.Wants(pattern, eventType) })
}

// matches says whether a valid pattern matches a subject, as it does in the NATS
// server: a subject with an empty token matches nothing.
func matches(pattern, subject string) bool {
	at := 0 // in the subject
	for i := 0; i < len(pattern); i++ {
		switch pattern[i] {
		case '>':
			rest := subject[at:]
			return rest != "" && rest[0] != '.' && !strings.HasSuffix(rest, ".") && !strings.Contains(rest, "..")
		case '*':
			begin := at
			for at < len(subject) && subject[at] != '.' {
				at++
			}
			if at == begin {
				return false
			}
		default: // the full stops between tokens too
			if at == len(subject) || subject[at] != pattern[i] {
				return false
			}
			at++
		}
	}
	return at == len(subject)
}
