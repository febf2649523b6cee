package endpoint

import (
	"fmt"
	"slices"
	"strings"

	"github.com/goccy/go-yaml/ast"
	"github.com/goccy/go-yaml/token"
)

// section is one endpoint or lane of a file. It remembers where each field
// stands, so that what validation finds can be shown at its place.
type section struct {
	*reader
	path string
	at   map[string]*token.Position // by path within the document
	bad  []string                   // fields that could not be read
}

func (s *section) isMapping(node ast.Node, what string) bool {
	_, ok := s.resolve(node).(ast.MapNode)
	if !ok {
		s.report(position(node), s.path, "must be "+what+", a mapping of fields to values, not "+kind(s.resolve(node)))
	}
	return ok
}

// found reports what validation found, at its place. A field that could not be
// read has been reported, and now holds its default, about which there is
// nothing more to say.
func (s *section) found(problems Problems) {
	for _, problem := range problems {
		if !s.unreadable(problem.Field) {
			s.report(s.locate(problem.Field), join(s.path, problem.Field), problem.Message)
		}
	}
}

// once reports a name that was met before.
func (s *section) once(name string, lines map[string]int) {
	at := s.locate("id")
	if first, found := lines[name]; found {
		s.report(at, s.path+".id", fmt.Sprintf("%s is at line %d already", name, first))
		return
	}
	lines[name] = at.Line
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
