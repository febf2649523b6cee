package receiver

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log"
	"net"
	"net/http"
	"time"
)

// patience is how long Close waits for senders that are in the middle of a
// request before it cuts them off.
const patience = time.Second

// newServer returns the server behind Listen. It bounds the time for headers
// only: a deadline on the whole read would also end the requests that hang.
func newServer(h http.Handler) *http.Server {
	return &http.Server{
		Handler:           h,
		ReadHeaderTimeout: 10 * time.Second,
		IdleTimeout:       2 * time.Minute,
		ErrorLog:          log.New(io.Discard, "", 0), // what senders do wrong is not this program's error
	}
}

// Listen serves the receiver at a TCP address such as "127.0.0.1:9000", in the
// background, until Close. It returns the URL that reaches it from this machine:
// port 0 is a free port, and an address without a host means all interfaces.
func (r *Receiver) Listen(addr string) (url string, err error) {
	l, err := new(net.ListenConfig).Listen(context.Background(), "tcp", addr)
	if err != nil {
		return "", fmt.Errorf("receiver: %w", err)
	}
	if !r.enter() {
		return "", errors.Join(errors.New("receiver: it is closed already, make a new one"), l.Close())
	}
	go func() {
		defer r.active.Done()
		if err := r.server.Serve(l); !errors.Is(err, http.ErrServerClosed) {
			r.fail(fmt.Errorf("receiver: stopped listening: %w", err))
		}
	}()
	return "http://" + reachable(l.Addr().String()), nil
}

// Close stops listening, lets the answers go out that are decided, ends what
// hangs or waits without an answer, and returns when all that is done: OnRequest
// is not called afterwards. Its error is the one that had ended listening before.
// Closing twice is harmless.
//
// A receiver mounted on another server is closed before that server, which would
// otherwise wait for the requests that hang.
func (r *Receiver) Close() error {
	r.mu.Lock()
	if !r.closed {
		r.closed = true
		close(r.done)
	}
	r.mu.Unlock()

	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	err := r.server.Shutdown(ctx)
	if errors.Is(err, context.DeadlineExceeded) {
		err = r.server.Close()
	}
	r.active.Wait()

	r.mu.Lock()
	defer r.mu.Unlock()
	return errors.Join(r.failed, err)
}

// fail keeps the error of a listener for Close to return.
func (r *Receiver) fail(err error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.failed = errors.Join(r.failed, err)
}

// reachable replaces the host that means all interfaces by one to dial.
func reachable(addr string) string {
	host, port, err := net.SplitHostPort(addr)
	if err != nil {
		return addr
	}
	if ip := net.ParseIP(host); ip != nil && ip.IsUnspecified() {
		host = "127.0.0.1"
	}
	return net.JoinHostPort(host, port)
}
