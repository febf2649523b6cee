package replica

import (
	"context"
	"encoding/json"
	"os"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/goccy/go-yaml"
	"github.com/prometheus/client_golang/prometheus/testutil/promlint"
	dto "github.com/prometheus/client_model/go"
	"github.com/prometheus/common/expfmt"
	"github.com/prometheus/common/model"
)

const (
	alertsFile = "../../config/prometheus/alerts.yaml"
	boardFile  = "../../config/grafana/jethook.json"
)

// What an alert or a panel asks for, a replica exposes: a name that is wrong
// would be an alert that never comes, and an empty panel.
func TestBoardAndAlertsAskForWhatIsExposed(t *testing.T) {
	exposed := exposition(t)
	known := map[string]string{} // a name that may be asked for, and its family
	for name, f := range exposed {
		known[name] = name
		if f.GetType() == dto.MetricType_HISTOGRAM {
			known[name+"_bucket"], known[name+"_sum"], known[name+"_count"] = name, name, name
		}
	}
	expressions, recorded := alertExpressions(t)
	for _, record := range recorded {
		known[record] = record
	}
	expressions = append(expressions, boardExpressions(t)...)
	used := map[string]bool{}
	for _, e := range expressions {
		names := metricNames(e)
		if len(names) == 0 {
			t.Errorf("no metric in %q", e)
		}
		for _, name := range names {
			family, there := known[name]
			if !there {
				t.Errorf("%s is not exposed: %s", name, e)
			}
			used[family] = true
		}
	}
	var unused []string
	for name := range exposed {
		if strings.HasPrefix(name, "jethook_") && !used[name] {
			unused = append(unused, name)
		}
	}
	checkREADME(t, exposed)
	slices.Sort(unused)
	t.Logf("%d expressions; exposed and not asked for: %q", len(expressions), unused)
}

// checkREADME holds the README's table of metrics to what is exposed.
func checkREADME(t *testing.T, exposed map[string]*dto.MetricFamily) {
	t.Helper()
	text, err := os.ReadFile("../../README.md")
	if err != nil {
		t.Fatal(err)
	}
	listed := map[string]bool{}
	for row := range strings.Lines(string(text)) {
		if !strings.HasPrefix(row, "| `jethook_") {
			continue
		}
		for _, name := range regexp.MustCompile(`jethook_[a-z_]+`).FindAllString(row, -1) {
			listed[name] = true
			if exposed[name] == nil {
				t.Errorf("the README lists %s, which is not exposed", name)
			}
		}
	}
	for name := range exposed {
		if strings.HasPrefix(name, "jethook_") && !listed[name] {
			t.Errorf("the README does not list %s", name)
		}
	}
}

// exposition returns what a replica exposes that had an event.
func exposition(t *testing.T) map[string]*dto.MetricFamily {
	t.Helper()
	url, requests := far(t)
	o, _ := testOptions(t)
	o.EndpointsFile, o.Spotlight = t.TempDir()+"/endpoints.yaml", 5
	write(t, o.EndpointsFile, "endpoints:\n"+document("local", url))
	s := start(t, o)
	ready(t, s)
	if _, err := dial(t, s.URL).Publish(t.Context(), "webhooks.events.acme.order.created", []byte("{}")); err != nil {
		t.Fatal(err)
	}
	<-requests
	ctx, cancel := context.WithTimeout(t.Context(), testTimeout)
	defer cancel()
	ticker := time.NewTicker(50 * time.Millisecond)
	defer ticker.Stop()
	body := ""
	for !strings.Contains(body, `jethook_endpoint_attempts_total{endpoint="acme/local"`) {
		select {
		case <-ctx.Done():
			t.Fatal("the endpoint's own figures do not come")
		case <-ticker.C:
		}
		_, body = get(t, "http://"+s.HTTP+"/metrics")
	}
	problems, err := promlint.New(strings.NewReader(body)).Lint()
	if err != nil {
		t.Fatal(err)
	}
	for _, p := range problems {
		t.Errorf("%s: %s", p.Metric, p.Text)
	}
	parser := expfmt.NewTextParser(model.UTF8Validation)
	families, err := parser.TextToMetricFamilies(strings.NewReader(body))
	if err != nil {
		t.Fatal(err)
	}
	return families
}

