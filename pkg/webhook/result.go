package webhook

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"strings"
	"unicode"
	"unicode/utf8"

	"jethook/pkg/delivery"
	"jethook/pkg/egress"
	"jethook/pkg/endpoint"
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
func describe(r egress.Response) string {
	text := fmt.Sprintf("status %d", r.Status)
	if name := http.StatusText(r.Status); name != "" {
		text += " " + name
	}
	if len(r.Body) > 0 {
		text += ": " + printable(r.Body)
	}
	return cut(text)
}

// shown is how much of a response's body may be shown anywhere. A credential that
// is cut in two at its end is beyond what is.
const shown = 4 << 10

// strike strikes out of an answer what the request held of credentials, and cuts
// its body to what may be shown.
func strike(res *egress.Response, of *endpoint.Parsed, authorization string) {
	res.Body = res.Body[:min(len(res.Body), shown)]
	if of.Target.RawQuery == "" && len(of.Header) == 0 && authorization == "" {
		return // as most are, and this is for every attempt
	}
	secrets := credentials(of, authorization)
	res.Body = hide(res.Body, secrets)
	for _, values := range res.Header {
		for i := range values {
			values[i] = string(hide([]byte(values[i]), secrets))
		}
	}
}

// excerpt returns the beginning of a body on one line.
func excerpt(body []byte) string {
	const most = 512
	if len(body) == 0 {
		return ""
	}
	text := printable(body)
	if len(text) > most {
		text = strings.ToValidUTF8(text[:most], "") + "…"
	}
	return text
}

// credentials returns the texts of a request that a receiver could give away by
// repeating them. Keys that sign are not among them: they are never sent.
func credentials(of *endpoint.Parsed, authorization string) []string {
	all := []string{of.Target.RawQuery}
	for pair := range strings.SplitSeq(of.Target.RawQuery, "&") {
		_, raw, _ := strings.Cut(pair, "=")
		all = append(all, raw)
	}
	for _, values := range of.Target.Query() {
		all = append(all, values...)
	}
	add := func(value string) {
		all = append(all, value)
		if _, rest, found := strings.Cut(value, " "); found { // a scheme's name is none
			all = append(all, rest)
		}
	}
	for _, values := range of.Header {
		add(values[0])
	}
	add(authorization)
	if of.Auth != nil && of.Auth.Basic != nil {
		all = append(all, of.Auth.Basic.Password.Reveal())
	}
	return all
}

// minHidden is the length from which a text is hidden. What is shorter is no
// secret worth the words that would be garbled.
const minHidden = 6

func hide(text []byte, credentials []string) []byte {
	for _, c := range credentials {
		if len(c) >= minHidden {
			text = bytes.ReplaceAll(text, []byte(c), []byte("***"))
			for _, form := range inJSON(c) {
				text = bytes.ReplaceAll(text, []byte(form), []byte("***"))
			}
		}
	}
	return text
}

// inJSON returns the forms in which a text stands in JSON: as Go and others write
// it, and as PHP does.
func inJSON(text string) (forms []string) {
	for _, escape := range []bool{true, false} {
		var b bytes.Buffer
		e := json.NewEncoder(&b)
		e.SetEscapeHTML(escape)
		if e.Encode(text) == nil { // a string cannot fail
			form := b.String()[1 : b.Len()-len("\"\n")]
			forms = append(forms, form, strings.ReplaceAll(form, "/", `\/`))
		}
	}
	return forms
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
func printable(b []byte) string {
	b = b[:min(len(b), 4*maxError)]
	// Not printable are, beside control characters, those that turn the
	// direction of a text or have no width.
	return strings.Join(strings.FieldsFunc(strings.ToValidUTF8(string(b), "\uFFFD"), func(r rune) bool {
		return r == ' ' || !unicode.IsPrint(r)
	}), " ")
}
