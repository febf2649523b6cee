package receiver

import (
	"bufio"
	"context"
	"errors"
	"io"
	"net"
	"net/http"
	"strings"
	"testing"
	"time"

	"go.uber.org/goleak"
)

// newClient returns a client whose connections end with the test.
func newClient(t *testing.T) *http.Client {
	transport := &http.Transport{}
	t.Cleanup(transport.CloseIdleConnections)
	return &http.Client{Transport: transport}
}

func TestListen(t *testing.T) {
	for _, addr := range []string{"127.0.0.1:0", "localhost:0", ":0", "0.0.0.0:0"} {
		t.Run(addr, func(t *testing.T) {
			o, got := recorded(Options{Status: 202})
			r := New(o)
			url, err := r.Listen(addr)
			if err != nil {
				t.Fatal(err)
			}
			resp, err := newClient(t).Do(newPost(t.Context(), url, "evt_1", "hello"))
			if err != nil {
				t.Fatal(err)
			}
			body, err := io.ReadAll(resp.Body)
			resp.Body.Close()
			if resp.StatusCode != 202 || len(body) != 0 || err != nil {
				t.Errorf("answered %d %q, %v", resp.StatusCode, body, err)
			}
			if err := r.Close(); err != nil {
				t.Error(err)
			}
			if len(*got) != 1 || string((*got)[0].Body) != "hello" {
				t.Errorf("reported %+v", *got)
			}
		})
	}
}

func TestListenWhereItCannot(t *testing.T) {
	r := New(Options{})
	url, err := r.Listen("127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	taken := strings.TrimPrefix(url, "http://")
	if _, err := r.Listen(taken); err == nil || !strings.Contains(err.Error(), taken) {
		t.Errorf("error %v does not name the address %s, which is taken", err, taken)
	}
	if err := r.Close(); err != nil {
		t.Error(err)
	}
	if _, err := r.Listen("127.0.0.1:0"); err == nil {
		t.Error("a closed receiver listens")
	}
}

func TestHangingRequestGetsNoAnswer(t *testing.T) {
	arrived := make(chan struct{})
	r := New(Options{Hang: true, OnRequest: func(Request) { close(arrived) }})
	url, err := r.Listen("127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	go func() {
		<-arrived
		cancel()
	}()
	resp, err := newClient(t).Do(newPost(ctx, url, "evt_1", "{}"))
	if err == nil {
		resp.Body.Close()
	}
	if !errors.Is(err, context.Canceled) {
		t.Errorf("the request ended with %v, want context.Canceled", err)
	}
	if err := r.Close(); err != nil {
		t.Error(err)
	}
}

func TestCloseEndsWhatHangs(t *testing.T) {
	arrived := make(chan struct{})
	r := New(Options{Hang: true, OnRequest: func(Request) { close(arrived) }})
	url, err := r.Listen("127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	client, ended := newClient(t), make(chan error)
	go func() {
		resp, err := client.Do(newPost(t.Context(), url, "evt_1", "{}"))
		if err == nil {
			resp.Body.Close()
		}
		ended <- err
	}()
	<-arrived
	if err := r.Close(); err != nil {
		t.Error(err)
	}
	if err := <-ended; err == nil {
		t.Error("a request that was to hang got an answer")
	}
	if err := r.Close(); err != nil {
		t.Errorf("second Close: %v", err)
	}
	client.CloseIdleConnections()
	goleak.VerifyNone(t)
}

func TestClosedReceiverTakesNothing(t *testing.T) {
	o, got := recorded(Options{})
	r := New(o)
	if err := r.Close(); err != nil {
		t.Error(err)
	}
	if w := serve(r, newPost(t.Context(), "/", "evt_1", "{}")); w.Code != http.StatusServiceUnavailable {
		t.Errorf("status %d, want 503", w.Code)
	}
	if len(*got) != 0 || r.Stats() != (Stats{}) {
		t.Errorf("a closed receiver reported %v, counted %+v", *got, r.Stats())
	}
}

func TestCloseLetsADecidedAnswerGoOut(t *testing.T) {
	var status int
	var took time.Duration
	var err error
	for tries := 0; tries == 0 || tries < 3 && status != 202 && took >= patience; tries++ { // a machine may stand still for as long as Close waits
		status, took, err = decidedAnswer(t)
	}
	if status != 202 {
		t.Errorf("status %d (%v) %s after Close was called, want the 202 that was reported", status, err, took)
	}
}

// decidedAnswer closes a receiver that has decided on 202 and not yet said so. It
// returns what the sender gets, and how long after Close was called.
func decidedAnswer(t *testing.T) (status int, took time.Duration, err error) {
	t.Helper()
	reported, answer := make(chan struct{}), make(chan struct{})
	r := New(Options{Status: 202, OnRequest: func(Request) {
		close(reported)
		<-answer
	}})
	url, err := r.Listen("127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	client, answered := newClient(t), make(chan error, 1)
	go func() {
		resp, err := client.Do(newPost(t.Context(), url, "evt_1", "{}"))
		if err == nil {
			resp.Body.Close()
			status = resp.StatusCode
		}
		answered <- err
	}()
	<-reported
	closed, began := make(chan error, 1), time.Now()
	go func() { closed <- r.Close() }()
	<-r.done // Close is under way
	close(answer)
	err = <-answered
	took = time.Since(began)
	if err := <-closed; err != nil {
		t.Error(err)
	}
	return status, took, err
}

func TestCloseCutsOffASenderThatStopsHalfway(t *testing.T) {
	r := New(Options{})
	url, err := r.Listen("127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	conn, err := new(net.Dialer).DialContext(t.Context(), "tcp", strings.TrimPrefix(url, "http://"))
	if err != nil {
		t.Fatal(err)
	}
	defer func() {
		if err := conn.Close(); err != nil {
			t.Error(err)
		}
	}()
	// The server's 100 Continue tells that the handler is reading the body.
	const half = "POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 10\r\nExpect: 100-continue\r\n\r\n"
	if _, err := io.WriteString(conn, half); err != nil {
		t.Fatal(err)
	}
	if line, err := bufio.NewReader(conn).ReadString('\n'); err != nil || !strings.Contains(line, "100") {
		t.Fatalf("got %q, %v", line, err)
	}
	if err := r.Close(); err != nil {
		t.Error(err)
	}
	if want := (Stats{Requests: 1, Failed: 1}); r.Stats() != want {
		t.Errorf("stats %+v, want %+v", r.Stats(), want)
	}
}
