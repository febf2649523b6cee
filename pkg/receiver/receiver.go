// Package receiver is the far side of a delivery: an HTTP handler that takes
// webhooks, checks their signatures, notices duplicates and misbehaves as told.
// It promises that what it says about a request is what it answered: a request
// is counted and reported once, before its answer is sent, and its id counts as
// received only when that answer is a success.
//
// It serves people who try things out and tests that need a receiver that
// fails, dawdles or hangs. A receiver in production needs less; what it must do
// is what this one does with Options.Keys and Request.Duplicate.
package receiver

import (
	"context"
	"errors"
	"io"
	"math/rand/v2"
	"net/http"
	"sync"
	"time"

	"jethook/pkg/signature"
)

const (
	// maxBody bounds what is read of a request, far above any size that NATS
	// lets through by default.
	maxBody = 32 << 20

	// maxRemembered and maxID bound the ids kept to notice duplicates: about
	// 20 MB of usual ids. A longer id than maxID is not one of jethook's.
	maxRemembered = 100_000
	maxID         = 256
)

// Options says how a receiver behaves. The zero value answers every POST with
// 200 at once and checks no signature.
type Options struct {
	// Keys verify signatures; a request that none of them signed is answered
	// with 401. Without keys nothing is checked.
	Keys []signature.Key

	// Fail is the share of requests, from 0 to 1, that are answered with Status.
	Fail float64

	// Status is the answer to the requests that Fail picks, 503 by default.
	// When it is set and Fail is 0, every request gets it. It lies between 200
	// and 599.
	Status int

	// Latency passes between a request and its answer.
	Latency time.Duration

	// Hang leaves every request without an answer until its sender goes away.
	Hang bool

	// OnRequest, when set, is called with each request before its answer is
	// sent, one call at a time. It must not call Close.
	OnRequest func(Request)

	// Random yields numbers from 0 up to 1 that decide which requests fail. It
	// is called by one goroutine at a time; by default it is math/rand/v2's.
	Random func() float64
}

// Receiver takes webhooks over HTTP. Make one with New, then mount it as a
// handler or let it Listen; Close lets go of everything it holds.
type Receiver struct {
	options Options
	server  *http.Server
	active  sync.WaitGroup // handlers and listeners that Close waits for
	done    chan struct{}  // closed by Close

	reporting sync.Mutex // makes calls of OnRequest serial, taken before mu

	mu     sync.Mutex // guards what follows
	closed bool
	failed error // why a listener gave up
	stats  Stats
	seen   memory
}

// New returns a receiver that behaves as the options say.
func New(o Options) *Receiver {
	if o.Random == nil {
		o.Random = rand.Float64
	}
	if o.Fail > 0 && o.Status == 0 {
		o.Status = http.StatusServiceUnavailable
	}
	if o.Status == 0 {
		o.Status = http.StatusOK
	}
	r := &Receiver{options: o, done: make(chan struct{}), seen: newMemory(maxRemembered)}
	r.server = newServer(r)
	return r
}

// ServeHTTP takes one request. It aborts the connection instead of answering
// when Options.Hang is set and the receiver is closed.
func (r *Receiver) ServeHTTP(w http.ResponseWriter, hr *http.Request) {
	if !r.enter() {
		http.Error(w, "this receiver is closed", http.StatusServiceUnavailable)
		return
	}
	defer r.active.Done()

	req := newRequest(hr)
	refusal := r.read(w, hr, &req)
	if refusal == 0 {
		refusal = r.verify(&req)
	}
	if r.options.Hang {
		r.record(&req)
		r.wait(hr.Context(), nil)
		panic(http.ErrAbortHandler) // net/http's way to end without an answer
	}
	if !r.delay(hr.Context()) {
		r.record(&req)
		panic(http.ErrAbortHandler)
	}
	req.Status = refusal
	if refusal == 0 {
		req.Status = r.scripted()
	}
	r.record(&req)
	if req.VerifyError != "" {
		http.Error(w, req.VerifyError, req.Status)
		return
	}
	w.WriteHeader(req.Status)
}

// read takes the body in and returns the status that refuses the request, or 0.
func (r *Receiver) read(w http.ResponseWriter, hr *http.Request, req *Request) int {
	body, err := io.ReadAll(http.MaxBytesReader(w, hr.Body, maxBody))
	req.Body = body
	var tooLarge *http.MaxBytesError
	switch {
	case errors.As(err, &tooLarge):
		return http.StatusRequestEntityTooLarge
	case err != nil:
		return http.StatusBadRequest
	case hr.Method != http.MethodPost:
		w.Header().Set("Allow", http.MethodPost)
		return http.StatusMethodNotAllowed
	}
	return 0
}

// verify checks the signature and returns the status that refuses the request,
// or 0.
func (r *Receiver) verify(req *Request) int {
	if len(r.options.Keys) == 0 {
		return 0
	}
	err := signature.Verify(r.options.Keys, req.EventID, req.Header.Get("webhook-timestamp"),
		req.Header.Get("webhook-signature"), req.Body, req.At, signature.Tolerance)
	if err != nil {
		req.Verified, req.VerifyError = No, err.Error()
		return http.StatusUnauthorized
	}
	req.Verified = Yes
	return 0
}

// scripted picks the status of a request that is in order.
func (r *Receiver) scripted() int {
	if r.options.Fail == 0 {
		return r.options.Status
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.options.Random() < r.options.Fail {
		return r.options.Status
	}
	return http.StatusOK
}

// delay lets the latency pass. It returns false when nobody waits for the
// answer any more.
func (r *Receiver) delay(ctx context.Context) bool {
	if r.options.Latency <= 0 {
		return true
	}
	timer := time.NewTimer(r.options.Latency)
	defer timer.Stop()
	return r.wait(ctx, timer.C)
}

// wait returns true when the time has come, false when the sender went away or
// the receiver is being closed.
func (r *Receiver) wait(ctx context.Context, come <-chan time.Time) bool {
	select {
	case <-come:
		return true
	case <-ctx.Done():
		return false
	case <-r.done:
		return false
	}
}

// record settles what a request was, counts it, and reports it.
func (r *Receiver) record(req *Request) {
	if r.options.OnRequest != nil {
		r.reporting.Lock()
		defer r.reporting.Unlock()
	}
	r.count(req)
	if r.options.OnRequest != nil {
		r.options.OnRequest(*req)
	}
}

// count adds a request to the statistics and looks its id up. An id that is not
// vouched for is neither looked up nor remembered: anybody could have sent it.
func (r *Receiver) count(req *Request) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if req.EventID != "" && len(req.EventID) <= maxID && req.Verified != No {
		req.Duplicate = r.seen.has(req.EventID)
		if req.answeredOK() && r.seen.add(req.EventID) {
			r.stats.Distinct++
		}
	}
	r.stats.add(req)
}

// enter lets a handler in unless the receiver is closed; it leaves through
// r.active.Done.
func (r *Receiver) enter() bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.closed {
		return false
	}
	r.active.Add(1)
	return true
}

// Stats returns the counts so far.
func (r *Receiver) Stats() Stats {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.stats
}
