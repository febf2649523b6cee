package telemetry

import (
	"context"
	"errors"
	"io"
	"net/http"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/prometheus/common/expfmt"
	"github.com/prometheus/common/model"
)

// serve serves until the test ends and returns the address.
func serve(t *testing.T, ready func() error) string {
	t.Helper()
	return serveOf(t, NewMetrics("test"), ready)
}

func serveMetrics(t *testing.T, m *Metrics) string {
	t.Helper()
	return serveOf(t, m, func() error { return nil })
}

func serveOf(t *testing.T, m *Metrics, ready func() error) string {
	t.Helper()
	s, err := Listen(t.Context(), "127.0.0.1:0", m, ready)
	if err != nil {
		t.Fatal(err)
	}
	served := make(chan error, 1)
	go func() { served <- s.Serve() }()
	t.Cleanup(func() {
		ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
		defer cancel()
		if err := errors.Join(s.Shutdown(ctx), <-served); err != nil {
			t.Error(err)
		}
	})
	return s.Addr()
}

func get(t *testing.T, method, url string) (status int, contentType, body string) {
	t.Helper()
	req, err := http.NewRequestWithContext(t.Context(), method, url, nil)
	if err != nil {
		t.Fatal(err)
	}
	client := &http.Client{Transport: &http.Transport{DisableKeepAlives: true}}
	res, err := client.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	defer res.Body.Close()
	text, err := io.ReadAll(res.Body)
	if err != nil {
		t.Fatal(err)
	}
	return res.StatusCode, res.Header.Get("Content-Type"), string(text)
}

func TestHealthAndReadiness(t *testing.T) {
	var lacks atomic.Pointer[string]
	addr := serve(t, func() error {
		if why := lacks.Load(); why != nil {
			return errors.New(*why)
		}
		return nil
	})
	for _, c := range []struct {
		lacks  string
		path   string
		status int
		body   string
	}{
		{"", "/healthz", 200, "ok\n"},
		{"", "/readyz", 200, "ok\n"},
		{"not connected to NATS", "/healthz", 200, "ok\n"}, // alive all the same
		{"not connected to NATS", "/readyz", 503, "not connected to NATS\n"},
		{"stopping", "/readyz", 503, "stopping\n"},
		{"", "/readyz", 200, "ok\n"}, // and back
		{"", "/other", 404, "404 page not found\n"},
	} {
		lacks.Store(nil)
		if c.lacks != "" {
			lacks.Store(&c.lacks)
		}
		status, contentType, body := get(t, http.MethodGet, "http://"+addr+c.path)
		if status != c.status || body != c.body || !strings.HasPrefix(contentType, "text/plain") {
			t.Errorf("%s while %q: %d %q %q, want %d %q", c.path, c.lacks, status, contentType, body, c.status, c.body)
		}
	}
	if status, _, _ := get(t, http.MethodPost, "http://"+addr+"/healthz"); status != http.StatusMethodNotAllowed {
		t.Errorf("POST /healthz: %d, want 405", status)
	}
}

func TestMetricsCanBeParsed(t *testing.T) {
	_, contentType, body := get(t, http.MethodGet, "http://"+serve(t, func() error { return nil })+"/metrics")
	if !strings.HasPrefix(contentType, "text/plain") {
		t.Errorf("content type %q", contentType)
	}
	parser := expfmt.NewTextParser(model.UTF8Validation)
	families, err := parser.TextToMetricFamilies(strings.NewReader(body))
	if err != nil {
		t.Fatal(err)
	}
	for _, name := range []string{"jethook_build_info", "jethook_events_total", "jethook_attempts_total", "jethook_dead_letters_total",
		"jethook_attempt_duration_seconds", "jethook_event_to_delivery_seconds", "process_cpu_seconds_total"} {
		if f := families[name]; f == nil || f.GetHelp() == "" || len(f.GetMetric()) == 0 {
			t.Errorf("%s is not exposed with a help text and a sample", name)
		}
	}
}

func TestAddressTaken(t *testing.T) {
	addr := serve(t, func() error { return nil })
	for _, a := range []string{addr, "8080", "127.0.0.1:99999"} {
		if _, err := Listen(t.Context(), a, NewMetrics("test"), nil); err == nil || !strings.Contains(err.Error(), "JETHOOK_HTTP_ADDR") || !strings.Contains(err.Error(), a) {
			t.Errorf("Listen on %s: %v, want an error that says what to set", a, err)
		}
	}
}

// Stopped before it serves, it ends at once.
func TestShutdownBeforeServe(t *testing.T) {
	s, err := Listen(t.Context(), "127.0.0.1:0", NewMetrics("test"), nil)
	if err != nil {
		t.Fatal(err)
	}
	if err := s.Shutdown(t.Context()); err != nil {
		t.Error(err)
	}
	if err := s.Serve(); err != nil {
		t.Error(err)
	}
}
