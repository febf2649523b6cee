package config

import (
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"testing"

	"github.com/goccy/go-yaml"
)

const alerts = "prometheus/alerts.yaml"

// timeSeries are the files that say which alerts time series must raise.
func timeSeries(t *testing.T) []string {
	t.Helper()
	files, err := filepath.Glob("prometheus/*_test.yaml")
	if err != nil || len(files) == 0 {
		t.Fatalf("no time series to test the alerts against: %v", err)
	}
	return files
}

// contents returns what is in a file. What only another program opens, go test's cache would not
// know of.
func contents(t *testing.T, file string) []byte {
	t.Helper()
	text, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	return text
}

// Alerts are tested against time series by Prometheus itself, where it is
// installed; .ci/run installs it.
func TestAlertsRaise(t *testing.T) {
	t.Parallel()
	promtool, err := exec.LookPath("promtool")
	if err != nil {
		t.Log("promtool is not installed: the alerts are not tested here")
		return
	}
	files := timeSeries(t)
	for _, file := range append(files, alerts) {
		contents(t, file)
	}
	for _, args := range [][]string{{"check", "rules", alerts}, append([]string{"test", "rules"}, files...)} {
		if out, err := exec.CommandContext(t.Context(), promtool, args...).CombinedOutput(); err != nil {
			t.Errorf("promtool %v: %v\n%s", args, err, out)
		}
	}
}

// Whoever an alert wakes learns what it means, what to do, and what to type.
func TestAlertsSayWhatToDo(t *testing.T) {
	var file struct {
		Groups []struct {
			Rules []struct {
				Alert               string
				Labels, Annotations map[string]string
			}
		}
	}
	if err := yaml.Unmarshal(contents(t, alerts), &file); err != nil {
		t.Fatal(err)
	}
	var tested []byte
	for _, name := range timeSeries(t) {
		tested = append(tested, contents(t, name)...)
	}
	command := regexp.MustCompile(`\b(jethook (audit|dlq|endpoint|lane|replay|streams)|nats (consumer|stream|kv|server)|curl) ?`)
	count := 0
	for _, g := range file.Groups {
		for _, r := range g.Rules {
			if r.Alert == "" {
				continue
			}
			count++
			if !slices.Contains([]string{"critical", "warning", "info"}, r.Labels["severity"]) {
				t.Errorf("%s: severity %q", r.Alert, r.Labels["severity"])
			}
			if r.Annotations["summary"] == "" || !command.MatchString(r.Annotations["description"]) {
				t.Errorf("%s: no summary, or no command in the description", r.Alert)
			}
			if !regexp.MustCompile(`alertname="` + r.Alert + `",alertstate="firing"`).Match(tested) {
				t.Errorf("%s: no time series is known to raise it", r.Alert)
			}
		}
	}
	if count < 8 {
		t.Errorf("%d alerts", count)
	}
}
