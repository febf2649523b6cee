package e2e

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"jethook/pkg/receiver"
)

// delivers waits until a replica has delivered an event itself.
func (r *replica) delivers() {
	r.t.Helper()
	eventually(r.t, "the replica delivers", func() error {
		text, err := get(r.http + "/metrics")
		if err == nil && (!strings.Contains(text, "\njethook_attempts_total{outcome=\"delivered\"") || strings.Contains(text, "\njethook_attempts_total{outcome=\"delivered\",result=\"2xx\"} 0\n")) {
			err = fmt.Errorf("it has delivered nothing")
		}
		return err
	})
}

func TestASecondReplicaJoinsTheFirstOnesServer(t *testing.T) {
	t.Parallel()
	port := freePort(t)
	url := "nats://127.0.0.1:" + port
	data := "JETHOOK_DATA_DIR=" + t.TempDir() // where the first makes the master key that the second needs, too
	first := serve(t, "JETHOOK_NATS_LISTEN=127.0.0.1:"+port, data)
	second := serve(t, "NATS_URL="+url, data)
	s := newSink(t, receiver.Options{Latency: 20 * time.Millisecond})
	apply(t, url, fmt.Sprintf(persistent, s.url), first, second)
	_, js := connect(t, url)
	l := begin(t, js, "j", -1, 200)
	first.delivers()
	second.delivers()

	second.kill()
	now, _ := s.counts()
	s.reached(t, now+200)
	if copies := everyEventArrived(t, js, s, "j", l.stop()); copies > 256 { // what one replica has in flight
		t.Errorf("%d copies after one kill", copies)
	}
	first.ready()
}

func TestASecondServerInThePlaceOfTheFirstIsRefused(t *testing.T) {
	t.Parallel()
	port, data := freePort(t), t.TempDir()
	first := serve(t, "JETHOOK_NATS_LISTEN=127.0.0.1:"+port, "JETHOOK_DATA_DIR="+data)
	for name, c := range map[string]struct {
		env  []string
		says []string
	}{
		"the same port": {
			[]string{"JETHOOK_NATS_LISTEN=127.0.0.1:" + port, "JETHOOK_DATA_DIR=" + t.TempDir()},
			[]string{"JETHOOK_NATS_LISTEN", "NATS_URL=nats://127.0.0.1:" + port},
		},
		"the same store": {
			[]string{"JETHOOK_NATS_LISTEN=127.0.0.1:" + freePort(t), "JETHOOK_DATA_DIR=" + data},
			[]string{"JETHOOK_DATA_DIR", "NATS_URL", data},
		},
		"the same port and store": {
			[]string{"JETHOOK_NATS_LISTEN=127.0.0.1:" + port, "JETHOOK_DATA_DIR=" + data},
			[]string{"JETHOOK_NATS_LISTEN", "NATS_URL=nats://127.0.0.1:" + port},
		},
		"the same HTTP address": {
			[]string{"NATS_URL=nats://127.0.0.1:" + port, "JETHOOK_HTTP_ADDR=" + strings.TrimPrefix(first.http, "http://")},
			[]string{"JETHOOK_HTTP_ADDR"},
		},
	} {
		t.Run(name, func(t *testing.T) {
			r := serveUnready(t, c.env...)
			code := r.wait()
			refused(t, r.log.String(), code, 1, c.says...)
		})
	}
	first.ready() // and is none the worse for it
}

// A server that other machines reach would give everybody all events and documents.
func TestAnEmbeddedServerIsOpenedWithCredentialsOnly(t *testing.T) {
	t.Parallel()
	port := freePort(t)
	env := []string{"JETHOOK_NATS_LISTEN=0.0.0.0:" + port, "JETHOOK_DATA_DIR=" + t.TempDir()}
	r := serveUnready(t, env...)
	code := r.wait()
	refused(t, r.log.String(), code, 1, "JETHOOK_NATS_LISTEN=0.0.0.0:"+port, "NATS_USER and NATS_PASSWORD, or NATS_TOKEN")

	env = append(env, "NATS_USER=jethook", "NATS_PASSWORD=secret-canary")
	first := serve(t, env...)
	second := serve(t, append(env, "NATS_URL=nats://127.0.0.1:"+port)...)
	s := newSink(t, receiver.Options{})
	apply(t, "nats://jethook:secret-canary@127.0.0.1:"+port, fmt.Sprintf(persistent, s.url), first, second)
	if _, stderr, code := cliWith(t, environment(env[2:]...), "", "--server", "nats://127.0.0.1:"+port, "publish", "acme", "order.created", "--id", "o", "--count", "3"); code != 0 {
		t.Fatalf("publish with the credentials: exit code %d: %s", code, stderr)
	}
	eventually(t, "every event arrived", func() error { return s.lacks("o", 3) })
	_, stderr, code := cli(t, "nats://127.0.0.1:"+port, "publish", "acme", "order.created")
	refused(t, stderr, code, 1, "refuses these credentials")
	if strings.Contains(first.log.String()+second.log.String(), "canary") {
		t.Error("the password is in the log")
	}
}
