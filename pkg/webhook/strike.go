package webhook

import (
	"net/url"
	"slices"
	"strconv"
	"strings"
	"unicode/utf16"
	"unicode/utf8"

	"jethook/pkg/endpoint"
)

// credentials are the texts of a request that a receiver could give away by
// repeating them. Keys that sign are not among them: they are never sent.
type credentials []string

// minHidden is the length from which a text is hidden. What is shorter is no
// secret worth the words that would be garbled.
const minHidden = 6

func sentCredentials(of *endpoint.Parsed, authorization string) credentials {
	if of.Target.RawQuery == "" && len(of.Header) == 0 && authorization == "" {
		return nil // as most are, and this is for every attempt
	}
	all := credentials{of.Target.RawQuery}
	for pair := range strings.SplitSeq(of.Target.RawQuery, "&") {
		_, raw, found := strings.Cut(pair, "=")
		if !found {
			raw = pair
		}
		value, _ := url.QueryUnescape(raw) // what cannot be read so is sent as it is
		all = append(all, raw, value)
	}
	add := func(value string) {
		_, rest, _ := strings.Cut(value, " ") // a scheme's name is none
		all = append(all, value, rest)
	}
	for _, values := range of.Header {
		add(values[0])
	}
	add(authorization)
	if of.Auth != nil && of.Auth.Basic != nil {
		all = append(all, of.Auth.Basic.Password.Reveal())
	}
	all = slices.DeleteFunc(all, func(one string) bool { return len(one) < minHidden })
	slices.Sort(all)
	return slices.Compact(all)
}

// strike puts *** in the place of credentials in a text that a receiver answered,
// as they are and as they stand in JSON. A text that ends within one ends before
// it. So it is cut to what is shown first: customers decide how many credentials
// there are and how much is answered, and each is looked for in all of the text.
func (c credentials) strike(text string) string {
	if len(c) == 0 {
		return text
	}
	// Marked first and replaced then, because credentials lie within each other.
	marked, found := make([]bool, len(text)), false
	mark := func(from, to int) {
		found = true
		for i := from; i < to; i++ {
			marked[i] = true
		}
	}
	c.find(text, mark)
	if strings.Contains(text, `\`) {
		plain, from := unescaped(text)
		c.find(plain, func(i, j int) { mark(from[i], from[j]) })
	}
	if !found {
		return text
	}
	var struck strings.Builder
	for i := range len(text) {
		switch {
		case !marked[i]:
			struck.WriteByte(text[i])
		case i == 0 || !marked[i-1]:
			struck.WriteString("***")
		}
	}
	return struck.String()
}

// find tells where in a text credentials are, and at its end the beginning of one.
func (c credentials) find(text string, found func(from, to int)) {
	for _, one := range c {
		for at := 0; ; at += len(one) {
			i := strings.Index(text[at:], one)
			if i < 0 {
				break
			}
			at += i
			found(at, at+len(one))
		}
		for n := min(len(one)-1, len(text)); n >= minHidden; n-- {
			if strings.HasSuffix(text, one[:n]) {
				found(len(text)-n, len(text))
				break
			}
		}
	}
}

// unescaped undoes JSON's escapes in a text, and says of each byte and of the end
// of what comes out where in the text it was. An escape that the text's end cuts in
// two belongs to the end.
func unescaped(text string) (plain string, from []int) {
	var b strings.Builder
	from = make([]int, 0, len(text)+1)
	for i := 0; i < len(text); {
		one, n := text[i:i+1], 1
		if one == `\` {
			one, n = unescape(text[i:])
		}
		b.WriteString(one)
		for range len(one) {
			from = append(from, i)
		}
		i += n
	}
	return b.String(), append(from, len(text))
}

// unescape undoes the escape that a text begins with, and returns how long it was.
func unescape(text string) (plain string, n int) {
	if len(text) < len(`\n`) {
		return "", len(text)
	}
	if i := strings.IndexByte(`"\/bfnrt`, text[1]); i >= 0 {
		return "\"\\/\b\f\n\r\t"[i : i+1], len(`\n`)
	}
	if text[1] != 'u' {
		return `\`, 1
	}
	const length = len(`\u0000`)
	if len(text) < length {
		return "", len(text)
	}
	switch r := unit(text); {
	case r < 0:
		return `\`, 1
	case !utf16.IsSurrogate(r):
		return string(r), length
	case len(text) < 2*length:
		return "", len(text)
	default:
		if pair := utf16.DecodeRune(r, unit(text[length:])); pair != utf8.RuneError {
			return string(pair), 2 * length
		}
		return string(utf8.RuneError), length
	}
}

// unit returns what stands in a \u0000, or -1.
func unit(text string) rune {
	digits, found := strings.CutPrefix(text[:len(`\u0000`)], `\u`)
	r, err := strconv.ParseUint(digits, 16, 16)
	if !found || err != nil {
		return -1
	}
	return rune(r)
}
