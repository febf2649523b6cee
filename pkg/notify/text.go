package notify

import (
	"cmp"
	"fmt"
	"maps"
	"slices"
	"strings"
	"text/template"
	"time"
	"unicode"

	"jethook/pkg/delivery"
	"jethook/streams"
)

// maxLine bounds what a field of a word adds to a text: what comes from an event is
// written by whoever may publish it.
const maxLine = 200

// line returns a text as part of one line, which reads as it is written.
func line(text string) string {
	text = strings.Map(func(c rune) rune {
		if !unicode.IsPrint(c) {
			return ' '
		}
		return c
	}, strings.ToValidUTF8(text, "?"))
	if runes := []rune(text); len(runes) > maxLine {
		text = string(runes[:maxLine]) + "…"
	}
	return text
}

var happenings = map[string]string{
	streams.EndpointFailing:   "is failing",
	streams.EndpointRecovered: "works again",
	streams.EndpointDisabled:  "is disabled",
	streams.DeliveryDead:      "has dead letters",
	streams.SecretRotated:     "has a new signing secret",
}

// Subject says in one line what happened.
func (w Word) Subject() string {
	what := happenings[w.Type]
	if w.Flapping != nil {
		what += cmp.Or(map[string]string{streams.EndpointFailing: ", and has been up and down"}[w.Type], ", after going up and down")
	}
	return line(w.Endpoint) + " " + what
}

var body = template.Must(template.New("").Funcs(template.FuncMap{
	"line": line,
	"at":   func(t time.Time) string { return t.UTC().Format("2006-01-02 15:04:05 UTC") },
}).Parse(`{{.Subject}}.
{{if .URL}}
Address:      {{line .URL}}{{end}}
{{- if .Why}}
Why:          {{line .Why}}{{end}}
{{- if not .Since.IsZero}}
Since:        {{at .Since}}{{end}}
{{- if not .Until.IsZero}}
Until:        {{at .Until}}{{end}}
{{- if .LastStatus}}
Last status:  {{.LastStatus}}{{end}}
{{- if .LastError}}
Last error:   {{line .LastError}}{{end}}
{{- if .Probes}}
Probes:       {{.Probes}} failed{{end}}
{{- with .Flapping}}
Changes:      {{.Changes}} since {{at .Since}}; as long as it goes on, this comes once an hour at most{{end}}
{{- if .Count}}
Dead letters: {{.Count}}{{range .Causes}}
              {{.}}{{end}}
Latest:{{range .Events}}
              {{line .EventID}} ({{line .EventType}}): {{line (print .Reason)}} after {{.Attempts}} attempts{{end}}{{end}}

{{.Hint}}
`))

// Text says what happened, in plain text.
func (w Word) Text() string {
	var b strings.Builder
	if err := body.Execute(&b, w); err != nil {
		return w.Subject() // a template that was parsed fails at a field alone, and these are there
	}
	return b.String()
}

// Causes lists the reasons of dead letters, the most frequent first.
func (w Word) Causes() (lines []string) {
	reasons := slices.SortedFunc(maps.Keys(w.Reasons), func(a, b delivery.Reason) int {
		return cmp.Or(cmp.Compare(w.Reasons[b], w.Reasons[a]), cmp.Compare(a, b))
	})
	for _, reason := range reasons {
		lines = append(lines, fmt.Sprintf("%d %s", w.Reasons[reason], line(string(reason))))
	}
	return lines
}

// Hint says what an owner can do or has to expect.
func (w Word) Hint() string {
	switch w.Type {
	case streams.EndpointFailing:
		return "Its deliveries wait and are made when it works again. It is tried now and then; nothing needs to be done but to mend it."
	case streams.EndpointRecovered:
		return "What waited for it is delivered now."
	case streams.EndpointDisabled:
		return "Its deliveries wait until an operator enables it: jethook endpoint enable " + line(w.Endpoint)
	case streams.DeliveryDead:
		return "They are kept for 30 days and can be delivered again: jethook replay --endpoint " + line(w.Endpoint)
	case streams.SecretRotated:
		return "Requests carry signatures of the old secrets, too, until the time above. Whoever rotated it has the new one."
	}
	return ""
}
