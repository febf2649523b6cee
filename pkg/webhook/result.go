package webhook

import (
	"errors"
	"fmt"
	"net/http"
	"strings"
	"unicode"
	"unicode/utf8"

	"jethook/pkg/delivery"
	"jethook/pkg/egress"
)

// unsent is the error of a request that was not sent, for a reason that is not in
// the request itself.
type unsent struct {
	fault delivery.Fault
	text  string // for the endpoint's owner
}

func (e *unsent) Error() string { return e.text }

// fault turns the failure of an exchange into a delivery's.
func fault(err error) (delivery.Fault, string) {
	if u, ok := errors.AsType[*unsent](err); ok {
		return u.fault, cut(u.text)
	}
	e, ok := errors.AsType[*egress.Error](err)
	if !ok {
		return delivery.FaultProtocol, "unknown failure"
	}
	return faultOf(e), cut(e.Error())
}

func faultOf(e *egress.Error) delivery.Fault {
	if e.Failure == egress.Canceled {
		return delivery.FaultInterrupted
	}
	return delivery.Fault(e.Failure)
}

// describe says in a line what a response without success was.
func describe(status int, body string) string {
	text := fmt.Sprintf("status %d", status)
	if name := http.StatusText(status); name != "" {
		text += " " + name
	}
	if body != "" {
		text += ": " + printable(body)
	}
	return cut(text)
}

// excerpt returns the beginning of a body on one line.
func excerpt(body string) string {
	const most = 512
	text := printable(body)
	if len(text) > most {
		text = strings.ToValidUTF8(text[:most], "") + "…"
	}
	return text
}

// maxError bounds what is kept of an error: it travels in the history of every
// further attempt.
const maxError = 200

func cut(s string) string {
	if len(s) <= maxError {
		return s
	}
	end := maxError
	for end > 0 && !utf8.RuneStart(s[end]) {
		end--
	}
	return s[:end] + "…"
}

// printable makes one line of text of what a stranger sent.
func printable(text string) string {
	// Not printable are, beside control characters, those that turn the
	// direction of a text or have no width.
	return strings.Join(strings.FieldsFunc(strings.ToValidUTF8(text, "\uFFFD"), func(r rune) bool {
		return r == ' ' || !unicode.IsPrint(r)
	}), " ")
}
