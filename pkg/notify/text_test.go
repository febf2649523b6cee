package notify

import (
	"bytes"
	"encoding/json"
	"flag"
	"os"
	"strings"
	"testing"
	"time"
	"unicode"

	"jethook/pkg/delivery"
	"jethook/streams"
)

var update = flag.Bool("update", false, "write the golden file anew")

var (
	moment = time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)
	aWord  = Word{Type: streams.EndpointFailing, Endpoint: "acme/crm", URL: "https://crm.example.com/hooks", At: moment.Add(time.Minute),
		Why: "5 failures in a row", Since: moment, Probes: 3, LastStatus: 503, LastError: "5xx"}
)

// aWordOfEachKind has every field that a word of its kind can have.
func aWordOfEachKind() []Word {
	recovered, disabled := aWord, aWord
	recovered.Type, recovered.Until, recovered.Probes, recovered.LastStatus, recovered.LastError = streams.EndpointRecovered, moment.Add(time.Hour), 0, 0, ""
	disabled.Type, disabled.Why, disabled.Probes, disabled.LastStatus, disabled.LastError = streams.EndpointDisabled, "the receiver answered 410 Gone", 0, 0, ""
	flapping := aWord
	flapping.Flapping = &Flapping{Changes: 17, Since: moment.Add(-time.Hour)}
	deaths := Deaths{}
	for i, reason := range []delivery.Reason{delivery.Rejected, delivery.Expired, delivery.Rejected} {
		deaths = deaths.and(one(Death{EventID: "evt_" + string(rune('a'+i)), EventType: "order.created", Reason: reason, Attempts: i + 1, LastStatus: 400, At: moment}))
	}
	var r Record
	dead, _ := r.dead(settings, Facts{Now: moment, Name: "acme/crm", URL: aWord.URL, Deaths: deaths})
	return []Word{aWord, flapping, recovered, disabled, dead[0], Rotated("acme/crm", aWord.URL, moment, moment.Add(24*time.Hour))}
}

const golden = "testdata/words.golden.txt"

// What receivers rely on, and what people read, shows here, and so in review.
func TestWordsAreGolden(t *testing.T) {
	var b bytes.Buffer
	for _, w := range aWordOfEachKind() {
		data, err := json.MarshalIndent(w, "", "  ")
		if err != nil {
			t.Fatal(err)
		}
		b.WriteString(w.ID() + "\n" + string(data) + "\n\n" + w.Subject() + "\n---\n" + w.Text() + "===\n")
	}
	if *update {
		if err := os.WriteFile(golden, b.Bytes(), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(golden)
	if err != nil {
		t.Fatal(err)
	}
	if !bytes.Equal(b.Bytes(), want) {
		t.Errorf("words are not %s; if they are meant to be, run go test ./pkg/notify -update\n%s", golden, b.String())
	}
}

// The README's table names each field of each kind.
func TestTheREADMENamesEveryField(t *testing.T) {
	readme, err := os.ReadFile("../../README.md")
	if err != nil {
		t.Fatal(err)
	}
	for _, w := range aWordOfEachKind() {
		_, row, found := strings.Cut(string(readme), "\n| `"+w.Type+"` |")
		if !found {
			t.Errorf("it has no row for %s", w.Type)
			continue
		}
		row, _, _ = strings.Cut(row, "\n")
		data, err := json.Marshal(w)
		if err != nil {
			t.Fatal(err)
		}
		var fields map[string]any
		if err := json.Unmarshal(data, &fields); err != nil {
			t.Fatal(err)
		}
		for field := range fields {
			if common := field == "type" || field == "endpoint" || field == "url" || field == "at"; !common && !strings.Contains(row, "`"+field+"`") {
				t.Errorf("the row for %s lacks %s", w.Type, field)
			}
		}
	}
}

// Who may publish may write into a word what they like.
func TestTextsAreLinesWhateverAWordSays(t *testing.T) {
	w := aWord
	w.Why = "a\r\nBcc: x@y.z\x00\u2028" + strings.Repeat("ü", 1000)
	w.Endpoint = "acme/crm\nSubject: b\u202e"
	w.LastError = "\u202e\u2066\u200b\u009b\U000e0041"
	if strings.ContainsFunc(w.Subject()+w.Text(), func(r rune) bool { return r != '\n' && !unicode.IsPrint(r) }) {
		t.Errorf("not all can be seen: %+q", w.Text())
	}
	if strings.ContainsAny(w.Subject(), "\r\n") || strings.Contains(w.Text(), "\nBcc:") || len(w.Text()) > 2000 {
		t.Errorf("it says %q", w.Text())
	}
}
