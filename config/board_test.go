package config

import (
	"bytes"
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/goccy/go-yaml"
)

// What the panels ask for is PromQL: as rules, promtool reads it.
func TestBoardAsksInPromQL(t *testing.T) {
	t.Parallel()
	promtool, err := exec.LookPath("promtool")
	if err != nil {
		t.Log("promtool is not installed: the panels' expressions are not parsed here")
		return
	}
	type rule struct{ Record, Expr string }
	var rules []rule
	for _, p := range board(t).Panels {
		for _, target := range p.Targets {
			expr := strings.NewReplacer("$__rate_interval", "1m", "$job", ".*", "$instance", ".*").Replace(target.Expr)
			rules = append(rules, rule{fmt.Sprintf("panel:%d_%d", p.ID, len(rules)), expr})
		}
	}
	text, err := yaml.Marshal(map[string]any{"groups": []any{map[string]any{"name": "board", "rules": rules}}})
	if err != nil {
		t.Fatal(err)
	}
	file := t.TempDir() + "/board.yaml"
	if err := os.WriteFile(file, text, 0o600); err != nil {
		t.Fatal(err)
	}
	out, err := exec.CommandContext(t.Context(), promtool, "check", "rules", "--lint=none", file).CombinedOutput()
	if err != nil || !bytes.Contains(out, fmt.Appendf(nil, "%d rules found", len(rules))) {
		t.Errorf("promtool: %v\n%s", err, out)
	}
}

// Every panel says what it shows and in which unit, and asks the data source that
// is chosen.
func TestBoardIsExplained(t *testing.T) {
	board := board(t)
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
			if strings.Count(target.Expr, "max") != strings.Count(target.Expr, "max by (job")+strings.Count(target.Expr, "_max_") {
				t.Errorf("%s: %s takes two systems for one", p.Title, target.Expr)
			}
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

// grafana is a board, as far as the tests look at it.
type grafana struct {
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

func board(t *testing.T) (b grafana) {
	t.Helper()
	if err := json.Unmarshal(contents(t, "grafana/jethook.json"), &b); err != nil {
		t.Fatal(err)
	}
	return b
}
