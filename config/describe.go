package config

import (
	"reflect"
	"strings"
	"unicode"

	"jethook/pkg/natsconn"
)

// Variable describes one variable for people.
type Variable struct{ Name, Default, Description string }

// Describe lists all variables that Load reads.
func Describe() []Variable {
	nats := reflect.TypeFor[natsconn.Options]()
	var all []Variable
	for f := range nats.Fields() {
		all = append(all, Variable{"NATS_" + snake(f.Name), "", f.Tag.Get("desc")})
	}
	return append(all, describe()...)
}

func describe() []Variable {
	t := reflect.TypeFor[Config]()
	var all []Variable
	for f := range t.Fields() {
		if f.Tag.Get("ignored") == "true" {
			continue
		}
		all = append(all, Variable{prefix + "_" + snake(f.Name), f.Tag.Get("default"), f.Tag.Get("desc")})
	}
	return all
}

// snake turns a field's name into a variable's, as envconfig's split_words
// does: HTTPAddr becomes HTTP_ADDR.
func snake(name string) string {
	var b strings.Builder
	runes := []rune(name)
	for i, r := range runes {
		if i > 0 && unicode.IsUpper(r) && (unicode.IsLower(runes[i-1]) || i+1 < len(runes) && unicode.IsLower(runes[i+1])) {
			b.WriteByte('_')
		}
		b.WriteRune(unicode.ToUpper(r))
	}
	return b.String()
}
