package config

import (
	"maps"
	"os"
	"reflect"
	"regexp"
	"slices"
	"strings"
	"testing"

	"jethook/pkg/endpoint"
)

func read(t *testing.T, file string) string {
	t.Helper()
	data, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	return string(data)
}

// The env file is read by a shell and by docker alike, so a value may not need
// quotes. It holds every variable, commented out with its default unless the
// trial needs it.
func TestExampleEnvFile(t *testing.T) {
	variable := regexp.MustCompile(`^(#?)((?:NATS|JETHOOK)_[A-Z_]+)=([A-Za-z0-9_./:,-]*)$`)
	active, commented := map[string]string{}, map[string]string{}
	var order []string
	for line := range strings.Lines(read(t, "jethook.env")) {
		line = strings.TrimSuffix(line, "\n")
		m := variable.FindStringSubmatch(line)
		switch {
		case m == nil && line != "" && !strings.HasPrefix(line, "# ") && line != "#":
			t.Errorf("line %q is neither a variable nor a comment", line)
		case m == nil:
		case m[1] == "#":
			commented[m[2]] = m[3]
			order = append(order, m[2])
		default:
			active[m[2]] = m[3]
			order = append(order, m[2])
		}
	}
	trial := map[string]string{
		"JETHOOK_ALLOW_HTTP": "true", "JETHOOK_EGRESS_ALLOW": "127.0.0.0/8", "JETHOOK_ENDPOINTS_FILE": "config/endpoints.yaml",
	}
	if !maps.Equal(active, trial) {
		t.Errorf("the file sets %v, want %v", active, trial)
	}
	var names []string
	for _, v := range Describe() {
		names = append(names, v.Name)
		if initial, found := commented[v.Name]; found && initial != v.Default {
			t.Errorf("the default of %s is %q, not %q", v.Name, v.Default, initial)
		}
	}
	if !slices.Equal(order, names) {
		t.Errorf("the file has %q, want %q", order, names)
	}
	var lines []string
	for name, value := range active {
		lines = append(lines, name+"="+value)
	}
	c := load(t, lines...)
	if !c.AllowHTTP || len(c.EgressAllow) != 1 {
		t.Errorf("the trial's configuration is %+v", c)
	}
	if _, err := os.Stat("../" + c.EndpointsFile); err != nil { // the file is meant for the repository's root
		t.Error(err)
	}
}

// The endpoints file works as it is, and with any line of it uncommented.
func TestExampleEndpointsFile(t *testing.T) {
	text := read(t, "endpoints.yaml")
	parse := func(text string) endpoint.Document {
		t.Helper()
		file, err := endpoint.ParseFile("endpoints.yaml", []byte(text), endpoint.Rules{AllowHTTP: true})
		documents := file.Endpoints
		if err != nil {
			t.Fatal(err)
		}
		if len(documents) != 1 {
			t.Fatalf("%d endpoints, want one", len(documents))
		}
		documents[0].KeepPaused = false // to say what is the default is to say something
		return documents[0]
	}
	lanes := regexp.MustCompile(`(?m)^# (lanes:|  )`).ReplaceAllString(text, "$1")
	if file, err := endpoint.ParseFile("endpoints.yaml", []byte(lanes), endpoint.Rules{AllowHTTP: true}); err != nil || len(file.Lanes) != 1 {
		t.Errorf("with its lanes uncommented: %d lanes, %v", len(file.Lanes), err)
	}
	plain := parse(text)
	if plain.Name() != "acme/local" || plain.URL != "http://127.0.0.1:9000" {
		t.Errorf("the endpoint is %s at %s", plain.Name(), plain.URL)
	}
	field := regexp.MustCompile(`(?m)^    # ([a-z_]+): .*$`)
	var seen []string
	for _, m := range field.FindAllStringSubmatch(text, -1) {
		seen = append(seen, m[1])
		document := parse(strings.Replace(text, m[0], "    "+strings.TrimPrefix(m[0], "    # "), 1))
		suchAs := strings.Contains(m[0], "# such as")
		if changed := !equalDocuments(document, plain); changed != suchAs {
			t.Errorf("line %q changes the endpoint: %v", m[0], changed)
		}
	}
	want := []string{"description", "contact", "secrets", "signing", "extra_signatures", "auth", "tls", "max_body", "timeout", "retry", "retry_on", "expire_after", "disable_after", "rate_limit",
		"max_in_flight", "headers", "lane", "ordered", "paused"}
	if !slices.Equal(seen, want) {
		t.Errorf("the commented fields are %q, want %q", seen, want)
	}
}

// equalDocuments knows no difference between none and an empty list.
func equalDocuments(a, b endpoint.Document) bool {
	if len(a.RetryOn) == 0 && len(b.RetryOn) == 0 {
		a.RetryOn, b.RetryOn = nil, nil
	}
	return reflect.DeepEqual(a, b)
}
