package config

import (
	"encoding/json"
	"os"
	"os/exec"
	"regexp"
	"slices"
	"testing"

	"github.com/goccy/go-yaml"
)

// Alerts are tested against time series by Prometheus itself, where it is
// installed; .ci/run installs it.
func TestAlertsRaise(t *testing.T) {
	promtool, err := exec.LookPath("promtool")
	if err != nil {
		t.Log("promtool is not installed: the alerts are not tested here")
		return
	}
	for _, args := range [][]string{
		{"check", "rules", "prometheus/alerts.yaml"},
		{"test", "rules", "prometheus/alerts_test.yaml", "prometheus/alerts_leak_test.yaml"},
	} {
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
	text, err := os.ReadFile("prometheus/alerts.yaml")
	if err == nil {
		err = yaml.Unmarshal(text, &file)
	}
	if err != nil {
		t.Fatal(err)
	}
	var tested []byte
	for _, name := range []string{"prometheus/alerts_test.yaml", "prometheus/alerts_leak_test.yaml"} {
		text, err := os.ReadFile(name)
		if err != nil {
			t.Fatal(err)
		}
		tested = append(tested, text...)
	}
	command := regexp.MustCompile(`\b(jethook (audit|dlq|endpoint|lane|replay|streams)|nats (consumer|stream|kv|server)|curl) ?`)
	alerts := 0
	for _, g := range file.Groups {
		for _, r := range g.Rules {
			if r.Alert == "" {
				continue
			}
			alerts++
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
	if alerts < 8 {
		t.Errorf("%d alerts", alerts)
	}
}

// Every panel says what it shows and in which unit, and asks the data source that
// is chosen.
func TestBoardIsExplained(t *testing.T) {
	text, err := os.ReadFile("grafana/jethook.json")
	if err != nil {
		t.Fatal(err)
	}
	var board struct {
		Title      string
		Templating struct{ List []struct{ Name string } }
		Panels     []struct {
			ID                       int
			Type, Title, Description string
			GridPos                  struct{ X, Y, W, H int }
			Datasource               struct{ UID string }
			FieldConfig              struct{ Defaults struct{ Unit string } }
			Targets                  []struct{ Expr, LegendFormat string }
		}
	}
	if err := json.Unmarshal(text, &board); err != nil {
		t.Fatal(err)
	}
	var variables, rows []string
	for _, v := range board.Templating.List {
		variables = append(variables, v.Name)
	}
	ids, taken := map[int]bool{}, map[[2]int]string{}
	for _, p := range board.Panels {
		if ids[p.ID] {
			t.Errorf("%s: id %d is another's, too", p.Title, p.ID)
		}
		ids[p.ID] = true
		for x := p.GridPos.X; x < p.GridPos.X+p.GridPos.W; x++ {
			for y := p.GridPos.Y; y < p.GridPos.Y+p.GridPos.H; y++ {
				if other := taken[[2]int{x, y}]; other != "" || x >= 24 {
					t.Fatalf("%s lies over %q or outside", p.Title, other)
				}
				taken[[2]int{x, y}] = p.Title
			}
		}
		if p.Type == "row" {
			rows = append(rows, p.Title)
			continue
		}
		if p.Title == "" || p.Description == "" || p.FieldConfig.Defaults.Unit == "" || p.Datasource.UID != "${datasource}" || len(p.Targets) == 0 {
			t.Errorf("%s: lacks a description, a unit, the data source or a target", p.Title)
		}
		for _, target := range p.Targets {
			if !regexp.MustCompile(`job=~"\$job",instance=~"\$instance"`).MatchString(target.Expr) || target.LegendFormat == "" {
				t.Errorf("%s: %s does not ask for the chosen jobs and replicas, or has no legend", p.Title, target.Expr)
			}
		}
	}
	if want := []string{"Traffic", "Latency", "Trouble", "Backlog", "NATS", "Replicas", "Accounting"}; !slices.Equal(rows, want) {
		t.Errorf("rows %q, want %q", rows, want)
	}
	if want := []string{"datasource", "job", "instance"}; !slices.Equal(variables, want) {
		t.Errorf("variables %q, want %q", variables, want)
	}
}
