package endpoint

import (
	"fmt"
	"slices"
	"strings"

	"github.com/goccy/go-yaml/ast"
	"github.com/goccy/go-yaml/token"

	"jethook/pkg/retry"
)

// section is one endpoint of a file. It remembers where each field stands, so
// that what validation finds can be shown at its place.
type section struct {
	*reader
	path string
	at   map[string]*token.Position // by path within the document
	bad  []string                   // fields that could not be read
}

// endpointFields and the two below are the fields in the order of the manual.
var (
	endpointFields = []string{
		"tenant", "id", "url", "events", "description", "secrets", "signing", "timeout", "retry", "retry_on",
		"expire_after", "rate_limit", "max_in_flight", "headers", "lane", "ordered", "paused", "disabled",
	}
	retryFields     = []string{"base", "factor", "max_delay", "max_attempts", "jitter", "schedule"}
	rateLimitFields = []string{"per_second", "burst"}
)

// read fills a document's defaults with what the node says. A field without a
// value is a field that is absent, in YAML as in JSON.
func (s *section) read(node ast.Node) (wire, bool) {
	w := newWire()
	w.Retry = nil
	if _, ok := s.resolve(node).(ast.MapNode); !ok {
		s.report(position(node), s.path, "must be an endpoint, a mapping of fields to values, not "+kind(s.resolve(node)))
		return w, false
	}
	s.fields(node, "", endpointFields, func(name string, value ast.Node) { s.readField(&w, name, value) })
	return w, true
}

func (s *section) readField(w *wire, name string, value ast.Node) {
	switch name {
	case "tenant":
		scalar(s, name, value, &w.Tenant, text)
	case "id":
		scalar(s, name, value, &w.ID, text)
	case "url":
		scalar(s, name, value, &w.URL, text)
	case "events":
		list(s, name, value, &w.Events, text)
	case "description":
		scalar(s, name, value, &w.Description, text)
	case "secrets":
		list(s, name, value, &w.Secrets, text)
	case "signing":
		scalar(s, name, value, (*string)(&w.Signing), text)
	case "timeout":
		scalar(s, name, value, &w.Timeout, duration)
	case "retry":
		s.readRetry(w, value)
	case "retry_on":
		list(s, name, value, &w.RetryOn, integer)
	case "expire_after":
		scalar(s, name, value, &w.ExpireAfter, duration)
	case "rate_limit":
		s.readRateLimit(w, value)
	case "max_in_flight":
		scalar(s, name, value, &w.MaxInFlight, integer)
	case "headers":
		s.readHeaders(w, value)
	case "lane":
		scalar(s, name, value, &w.Lane, text)
	case "ordered":
		scalar(s, name, value, &w.Ordered, boolean)
	case "paused":
		scalar(s, name, value, &w.Paused, boolean)
	case "disabled":
		s.refuse(name, "is set by jethook itself: leave it out, and use `jethook endpoint enable` to enable the endpoint again")
	}
}

func (s *section) readRetry(w *wire, node ast.Node) {
	w.Retry = &wireRetry{}
	s.fields(node, "retry", retryFields, func(name string, value ast.Node) {
		field := "retry." + name
		switch name {
		case "base":
			w.Retry.Base = new(Duration)
			scalar(s, field, value, w.Retry.Base, duration)
		case "factor":
			w.Retry.Factor = new(float64)
			scalar(s, field, value, w.Retry.Factor, number)
		case "max_delay":
			w.Retry.MaxDelay = new(Duration)
			scalar(s, field, value, w.Retry.MaxDelay, duration)
		case "max_attempts":
			w.Retry.MaxAttempts = new(int)
			scalar(s, field, value, w.Retry.MaxAttempts, integer)
		case "jitter":
			scalar(s, field, value, (*string)(&w.Retry.Jitter), text)
		case "schedule":
			list(s, field, value, &w.Retry.Schedule, duration)
		}
	})
	// A policy is judged as a whole: with one field missing, what is said
	// about the others could be wrong.
	if s.unreadable("retry") {
		w.Retry = toWireRetry(retry.Default())
	}
}

func (s *section) readRateLimit(w *wire, node ast.Node) {
	w.RateLimit = &RateLimit{}
	s.fields(node, "rate_limit", rateLimitFields, func(name string, value ast.Node) {
		switch name {
		case "per_second":
			scalar(s, "rate_limit.per_second", value, &w.RateLimit.PerSecond, number)
		case "burst":
			scalar(s, "rate_limit.burst", value, &w.RateLimit.Burst, integer)
		}
	})
}

func (s *section) readHeaders(w *wire, node ast.Node) {
	w.Headers = make(map[string]string)
	s.eachKey(node, s.path+".headers", func(name string, at *token.Position, value ast.Node) {
		s.at[headerField(name)] = at
		var header string
		scalar(s, headerField(name), value, &header, text)
		w.Headers[name] = header
	})
}

// fields reads the known fields of a mapping that have a value.
func (s *section) fields(node ast.Node, prefix string, known []string, read func(name string, value ast.Node)) {
	path := s.path
	if prefix != "" {
		path = join(path, prefix)
	}
	before := len(s.problems)
	s.eachField(node, path, known, func(name string, value ast.Node) {
		if isNull(s.resolve(value)) {
			return
		}
		s.at[join(prefix, name)] = position(value)
		read(name, value)
	})
	if prefix != "" && len(s.problems) > before {
		s.bad = append(s.bad, prefix)
	}
}

// refuse reports a field of the endpoint that cannot be read.
func (s *section) refuse(field, message string) {
	s.bad = append(s.bad, field)
	s.report(s.locate(field), join(s.path, field), message)
}

// unreadable says whether the field, what holds it or what it holds was
// reported while it was read.
func (s *section) unreadable(field string) bool {
	return slices.ContainsFunc(s.bad, func(bad string) bool {
		return within(field, bad) || within(bad, field)
	})
}

func within(field, outer string) bool {
	rest, found := strings.CutPrefix(field, outer)
	return found && (rest == "" || rest[0] == '.' || rest[0] == '[')
}

// locate says where a field stands or, if it does not, what would hold it.
func (s *section) locate(field string) *token.Position {
	for {
		if at, found := s.at[field]; found {
			return at
		}
		field = field[:max(0, strings.LastIndexAny(field, ".["))]
	}
}

// scalar reads one value.
func scalar[T any](s *section, field string, node ast.Node, into *T, read func(ast.Node) (T, error)) {
	if _, found := s.at[field]; !found {
		s.at[field] = position(node)
	}
	value, err := read(s.resolve(node))
	if err != nil {
		s.refuse(field, err.Error())
		return
	}
	*into = value
}

// maxItems bounds what is read of a list, well above what any field allows.
const maxItems = 256

// list reads a list of values.
func list[T any](s *section, field string, node ast.Node, into *[]T, read func(ast.Node) (T, error)) {
	nodes, ok := s.items(node, join(s.path, field))
	if !ok {
		s.bad = append(s.bad, field)
		return
	}
	if len(nodes) > maxItems {
		s.refuse(field, fmt.Sprintf("is a list of %d, far more than is allowed", len(nodes)))
		return
	}
	values := make([]T, len(nodes))
	for i, n := range nodes {
		scalar(s, item(field, i), n, &values[i], read)
	}
	*into = values
}
