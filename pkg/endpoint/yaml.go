package endpoint

import (
	"fmt"

	"github.com/goccy/go-yaml/ast"
	"github.com/goccy/go-yaml/token"
)

// position says where a node begins. The parser hangs block mappings up at
// their first colon; for people they begin at their first key.
func position(node ast.Node) *token.Position {
	if m, ok := node.(*ast.MappingNode); ok && !m.IsFlowStyle && len(m.Values) > 0 {
		return position(m.Values[0].Key)
	}
	if v, ok := node.(*ast.MappingValueNode); ok {
		return position(v.Key)
	}
	if node == nil || node.GetToken() == nil {
		return &token.Position{Line: 1, Column: 1}
	}
	return node.GetToken().Position
}

// resolve looks through anchors and aliases. An alias may lead to an alias,
// even to itself, so it goes only so far.
func (r *reader) resolve(node ast.Node) ast.Node {
	for range 16 {
		switch n := node.(type) {
		case *ast.AnchorNode:
			node = n.Value
		case *ast.AliasNode:
			if n.Value == nil {
				return node
			}
			target, found := r.anchors[n.Value.GetToken().Value]
			if !found {
				return node
			}
			node = target
		default:
			return node
		}
	}
	return node
}

// items returns the entries of a list.
func (r *reader) items(node ast.Node, path string) ([]ast.Node, bool) {
	sequence, ok := r.resolve(node).(*ast.SequenceNode)
	if !ok {
		r.report(position(node), path, "must be a list, not "+kind(r.resolve(node)))
		return nil, false
	}
	return sequence.Values, true
}

// keyName returns a mapping's key as it was written.
func keyName(key ast.Node) (string, bool) {
	switch k := key.(type) {
	case *ast.MappingKeyNode:
		if k.Value == nil {
			return "", false
		}
		return keyName(k.Value)
	case *ast.StringNode:
		return k.Value, true
	case *ast.IntegerNode, *ast.FloatNode, *ast.BoolNode, *ast.NullNode:
		return k.GetToken().Value, true
	}
	return "", false
}

func isNull(node ast.Node) bool {
	_, ok := node.(*ast.NullNode)
	return ok || node == nil
}

// text returns the value of a node that is text.
func text(node ast.Node) (string, error) {
	switch n := node.(type) {
	case *ast.StringNode:
		return n.Value, nil
	case *ast.LiteralNode:
		return n.Value.Value, nil
	case *ast.IntegerNode, *ast.FloatNode, *ast.BoolNode, *ast.InfinityNode, *ast.NanNode:
		return "", fmt.Errorf("must be text, not %s: put it in quotes", kind(node))
	}
	return "", fmt.Errorf("must be text, not %s", kind(node))
}

func duration(node ast.Node) (Duration, error) {
	s, ok := node.(*ast.StringNode)
	if !ok {
		return 0, errDuration
	}
	return ParseDuration(s.Value)
}

func integer(node ast.Node) (int, error) {
	if n, ok := node.(*ast.IntegerNode); ok {
		switch v := n.Value.(type) {
		case int64:
			return int(v), nil
		case uint64:
			if int(v) >= 0 {
				return int(v), nil
			}
			return 0, fmt.Errorf("must be a whole number of a sensible size")
		}
	}
	return 0, fmt.Errorf("must be a whole number, not %s", kind(node))
}

func number(node ast.Node) (float64, error) {
	switch n := node.(type) {
	case *ast.FloatNode:
		return n.Value, nil
	case *ast.IntegerNode:
		i, err := integer(n)
		return float64(i), err
	}
	return 0, fmt.Errorf("must be a number, not %s", kind(node))
}

func boolean(node ast.Node) (bool, error) {
	if b, ok := node.(*ast.BoolNode); ok {
		return b.Value, nil
	}
	return false, fmt.Errorf("must be true or false, not %s", kind(node))
}

// kind names a node's kind for people. It never shows the node's value.
func kind(node ast.Node) string {
	switch node.(type) {
	case nil, *ast.NullNode:
		return "nothing"
	case *ast.StringNode, *ast.LiteralNode:
		return "text"
	case *ast.IntegerNode, *ast.FloatNode, *ast.InfinityNode, *ast.NanNode:
		return "a number"
	case *ast.BoolNode:
		return "true or false"
	case *ast.SequenceNode:
		return "a list"
	case ast.MapNode:
		return "a mapping"
	case *ast.AliasNode, *ast.AnchorNode:
		return "an alias that leads nowhere"
	case *ast.TagNode:
		return "a value with a tag (!)"
	}
	return "this kind of value"
}
