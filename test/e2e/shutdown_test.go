package e2e

import (
	"errors"
	"fmt"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"jethook/pkg/receiver"
)

func TestAStopUnderLoadRepeatsNothing(t *testing.T) {
	t.Parallel()
	t.Run("with a NATS server of its own", func(t *testing.T) {
		server := startNATS(t)
		stopUnderLoad(t, server.url, "NATS_URL="+server.url)
	})
	t.Run("with the server inside", func(t *testing.T) {
		addr := "127.0.0.1:" + freePort(t)
		stopUnderLoad(t, "nats://"+addr, "JETHOOK_NATS_LISTEN="+addr, "JETHOOK_DATA_DIR="+t.TempDir())
	})
}

func stopUnderLoad(t *testing.T, url string, env ...string) {
	run := func() *replica { return serve(t, append(env, "JETHOOK_MAX_IN_FLIGHT=64")...) }
	s := newSink(t, receiver.Options{Latency: 80 * time.Millisecond, Fail: 0.1, Status: http.StatusInternalServerError})
	r := run()
	apply(t, url, fmt.Sprintf(persistent, s.url), r)
	_, js := connect(t, url)
	const events, stops = 2000, 3
	publish(t, js, "order.created", "s", events)

	for i := range stops {
		s.reached(t, (i+1)*events/(stops+2))
		r.signal(syscall.SIGTERM)
		if code := r.wait(); code != 0 {
			t.Errorf("stop %d: exit code %d: %s", i+1, code, r.log)
		}
		if arrived, _ := s.counts(); arrived == events {
			t.Fatalf("stop %d came when every event had arrived", i+1)
		}
		r = run()
	}
	last := time.Now()
	if copies := everyEventArrived(t, js, s, "s", events); copies > 0 {
		t.Errorf("%d copies after %d stops: %s", copies, stops, s.repeated())
	}
	t.Logf("settled %s after the last stop", time.Since(last).Round(time.Millisecond))
	if cut := s.interrupted(); cut > 0 {
		t.Errorf("%d attempts were cut off", cut)
	}
	// No attempt counts that was not made, or was made and does not count.
	attempts, wrong := map[string]int{}, 0
	for _, req := range s.seen() {
		if attempts[req.EventID]++; req.Attempt != attempts[req.EventID] {
			wrong++
		}
	}
	if wrong > 0 {
		t.Errorf("%d requests do not count the attempts before them", wrong)
	}
}

// slow is a sink that takes its time, and that counts requests when they come.
func slow(t *testing.T, o receiver.Options) (s *sink, arrivals *atomic.Int64) {
	t.Helper()
	s, arrivals = newSink(t, o), new(atomic.Int64)
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		arrivals.Add(1)
		s.ServeHTTP(w, r)
	}))
	s.url = server.URL
	t.Cleanup(server.Close)
	return s, arrivals
}

// arrived waits until n requests have come.
func arrived(t *testing.T, arrivals *atomic.Int64, n int64) {
	t.Helper()
	eventually(t, "requests have come", func() error {
		if have := arrivals.Load(); have < n {
			return fmt.Errorf("%d of %d", have, n)
		}
		return nil
	})
}

func TestAnAttemptThatTheGracePeriodCutsOffDoesNotCount(t *testing.T) {
	t.Parallel()
	server := startNATS(t)
	_, js := connect(t, server.url)
	r := serve(t, "NATS_URL="+server.url, "JETHOOK_SHUTDOWN_GRACE=100ms")
	s, arrivals := slow(t, receiver.Options{Latency: 10 * time.Second})
	const endpoints, events = 5, 20
	w := wide{endpoints, events / endpoints}
	apply(t, server.url, w.documents(s.url), r)
	w.publish(t, js)
	arrived(t, arrivals, events)

	r.signal(syscall.SIGTERM)
	if code := r.wait(); code != 1 {
		t.Errorf("exit code %d, want 1 where attempts are cut off", code)
	}
	if !strings.Contains(r.log.String(), "attempts were cut off") {
		t.Errorf("the log does not say that attempts were cut off: %s", r.log)
	}
	serve(t, "NATS_URL="+server.url)
	if copies := w.allArrived(t, js, s); copies > 0 {
		t.Errorf("%d copies", copies)
	}
	if cut := s.interrupted(); cut != events {
		t.Errorf("%d attempts were cut off, want %d", cut, events)
	}
	for _, req := range s.seen() {
		if req.Attempt != 1 {
			t.Fatalf("webhook-attempt is %d after an attempt that was cut off, want 1", req.Attempt)
		}
	}
}

// What came of an attempt that ends while NATS is away is in nobody's memory but the
// replica's: it says so when it stops.
func TestAStopWithoutNATSSaysThatAttemptsAreMadeAgain(t *testing.T) {
	t.Parallel()
	server := startNATS(t)
	_, js := connect(t, server.url)
	replicas := []*replica{serve(t, "NATS_URL="+server.url), serve(t, "NATS_URL="+server.url)}
	var arrivals atomic.Int64
	let := make(chan struct{})
	far := httptest.NewServer(http.HandlerFunc(func(http.ResponseWriter, *http.Request) { arrivals.Add(1); <-let }))
	t.Cleanup(far.Close)
	apply(t, server.url, fmt.Sprintf(persistent, far.URL), replicas...)
	publish(t, js, "order.created", "h", 1)
	arrived(t, &arrivals, 1)

	server.kill()
	for _, r := range replicas {
		eventually(t, "it is not ready", func() error {
			if _, err := get(r.http + "/readyz"); err == nil {
				return errors.New("it says that it is ready")
			}
			return nil
		})
		r.signal(syscall.SIGTERM)
	}
	close(let)
	held := 0 // the event, in the hands of one of them
	for _, r := range replicas {
		code, said := r.wait(), strings.Contains(r.log.String(), "some will be made again")
		if code > 1 || said != (code == 1) {
			t.Errorf("exit code %d, and it says so: %t: %s", code, said, r.log)
		}
		held += code
	}
	if held != 1 {
		t.Errorf("%d replicas say that attempts are made again, want the one that made it", held)
	}
	server.start()
	serve(t, "NATS_URL="+server.url)
	arrived(t, &arrivals, 2)
}

func TestASecondSignalStopsAtOnce(t *testing.T) {
	t.Parallel()
	server := startNATS(t)
	_, js := connect(t, server.url)
	r := serve(t, "NATS_URL="+server.url, "JETHOOK_SHUTDOWN_GRACE=1h")
	s, arrivals := slow(t, receiver.Options{Hang: true})
	apply(t, server.url, fmt.Sprintf(persistent, s.url), r)
	publish(t, js, "order.created", "h", 1)
	arrived(t, arrivals, 1)

	r.signal(syscall.SIGTERM)
	eventually(t, "the replica says that it is stopping", func() error {
		_, err := get(r.http + "/readyz")
		if err == nil {
			return errors.New("it says that it is ready")
		}
		if !strings.Contains(err.Error(), "stopping") {
			return fmt.Errorf("it says otherwise: %w", err)
		}
		return nil
	})
	second := time.Now()
	r.signal(syscall.SIGTERM)
	code := r.wait()
	if took := time.Since(second); took > time.Minute {
		t.Errorf("it stopped %s after the second signal", took)
	}
	if code != 1 {
		t.Errorf("exit code %d, want 1", code)
	}
	if !strings.Contains(r.log.String(), "second signal") {
		t.Errorf("the log does not say what happened: %s", r.log)
	}
}
