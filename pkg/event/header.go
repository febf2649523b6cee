package event

import (
	"cmp"
	"fmt"
	"net/textproto"
	"slices"
	"strings"
)

// Field is a header that is passed on, its name in lower case.
type Field struct{ Name, Value string }

// Field returns the value of a header that is passed on, by its name in lower
// case, or "".
func (e Event) Field(name string) string { return value(e.Fields, name) }

// Fields returns the headers that are passed on, by name, each once. The limits
// of New do not hold here: what was stored beside a delivery came through them.
func Fields(header map[string][]string) []Field {
	fields, _ := fold(header)
	return passed(fields)
}

func passed(headers []Field) []Field {
	fields := headers[:0]
	for _, f := range headers {
		if isPassed(f.Name) {
			fields = append(fields, Field{f.Name, clean(f.Name, f.Value)})
		}
	}
	return fields
}

// fold returns the headers that mean something here and have a value, in lower
// case and in order. Of more attributes than are worth putting in order it leaves
// out all, and returns how many. Producers write names in any case, and NATS keeps them, so that one header
// may be there in several spellings. A map's order would then make another
// event of it at each redelivery: the spelling that NATS itself heeds counts,
// such as Nats-Msg-Id, and otherwise the first in the order of bytes. Of several values the first counts,
// but W3C has those of tracestate be one list.
func fold(header map[string][]string) (_ []Field, left int) {
	type spelled struct {
		Field
		name string
	}
	all := make([]spelled, 0, min(len(header), maxSpellings))
	attributes := 0
	for name, values := range header {
		lower := strings.ToLower(name)
		if len(values) == 0 || values[0] == "" || !isRead(lower) {
			continue
		}
		if isAttribute(lower) {
			attributes++
		}
		if attributes <= maxSpellings || !isAttribute(lower) {
			value := values[0]
			if lower == "tracestate" {
				value = strings.Join(values, ",")
			}
			all = append(all, spelled{Field{lower, value}, name})
		}
	}
	if attributes > maxSpellings {
		left = attributes
		all = slices.DeleteFunc(all, func(h spelled) bool { return isAttribute(h.Name) })
	}
	slices.SortFunc(all, func(a, b spelled) int {
		if order := cmp.Compare(a.Name, b.Name); order != 0 {
			return order
		}
		switch heeded := textproto.CanonicalMIMEHeaderKey(a.Name); heeded {
		case a.name:
			return -1
		case b.name:
			return 1
		}
		return cmp.Compare(a.name, b.name)
	})
	fields := make([]Field, 0, len(all)+1) // room for the content type that New may add
	for i, h := range all {
		if i == 0 || h.Name != all[i-1].Name {
			fields = append(fields, h.Field)
		}
	}
	return fields, left
}

func find(fields []Field, name string) (int, bool) {
	return slices.BinarySearchFunc(fields, name, func(f Field, name string) int { return cmp.Compare(f.Name, name) })
}

func value(fields []Field, name string) string {
	for _, f := range fields {
		if f.Name == name {
			return f.Value
		}
	}
	return ""
}

// isRead reports whether a header, by its name in lower case, means anything
// here.
func isRead(name string) bool {
	switch name {
	case "content-type", "traceparent", "tracestate", "nats-msg-id":
		return true
	}
	return strings.HasPrefix(name, "ce-")
}

// isPassed reports whether a header, by its name in lower case, is passed on
// from the event to the receiver. It is a short list of what is known to be
// harmless: all that means something to NATS or to HTTP stays behind, and what
// cannot be the name of an attribute.
func isPassed(name string) bool {
	switch name {
	case "content-type", "traceparent", "tracestate":
		return true
	case "ce-datacontenttype":
		return false
	}
	attribute, ok := strings.CutPrefix(name, "ce-")
	return ok && attribute != "" && isPlain(attribute)
}

// isAttribute reports whether a header that is read is nothing but an attribute
// to pass on.
func isAttribute(name string) bool {
	return strings.HasPrefix(name, "ce-") && name != "ce-id" && name != "ce-datacontenttype"
}

// clean percent-encodes what an HTTP header cannot carry in the value of a
// CloudEvents attribute, as CloudEvents' HTTP binding has it. What is encoded
// already stays: NATS's binding encodes the same way.
func clean(name, value string) string {
	if !strings.HasPrefix(name, "ce-") {
		return value
	}
	visible := func(c byte) bool { return c >= ' ' && c <= '~' }
	for i := range len(value) {
		if visible(value[i]) {
			continue
		}
		var b strings.Builder
		for i := range len(value) {
			if c := value[i]; visible(c) {
				b.WriteByte(c)
			} else {
				fmt.Fprintf(&b, "%%%02X", c)
			}
		}
		return b.String()
	}
	return value
}
