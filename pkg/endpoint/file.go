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

// File is what a file declares. Lanes are to be applied before the endpoints that
// name them.
type File struct {
	Lanes     []Lane
	Endpoints []Document
}

// ParseFile reads a file of lanes and endpoints, YAML or JSON: lists of those
// names, of which either may be absent. The name of the file is only for
// messages. Anchors and aliases work; merge keys, tags and unknown fields are
// refused. When anything is wrong it returns Problems, all of them in the order
// of their lines and columns.
func ParseFile(name string, data []byte, rules Rules) (File, error) {
	r := &reader{file: name, rules: rules}
	body := r.parse(data)
	if len(r.problems) > 0 {
		return File{}, r.problems
	}
	file := r.readFile(body)
	if len(r.problems) > 0 {
		slices.SortStableFunc(r.problems, func(a, b Problem) int {
			return cmp.Or(cmp.Compare(a.Line, b.Line), cmp.Compare(a.Column, b.Column))
		})
		return File{}, r.problems
	}
	return file, nil
}

// reader collects what is wrong while it walks a file's syntax tree. It walks
// by the shape of a document, so that aliases cannot lead it astray: however
// they are nested, it never goes deeper than documents do.
type reader struct {
	file     string
	rules    Rules
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

// readFile reads the outermost mapping.
func (r *reader) readFile(body ast.Node) (file File) {
	found := false
	if body != nil {
		r.eachField(body, "", []string{"endpoints", "lanes"}, func(name string, value ast.Node) {
			found = true
			lines := make(map[string]int) // at which each name was met first
			switch name {
			case "lanes":
				r.readLanes(value, &file, lines)
			case "endpoints":
				r.readList(name, value, func(s *section, node ast.Node) {
					file.Endpoints = append(file.Endpoints, s.readEndpoint(node, lines))
				})
			}
		})
	}
	if !found && len(r.problems) == 0 {
		r.report(nil, "endpoints", "is required: the list of endpoints, or else one of lanes")
	}
	return file
}

func (r *reader) readLanes(list ast.Node, file *File, lines map[string]int) {
	r.readList("lanes", list, func(s *section, node ast.Node) {
		file.Lanes = append(file.Lanes, s.readLane(node, lines))
	})
	if n := len(file.Lanes); n > MaxLanes {
		r.report(position(list), "lanes", fmt.Sprintf("must be at most %d lanes, not %d", MaxLanes, n))
	}
}

// readList calls read for each item of one of the file's lists.
func (r *reader) readList(name string, list ast.Node, read func(s *section, node ast.Node)) {
	if isNull(r.resolve(list)) {
		return
	}
	items, ok := r.items(list, name)
	if !ok {
		return
	}
	for i, node := range items {
		read(&section{reader: r, path: item(name, i), at: map[string]*token.Position{"": position(node)}}, node)
	}
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
