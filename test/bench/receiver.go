package main

import (
	"context"
	"encoding/json"
	"fmt"
	"net"
	"net/http"
	"strconv"
	"sync"
	"time"
)

// receiver is the far side: net/http's server in one process that is many
// endpoints, told apart by their path, /e/ID. Each reads the body to its end,
// does what it was last told to, 200 to begin with, and counts.
type receiver struct {
	mu      sync.Mutex
	epoch   time.Time // when the receiver was last reset as a whole
	targets map[string]*target
}

// receive runs the receiver until ctx ends. Beside the endpoints it serves
// /set?id=ID&mode=MODE, /counts?id=ID&id=ID, which adds up several, and
// /reset, with an id for one endpoint's counts alone.
func receive(ctx context.Context) error {
	v := &receiver{}
	v.reset("")
	mux := http.NewServeMux()
	mux.HandleFunc("POST /e/{id}", func(w http.ResponseWriter, r *http.Request) {
		v.target(r.PathValue("id")).serve(w, r)
	})
	mux.HandleFunc("GET /set", v.set)
	mux.HandleFunc("GET /counts", v.counts)
	mux.HandleFunc("GET /reset", func(_ http.ResponseWriter, r *http.Request) { v.reset(r.URL.Query().Get("id")) })
	var config net.ListenConfig
	l, err := config.Listen(ctx, "tcp", "127.0.0.1:0")
	if err != nil {
		return err
	}
	fmt.Println("http://" + l.Addr().String())
	server := &http.Server{Handler: mux, ReadHeaderTimeout: time.Minute}
	context.AfterFunc(ctx, func() { _ = server.Close() })
	_ = server.Serve(l) // it ends with ctx
	return nil
}

func (v *receiver) target(id string) *target {
	v.mu.Lock()
	defer v.mu.Unlock()
	t := v.targets[id]
	if t == nil {
		t = &target{tally: tally{epoch: v.epoch}, mode: mode{status: http.StatusOK}}
		v.targets[id] = t
	}
	return t
}

// reset forgets what one endpoint has counted, but not its mode; or, without an
// id, everything.
func (v *receiver) reset(id string) {
	if id != "" {
		v.target(id).reset()
		return
	}
	v.mu.Lock()
	defer v.mu.Unlock()
	v.epoch, v.targets = time.Now(), map[string]*target{}
}

func (v *receiver) set(w http.ResponseWriter, r *http.Request) {
	q := r.URL.Query()
	m, err := parseMode(q.Get("mode"))
	if err != nil {
		http.Error(w, err.Error(), http.StatusBadRequest)
		return
	}
	v.target(q.Get("id")).set(m)
}

func (v *receiver) counts(w http.ResponseWriter, r *http.Request) {
	var sum tally
	for _, id := range r.URL.Query()["id"] {
		v.target(id).addTo(&sum)
	}
	_ = json.NewEncoder(w).Encode(sum.counts()) // the asker notices
}

// mode is what an endpoint does with a request.
type mode struct {
	status int           // what it answers; 0: nothing, ever
	delay  time.Duration // and after what time
	byType bool          // but 500 to the types that begin with fail
}

// parseMode reads ok, hang (a black hole), a status, a delay such as 2s, and
// by-type.
func parseMode(s string) (mode, error) {
	switch s {
	case "ok":
		return mode{status: http.StatusOK}, nil
	case "hang":
		return mode{}, nil
	case "by-type":
		return mode{status: http.StatusOK, byType: true}, nil
	}
	if status, err := strconv.Atoi(s); err == nil && status >= 200 && status <= 599 {
		return mode{status: status}, nil
	}
	delay, err := time.ParseDuration(s)
	if err != nil {
		return mode{}, fmt.Errorf("mode %q is none of ok, hang, by-type, a status, a delay", s)
	}
	return mode{status: http.StatusOK, delay: delay}, nil
}
