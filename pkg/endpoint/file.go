package endpoint

import (
	"cmp"
	"errors"
	"fmt"
	"slices"
	"strconv"

	"github.com/goccy/go-yaml"
	"github.com/goccy/go-yaml/ast"
	"github.com/goccy/go-yaml/parser"
	"github.com/goccy/go-yaml/token"

	"jethook/pkg/nearest"
	"jethook/streams"
)

// ParseFile reads a file of endpoints, YAML or JSON: a list named endpoints.
// The name is only for messages. Anchors and aliases work; merge keys, tags
// and fields that no endpoint has are refused. When anything is wrong it
// returns Problems, all of them in the order of their lines and columns.
func ParseFile(name string, data []byte, rules Rules) ([]Document, error) {
	r := &reader{file: name}
	body := r.parse(data)
	if len(r.problems) > 0 {
		return nil, r.problems
	}
	documents := r.readFile(body, rules)
	if len(r.problems) > 0 {
		slices.SortStableFunc(r.problems, func(a, b Problem) int {
			return cmp.Or(cmp.Compare(a.Line, b.Line), cmp.Compare(a.Column, b.Column))
		})
		return nil, r.problems
	}
	return documents, nil
}

// reader collects what is wrong while it walks a file's syntax tree. It walks
// by the shape of a document, so that aliases cannot lead it astray: however
// they are nested, it never goes deeper than documents do.
type reader struct {
	file     string
	anchors  map[string]ast.Node
	problems Problems
}

// parse returns the root of the file's one YAML document.
func (r *reader) parse(data []byte) (body ast.Node) {
	// Duplicates are found later, together with everything else.
	tree, err := parser.ParseBytes(data, 0, parser.AllowDuplicateMapKey())
	if err != nil {
		r.syntaxError(err)
		return nil
	}
	for _, doc := range tree.Docs {
		switch {
		case doc.Body == nil:
		case body == nil:
			body = doc.Body
		default:
			r.report(position(doc.Body), "", "a file holds one YAML document: join the lists, without ---")
		}
	}
	if body != nil {
		r.anchors = make(map[string]ast.Node)
		ast.Walk(anchorCollector(r.anchors), body)
	}
	return body
}

// syntaxError leaves out the excerpt of the file that the parser would print,
// because it could show a secret.
func (r *reader) syntaxError(err error) {
	var located yaml.Error
	if !errors.As(err, &located) {
		r.report(nil, "", "is not YAML")
		return
	}
	var at *token.Position
	if tk := located.GetToken(); tk != nil {
		at = tk.Position
	}
	r.report(at, "", "is not YAML: "+located.GetMessage())
}

type anchorCollector map[string]ast.Node

// Visit notes anchors on the way through the tree.
func (c anchorCollector) Visit(node ast.Node) ast.Visitor {
	if anchor, ok := node.(*ast.AnchorNode); ok && anchor.Name != nil {
		c[anchor.Name.GetToken().Value] = anchor.Value
	}
	return c
}

// readFile reads the outermost mapping, of which endpoints is the only field.
func (r *reader) readFile(body ast.Node, rules Rules) []Document {
	var list ast.Node
	found := false
	if body != nil {
		r.eachField(body, "", []string{"endpoints"}, func(_ string, value ast.Node) {
			list, found = value, true
		})
	}
	if !found {
		if len(r.problems) == 0 {
			r.report(nil, "endpoints", "is required: the list of endpoints")
		}
		return nil
	}
	if isNull(r.resolve(list)) {
		return nil
	}
	items, ok := r.items(list, "endpoints")
	if !ok {
		return nil
	}
	documents := make([]Document, 0, len(items))
	lines := make(map[string]int, len(items))
	for i, node := range items {
		if d, ok := r.readEndpoint(node, item("endpoints", i), rules, lines); ok {
			documents = append(documents, d)
		}
	}
	return documents
}

// readEndpoint reads, validates and checks for a repeated name. Lines has the
// line at which each name was met first.
func (r *reader) readEndpoint(node ast.Node, path string, rules Rules, lines map[string]int) (Document, bool) {
	before := len(r.problems)
	s := &section{reader: r, path: path, at: make(map[string]*token.Position)}
	s.at[""] = position(node)
	w, ok := s.read(node)
	if !ok {
		return Document{}, false
	}
	d := w.document()
	_, said := s.at["paused"]
	d.KeepPaused = !said
	for _, problem := range d.check(rules) {
		// A field that could not be read has been reported, and now holds
		// its default, about which there is nothing more to say.
		if !s.unreadable(problem.Field) {
			r.report(s.locate(problem.Field), path+"."+problem.Field, problem.Message)
		}
	}
	at := s.locate("id")
	if first, found := lines[d.Name()]; found {
		r.report(at, path+".id", fmt.Sprintf("endpoint %s is at line %d already", d.Name(), first))
	} else if isName(d.Tenant) && isName(d.ID) {
		lines[d.Name()] = at.Line
	}
	return d, len(r.problems) == before
}

func (r *reader) report(at *token.Position, field, message string) {
	if at == nil {
		at = &token.Position{Line: 1, Column: 1}
	}
	r.problems = append(r.problems, Problem{
		File: r.file, Line: at.Line, Column: at.Column, Field: field, Message: message,
	})
}

// eachField calls read for the known fields of a mapping. Unknown and repeated
// ones are reported, with the field that was probably meant.
func (r *reader) eachField(node ast.Node, path string, known []string, read func(name string, value ast.Node)) {
	r.eachKey(node, path, func(name string, at *token.Position, value ast.Node) {
		if slices.Contains(known, name) {
			read(name, value)
			return
		}
		message := "is not a field that jethook knows"
		if near := nearest.Of(name, known); near != "" {
			message += ": did you mean " + near + "?"
		}
		r.report(at, join(path, printable(name)), message)
	})
}

// eachKey calls read for each key of a mapping, once.
func (r *reader) eachKey(node ast.Node, path string, read func(name string, at *token.Position, value ast.Node)) {
	mapping, ok := r.resolve(node).(ast.MapNode)
	if !ok {
		r.report(position(node), path, "must be a mapping of fields to values, not "+kind(r.resolve(node)))
		return
	}
	lines := make(map[string]int)
	for pairs := mapping.MapRange(); pairs.Next(); {
		key := pairs.Key()
		at := position(key)
		name, ok := keyName(key)
		if !ok {
			r.report(at, path, "has a key that is not a plain name; merge keys (<<) are not supported, aliases for single values are")
			continue
		}
		if line, found := lines[name]; found {
			r.report(at, join(path, printable(name)), "is given twice, first at line "+strconv.Itoa(line))
			continue
		}
		lines[name] = at.Line
		read(name, at, pairs.Value())
	}
}

func join(path, field string) string {
	if path == "" {
		return field
	}
	return path + "." + field
}

// printable keeps what is not a name from garbling a message.
func printable(name string) string {
	if streams.CheckToken(name) && len(name) <= maxHeaderNameLength {
		return name
	}
	return quote(name)
}
