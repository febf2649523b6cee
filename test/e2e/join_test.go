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
