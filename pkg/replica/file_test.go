package replica

import (
	"maps"
	"os"
	"strings"
	"testing"
)

func TestEndpointsFile(t *testing.T) {
	const a, b = "http://127.0.0.1:9000/a", "http://127.0.0.1:9000/b"
	o, log := testOptions(t)
	o.EndpointsFile = t.TempDir() + "/endpoints.yaml"
	write(t, o.EndpointsFile, "endpoints:\n"+document("one", a))
	js := dial(t, start(t, o).URL)
	check := func(want map[string]string) {
		t.Helper()
		if got := endpoints(t, js); !maps.Equal(got, want) {
			t.Errorf("endpoints %v, want %v", got, want)
		}
	}
	check(map[string]string{"acme/one": a}) // at start

	write(t, o.EndpointsFile, "endpoints:\n"+document("one", b)+document("two", a))
	log.wait(t, "endpoint applied", 3)
	check(map[string]string{"acme/one": b, "acme/two": a})

	write(t, o.EndpointsFile, "endpoints:\n"+document("one", a)+"  - {tenant: acme, id: two, url: 'ftp://x', events: ['>']}\n")
	log.wait(t, "the endpoints file is not applied", 1)
	check(map[string]string{"acme/one": b, "acme/two": a}) // all of it or nothing
	if !strings.Contains(log.String(), "endpoints.yaml:3") {
		t.Errorf("the log does not name the line:\n%s", log)
	}

	if err := os.Remove(o.EndpointsFile); err != nil {
		t.Fatal(err)
	}
	log.wait(t, "the endpoints file is not applied", 2)
	check(map[string]string{"acme/one": b, "acme/two": a})

	// The same trouble is not reported every second, and what is left out of the
	// file stays.
	write(t, o.EndpointsFile, "endpoints:\n"+document("three", a))
	log.wait(t, "endpoint applied", 4)
	check(map[string]string{"acme/one": b, "acme/two": a, "acme/three": a})
	if n := strings.Count(log.String(), "the endpoints file is not applied"); n != 2 {
		t.Errorf("two troubles are reported %d times", n)
	}
	if err := os.Remove(o.EndpointsFile); err != nil {
		t.Fatal(err)
	}
	log.wait(t, "the endpoints file is not applied", 3) // once it was over, it is news again
}

func TestBrokenEndpointsFileAtStart(t *testing.T) {
	o, _ := testOptions(t)
	o.EndpointsFile = t.TempDir() + "/endpoints.yaml"
	write(t, o.EndpointsFile, "endpoints:\n  - {tenant: acme, id: one, url: 'http://127.0.0.1:9000', evnts: ['>']}\n")
	text := refused(t, o)
	for _, part := range []string{"JETHOOK_ENDPOINTS_FILE", "endpoints.yaml:2", "evnts", "did you mean events"} {
		if !strings.Contains(text, part) {
			t.Errorf("error %s, want one with %q", text, part)
		}
	}
}

// A secret that was made is told of, and not told.
func TestMadeSecretIsNotLogged(t *testing.T) {
	o, log := testOptions(t)
	o.EndpointsFile = t.TempDir() + "/endpoints.yaml"
	write(t, o.EndpointsFile, "endpoints:\n  - {tenant: acme, id: one, url: 'http://127.0.0.1:9000', events: ['>'], rate_limit: {per_second: 1, burst: 1}}\n")
	if err := start(t, o).stop(); err != nil {
		t.Fatal(err)
	}
	if !strings.Contains(log.String(), "made a signing secret") || strings.Contains(log.String(), "whsec_") {
		t.Errorf("the log is\n%s", log)
	}
}
