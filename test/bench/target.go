package main

import (
	"errors"
	"io"
	"net/http"
	"strings"
	"sync"
	"time"
)

// target is one endpoint of the receiver.
type target struct {
	mu       sync.Mutex
	mode     mode
	inFlight int
	tally    tally
}

func (t *target) serve(w http.ResponseWriter, r *http.Request) {
	now := time.Now()
	var head [headSize]byte
	n, err := io.ReadFull(r.Body, head[:])
	if err == nil {
		_, err = io.Copy(io.Discard, r.Body)
	}
	m := t.begin(now)
	status := m.answer(r)
	if err != nil && !errors.Is(err, io.ErrUnexpectedEOF) {
		status = http.StatusBadRequest // it did not come whole
	}
	t.end(now, status, head[:n])
	if status == 0 {
		panic(http.ErrAbortHandler) // not even an empty answer
	}
	w.WriteHeader(status)
}

// answer waits as long as the mode says and returns the status; 0 when the
// caller gave up.
func (m mode) answer(r *http.Request) int {
	if m.status == 0 {
		<-r.Context().Done()
		return 0
	}
	if m.delay > 0 {
		select {
		case <-r.Context().Done():
			return 0
		case <-time.After(m.delay):
		}
	}
	if m.byType && strings.HasPrefix(r.Header.Get("Webhook-Event-Type"), "fail") {
		return http.StatusInternalServerError
	}
	return m.status
}

func (t *target) begin(now time.Time) mode {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.inFlight++
	t.tally.begin(now, t.inFlight)
	return t.mode
}

func (t *target) end(began time.Time, status int, head []byte) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.inFlight--
	t.tally.end(began, status, head)
}

func (t *target) set(m mode) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.mode = m
}

func (t *target) reset() {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.tally = tally{epoch: t.tally.epoch}
}

func (t *target) addTo(sum *tally) {
	t.mu.Lock()
	defer t.mu.Unlock()
	sum.add(&t.tally)
}
