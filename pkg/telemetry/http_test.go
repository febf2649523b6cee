package telemetry

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/prometheus/client_golang/prometheus"
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
	status, contentType, body, err := ask(t.Context(), method, url)
	if err != nil {
		t.Fatal(err)
	}
	return status, contentType, body
}

// ask is get for a goroutine of its own.
func ask(ctx context.Context, method, url string) (status int, contentType, body string, err error) {
	req, err := http.NewRequestWithContext(ctx, method, url, nil)
	if err != nil {
		return 0, "", "", err
	}
	client := &http.Client{Transport: &http.Transport{DisableKeepAlives: true}}
	res, err := client.Do(req)
	if err != nil {
		return 0, "", "", err
	}
	defer res.Body.Close()
	text, err := io.ReadAll(res.Body)
	if err != nil {
		return 0, "", "", err
	}
	return res.StatusCode, res.Header.Get("Content-Type"), string(text), nil
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

// gathering is a collector that is at it until it may end.
type gathering struct{ began, end chan struct{} }

func (gathering) Describe(chan<- *prometheus.Desc) {}

func (g gathering) Collect(chan<- prometheus.Metric) {
	g.began <- struct{}{}
	<-g.end
}

// Scrapes that come on and on take no more than so many pages.
func TestScrapesAreBounded(t *testing.T) {
	m, g := NewMetrics("test"), gathering{make(chan struct{}), make(chan struct{})}
	m.Registry.MustRegister(g)
	url := "http://" + serveMetrics(t, m) + "/metrics"
	statuses := make(chan int, mostScrapes+1)
	scrape := func() {
		status, _, _, err := ask(t.Context(), http.MethodGet, url)
		if err != nil {
			t.Error(err)
		}
		statuses <- status // 0 on an error: nobody waits for an answer that does not come
	}
	for range mostScrapes {
		go scrape()
		<-g.began
	}
	go scrape()
	select {
	case status := <-statuses:
		if status != http.StatusServiceUnavailable {
			t.Errorf("one more is answered with %d", status)
		}
	case <-g.began:
		t.Error("one more is at it")
	}
	close(g.end)
	for range mostScrapes {
		if status := <-statuses; status != http.StatusOK {
			t.Errorf("one is answered with %d", status)
		}
	}
}

// one is a listener to which one connection comes.
type one struct {
	net.Listener
	conns chan net.Conn
}

func (l one) Accept() (net.Conn, error) {
	if c, ok := <-l.conns; ok {
		return c, nil
	}
	return nil, net.ErrClosed
}

func TestASlowReaderIsCutOff(t *testing.T) {
	s, err := Listen(t.Context(), "127.0.0.1:0", NewMetrics("test"), nil)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = s.listener.Close() }) // the server's is the pipe
	synctest.Test(t, func(t *testing.T) {
		l := one{s.listener, make(chan net.Conn, 1)}
		near, far := net.Pipe()
		l.conns <- far
		served := make(chan error, 1)
		go func() { served <- s.http.Serve(l) }()
		fmt.Fprint(near, "GET /metrics HTTP/1.1\r\nHost: test\r\n\r\n")
		<-time.After(answerWithin + time.Second)
		if n, err := near.Read(make([]byte, 1)); !errors.Is(err, io.EOF) {
			t.Errorf("%d bytes are there still, %v", n, err)
		}
		close(l.conns)
		if err := <-served; !errors.Is(err, net.ErrClosed) {
			t.Error(err)
		}
	})
}

// Whoever does not get on with a request does not make a stop fail.
func TestShutdownCutsOff(t *testing.T) {
	began, end := make(chan struct{}), make(chan struct{})
	s, err := Listen(t.Context(), "127.0.0.1:0", NewMetrics("test"), func() error { close(began); <-end; return nil })
	if err != nil {
		t.Fatal(err)
	}
	served, answered := make(chan error, 1), make(chan error, 1)
	go func() { served <- s.Serve() }()
	go func() {
		req, err := http.NewRequestWithContext(t.Context(), http.MethodGet, "http://"+s.Addr()+"/readyz", nil)
		if err == nil {
			var res *http.Response
			if res, err = (&http.Client{Transport: &http.Transport{DisableKeepAlives: true}}).Do(req); err == nil {
				res.Body.Close()
			}
		}
		answered <- err
	}()
	<-began
	over, cancel := context.WithCancel(t.Context())
	cancel()
	if err := errors.Join(s.Shutdown(over), <-served); err != nil {
		t.Error(err)
	}
	if err := <-answered; err == nil {
		t.Error("it is answered all the same")
	}
	close(end)
}