// alertExpressions returns what the rules ask for, and the names that they record.
func alertExpressions(t *testing.T) (expressions, recorded []string) {
	t.Helper()
	var file struct {
		Groups []struct {
			Rules []struct{ Record, Expr string }
		}
	}
	text, err := os.ReadFile(alertsFile)
	if err == nil {
		err = yaml.Unmarshal(text, &file)
	}
	if err != nil {
		t.Fatal(err)
	}
	for _, g := range file.Groups {
		for _, r := range g.Rules {
			expressions = append(expressions, r.Expr)
			if r.Record != "" {
				recorded = append(recorded, r.Record)
			}
		}
	}
	return expressions, recorded
}

// boardExpressions returns what the panels and the variables of the board ask for.
func boardExpressions(t *testing.T) (expressions []string) {
	t.Helper()
	text, err := os.ReadFile(boardFile)
	if err != nil {
		t.Fatal(err)
	}
	var board any
	if err := json.Unmarshal(text, &board); err != nil {
		t.Fatal(err)
	}
	var walk func(any)
	walk = func(v any) {
		switch v := v.(type) {
		case []any:
			for _, e := range v {
				walk(e)
			}
		case map[string]any:
			for key, e := range v {
				if text, ok := e.(string); ok && (key == "expr" || key == "definition") {
					expressions = append(expressions, text)
				}
				walk(e)
			}
		}
	}
	walk(board)
	return expressions
}

var (
	// What is no name of a metric: texts, selectors, ranges, lists of labels, the
	// label that label_values is asked for, and numbers.
	beside = []*regexp.Regexp{
		regexp.MustCompile(`"[^"]*"|'[^']*'`), regexp.MustCompile(`\{[^}]*\}`), regexp.MustCompile(`\[[^\]]*\]`),
		regexp.MustCompile(`\b(by|without|on|ignoring|group_left|group_right)\s*\([^)]*\)`),
		regexp.MustCompile(`,\s*\w+\s*\)$`), regexp.MustCompile(`\b\d[\w.]*`),
	}
	identifier = regexp.MustCompile(`[a-zA-Z_:][a-zA-Z0-9_:]*\s*\(?`)
	keywords   = []string{"and", "or", "unless", "bool", "offset", "inf", "nan"}
)

// metricNames returns the names of metrics in a PromQL expression.
func metricNames(expression string) (names []string) {
	for _, pattern := range beside {
		expression = pattern.ReplaceAllString(expression, " ")
	}
	for _, word := range identifier.FindAllString(expression, -1) {
		if word = strings.TrimSpace(word); !strings.HasSuffix(word, "(") && !slices.Contains(keywords, strings.ToLower(word)) {
			names = append(names, word)
		}
	}
	return names
}

func TestMetricNames(t *testing.T) {
	for expression, want := range map[string][]string{
		`sum by (a, b) (rate(x_total{job=~"$job",c!="y_total"}[5m])) / on (job) group_left (z) y:r5m > 14.4 * 0.01`: {"x_total", "y:r5m"},
		`histogram_quantile(0.95, sum by (le) (rate(h_bucket[1h])))`:                                                {"h_bucket"},
		`time() - max(a) > 5 and b offset 1h unless c == 1e3`:                                                       {"a", "b", "c"},
		`label_values(info{job="x"}, instance)`:                                                                     {"info"},
		`absent(up)`:                                                                                                {"up"},
	} {
		if got := metricNames(expression); !slices.Equal(got, want) {
			t.Errorf("%s: %q, want %q", expression, got, want)
		}
	}
}
