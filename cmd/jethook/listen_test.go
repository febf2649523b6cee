package main

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"io"
	"net/http"
	"regexp"
	"strings"
	"testing"
)

// startListen runs the command until stop is called, or until it ends itself;
// wait returns what Run returned. The first line on stderr has the URL.
func startListen(t *testing.T, c *listenCmd, stdout io.Writer) (url string, stop func(), wait func() error) {
	t.Helper()
	ctx, stop := context.WithCancel(t.Context())
	stderr, errWriter := io.Pipe()
	ended := make(chan error, 1)
	go func() {
		ended <- c.Run(ctx, &app{Out: stdout, Err: errWriter})
		errWriter.CloseWithError(io.EOF)
	}()
	lines := bufio.NewReader(stderr)
	first, err := lines.ReadString('\n')
	if err != nil {
		stop()
		t.Fatalf("no first line: %v, %v", err, <-ended)
	}
	wait = func() error {
		rest, err := io.ReadAll(lines)
		if err != nil || !strings.HasPrefix(string(rest), "requests: 1,") {
			t.Errorf("summary %q, %v", rest, err)
		}
		return <-ended
	}
	return regexp.MustCompile(`http://[0-9.:]+`).FindString(first), stop, wait
}

func post(t *testing.T, url, body string) int {
	t.Helper()
	hr, err := http.NewRequestWithContext(t.Context(), http.MethodPost, url, strings.NewReader(body))
	if err != nil {
		t.Fatal(err)
	}
	hr.Header.Set("webhook-id", "evt_1")
	hr.Header.Set("webhook-event-type", "order.created")
	hr.Header.Set("webhook-attempt", "2")
	hr.Close = true // leave no connection behind
	resp, err := http.DefaultClient.Do(hr)
	if err != nil {
		t.Fatal(err)
	}
	resp.Body.Close()
	return resp.StatusCode
}

func TestListenPrintsALine(t *testing.T) {
	var stdout bytes.Buffer
	url, stop, wait := startListen(t, &listenCmd{Addr: "127.0.0.1:0", Fail: "100%"}, &stdout)
	if status := post(t, url, `{ "n": 1 }`); status != http.StatusServiceUnavailable {
		t.Errorf("status %d, want 503", status)
	}
	stop()
	if err := wait(); err != nil {
		t.Error(err)
	}
	want := regexp.MustCompile(`^\d\d:\d\d:\d\d\.\d{3} 503 · order\.created  evt_1  attempt 2  10 B  \{"n":1\}\n$`)
	if !want.Match(stdout.Bytes()) {
		t.Errorf("printed %q, want %s", stdout.String(), want)
	}
}

func TestListenFailsNobodyWithAShareOfZero(t *testing.T) {
	url, stop, wait := startListen(t, &listenCmd{Addr: "127.0.0.1:0", Fail: "0%", Status: 500}, io.Discard)
	if status := post(t, url, "{}"); status != http.StatusOK {
		t.Errorf("status %d, want 200", status)
	}
	stop()
	if err := wait(); err != nil {
		t.Error(err)
	}
}

func TestListenPrintsJSON(t *testing.T) {
	for name, tt := range map[string]struct{ body, text, base64 string }{
		"text":       {"{ \"n\": \"<1>\" }\n", "{ \"n\": \"<1>\" }\n", ""},
		"not a text": {"\xff\x00", "", "/wA="},
	} {
		t.Run(name, func(t *testing.T) {
			var stdout bytes.Buffer
			url, stop, wait := startListen(t, &listenCmd{Addr: "127.0.0.1:0", JSON: true}, &stdout)
			post(t, url, tt.body)
			stop()
			if err := wait(); err != nil {
				t.Error(err)
			}
			if lines := strings.Count(stdout.String(), "\n"); lines != 1 {
				t.Errorf("%d lines, want 1: %q", lines, stdout.String())
			}
			var got map[string]any
			if err := json.Unmarshal(stdout.Bytes(), &got); err != nil {
				t.Fatal(err)
			}
			encoded, _ := got["body_base64"].(string) // absent where the body is a text
			if got["body"] != tt.text || encoded != tt.base64 {
				t.Errorf("body %q, base64 %q", got["body"], encoded)
			}
			for field, want := range map[string]any{
				"status": 200.0, "event_id": "evt_1", "event_type": "order.created", "attempt": 2.0,
				"replay": false, "duplicate": false, "verified": "unchecked", "size": float64(len(tt.body)),
			} {
				if got[field] != want {
					t.Errorf("%s is %v, want %v", field, got[field], want)
				}
			}
			headers, ok := got["headers"].(map[string]any)
			if !ok || headers["Webhook-Id"] == nil {
				t.Errorf("headers %v", got["headers"])
			}
		})
	}
}

type brokenWriter struct{}

var errBroken = errors.New("broken pipe")

func (brokenWriter) Write([]byte) (int, error) { return 0, errBroken }

func TestListenEndsWhenItCannotPrint(t *testing.T) {
	for _, asJSON := range []bool{false, true} {
		c := &listenCmd{Addr: "127.0.0.1:0", JSON: asJSON}
		url, stop, wait := startListen(t, c, brokenWriter{})
		defer stop() // it is to end without
		post(t, url, "{}")
		if err := wait(); !errors.Is(err, errBroken) {
			t.Errorf("with JSON %v: ended with %v, want %v", asJSON, err, errBroken)
		}
	}
}

func TestListenRefusesWrongFlags(t *testing.T) {
	for name, c := range map[string]*listenCmd{
		"share beyond one":     {Fail: "30"},
		"share below zero":     {Fail: "-1%"},
		"share of nothing":     {Fail: "%"},
		"share not a number":   {Fail: "NaN"},
		"status informational": {Status: 100},
		"status beyond":        {Status: 600},
		"status negative":      {Status: -1},
		"latency negative":     {Latency: -1},
		"secret too short":     {Secret: []string{"whsec_AAAA"}},
		"secret of no kind":    {Secret: []string{"hunter2"}},
	} {
		t.Run(name, func(t *testing.T) {
			err := c.Run(t.Context(), &app{Out: io.Discard, Err: io.Discard})
			if _, ok := errors.AsType[usageError](err); !ok {
				t.Errorf("error %v is no usage error", err)
			}
			for _, secret := range c.Secret {
				if err != nil && strings.Contains(err.Error(), secret) {
					t.Errorf("error %q tells the secret", err)
				}
			}
		})
	}
}

func TestParseShare(t *testing.T) {
	for text, want := range map[string]float64{
		"": 0, "0": 0, "0%": 0, "30%": 0.3, "0.3": 0.3, " 12.5% ": 0.125, "1": 1, "100%": 1,
	} {
		if got, err := parseShare(text); err != nil || got != want {
			t.Errorf("%q is %v, %v; want %v", text, got, err, want)
		}
	}
}
