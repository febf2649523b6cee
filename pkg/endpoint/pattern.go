package endpoint

import (
	"errors"
	"fmt"
	"strings"

	"jethook/streams"
)

const maxPatternLength = 255

// CheckPattern says whether an endpoint's events may name the pattern: tokens
// joined with full stops, where * stands for one token and > for one or more
// at the end. "order.*" and ">" are patterns, "order*" and "order.>.paid" not.
func CheckPattern(pattern string) error {
	switch {
	case pattern == "":
		return errors.New(`must not be empty; ">" is every event`)
	case len(pattern) > maxPatternLength:
		return fmt.Errorf("must be at most %d characters long, not %d", maxPatternLength, len(pattern))
	}
	rest, more := pattern, true
	for more {
		var token string
		token, rest, more = strings.Cut(rest, ".")
		if err := checkToken(token, !more); err != nil {
			return fmt.Errorf("%s: %w", quote(pattern), err)
		}
	}
	return nil
}

func checkToken(token string, last bool) error {
	switch {
	case token == "":
		return errors.New("has an empty token: full stops stand between tokens only")
	case token == "*", token == ">" && last:
		return nil
	case token == ">":
		return errors.New(`has > before the end: only the last token may be >`)
	case strings.ContainsAny(token, "*>"):
		return fmt.Errorf("token %s mixes a wildcard with letters: * and > stand for whole tokens", quote(token))
	case !streams.CheckToken(token):
		return fmt.Errorf("token %s must be of A-Z a-z 0-9 _ -, or be * or >", quote(token))
	}
	return nil
}

const nameRule = "1 to 63 of a-z 0-9 _ -, starting with a letter or digit"

func isName(s string) bool { return streams.CheckName(s) == nil }

func isAlphanumeric(c byte) bool { return c >= 'a' && c <= 'z' || c >= '0' && c <= '9' }
