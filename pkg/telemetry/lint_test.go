package telemetry

import (
	"bytes"
	"net/http"
	"os/exec"
	"strings"
	"testing"

	"github.com/prometheus/client_golang/prometheus/testutil/promlint"
)

// full returns metrics with every family that there is.
func full() *Metrics {
	m := NewMetrics("test")
	m.InFlight(func() int { return 1 }, 8)
	m.Endpoints(func() int { return 1 }, func() int { return 0 })
	m.Replicas(func() int { return 1 })
	m.NATS(func() bool { return true }, func() uint64 { return 0 })
	m.Consumer("fanout", 0, 0, 50_000)
	m.Stream("WEBHOOKS_EVENTS", 0, 0, -1)
	m.ShowEndpoint("acme/crm", EndpointState{})
	return m
}

// Names, units and help texts are as Prometheus has them.
func TestLint(t *testing.T) {
	families, err := full().Registry.Gather()
	if err != nil {
		t.Fatal(err)
	}
	problems, err := promlint.NewWithMetricFamilies(families).Lint()
	if err != nil {
		t.Fatal(err)
	}
	for _, p := range problems {
		t.Errorf("%s: %s", p.Metric, p.Text)
	}
	for _, f := range families {
		if name := f.GetName(); strings.HasPrefix(name, "jethook_") && !strings.HasSuffix(f.GetHelp(), ".") {
			t.Errorf("%s: the help text is no sentence: %q", name, f.GetHelp())
		}
	}
}

// Prometheus itself says so, where it is installed.
func TestPromtoolChecksTheExposition(t *testing.T) {
	promtool, err := exec.LookPath("promtool")
	if err != nil {
		t.Log("promtool is not installed, TestLint says what it would")
		return
	}
	_, _, body := get(t, http.MethodGet, "http://"+serveMetrics(t, full())+"/metrics")
	check := exec.CommandContext(t.Context(), promtool, "check", "metrics")
	check.Stdin = strings.NewReader(body)
	var out bytes.Buffer
	check.Stdout, check.Stderr = &out, &out
	if err := check.Run(); err != nil || out.Len() > 0 {
		t.Errorf("promtool check metrics: %v\n%s", err, out.String())
	}
}
