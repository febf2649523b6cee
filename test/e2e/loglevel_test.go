package e2e

import (
	"encoding/json"
	"fmt"
	"maps"
	"slices"
	"strings"
	"syscall"
	"testing"

	"jethook/pkg/receiver"
)

// lines returns the lines of a log with a message.
func lines(t *testing.T, text, message string) []map[string]any {
	t.Helper()
	var found []map[string]any
	for line := range strings.Lines(text) {
		var fields map[string]any
		if json.Unmarshal([]byte(line), &fields) == nil && fields["message"] == message { // what is no JSON is no line of the log
			found = append(found, fields)
		}
	}
	return found
}

// A signal makes the log of a running replica more detailed or less. At debug it
// tells of each attempt, with the fields that the README names and no others.
func TestTheLogsLevelIsSetBySignals(t *testing.T) {
	t.Parallel()
	server, s := startNATS(t), newSink(t, receiver.Options{Status: 400})
	r := serve(t, "NATS_URL="+server.url, "JETHOOK_LOG_FORMAT=json", "JETHOOK_LOG_LEVEL=warn")
	apply(t, server.url, fmt.Sprintf("endpoints:\n- {tenant: acme, id: crm, url: %q, events: ['>']}\n", s.url), r)
	levels := 0
	step := func(by syscall.Signal, want string) {
		t.Helper()
		r.signal(by)
		levels++
		eventually(t, "the log says that its level is "+want, func() error {
			said := lines(t, r.log.String(), "the log's level was set by a signal")
			if len(said) != levels || said[levels-1]["log_level"] != want || said[levels-1]["level"] != "warn" {
				return fmt.Errorf("it says %v", said)
			}
			return nil
		})
	}
	attempt := func(id string) {
		t.Helper()
		before := len(letters(t, server.url))
		must(t, server.url, "publish", "acme", "order.created", "--id", id)
		awaitLetters(t, server.url, before+1)
	}
	attempt("quiet") // at warn
	step(syscall.SIGUSR1, "info")
	step(syscall.SIGUSR1, "debug")
	attempt("loud")
	step(syscall.SIGUSR2, "info")
	attempt("quiet-again")
	step(syscall.SIGUSR2, "warn")
	step(syscall.SIGUSR2, "error")
	step(syscall.SIGUSR2, "error")
	said := lines(t, r.log.String(), "attempt")
	if len(said) != 1 {
		t.Fatalf("the log tells of attempts %v, want the loud one", said)
	}
	if d, ok := said[0]["duration"].(float64); !ok || d <= 0 {
		t.Errorf("duration %v", said[0]["duration"])
	}
	for name, want := range map[string]any{"event_id": "loud", "tenant": "acme", "endpoint": "acme/crm", "attempt": 1.0, "outcome": "dead", "reason": "rejected", "status": 400.0, "level": "debug"} {
		if said[0][name] != want {
			t.Errorf("%s is %v, want %v", name, said[0][name], want)
		}
	}
	want := []string{"attempt", "duration", "endpoint", "event_id", "level", "message", "outcome", "reason", "status", "tenant", "time"}
	if got := slices.Sorted(maps.Keys(said[0])); !slices.Equal(got, want) {
		t.Errorf("the fields are %v, want %v", got, want)
	}
}
